"""A run of clusters as files for notebooks: the members, and the facts of each cluster."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from recsys.spreadsheet import write_csv
from storage.clusters.exports import ClusterExportStore
from storage.clusters.records import Cluster
from storage.clusters.runs import ClusterStore
from storage.files import replace_file

FORMATS = ("parquet", "csv")

_ROWS_AT_ONCE = 10_000
_MEMBER_COLUMNS = ("user_id", "cluster_id", "similarity")
_CLUSTER_COLUMNS = (
    *("cluster_id", "name", "size", "cohesion", "medoid", "typical_members"),
    *("liked_images", "disliked_images", "words", "distance", "num_joined", "num_left"),
)

ExportRow = tuple[Any, ...]


def export_run(
    store: ClusterStore, run_id: int, folder: Path, *, format: str = "parquet"
) -> list[Path]:
    """Write members.* and clusters.*; each file replaces an old one once it is complete.

    Storage keeps where they are, so that an erasure finds them. Members are read and written page
    by page. In CSV, lists are JSON, and text that a spreadsheet
    would run as a formula gets an apostrophe before it.

    Args:
        store: of the run.
        run_id: of a finished run.
        folder: created if missing.
        format: "parquet" or "csv".

    Returns:
        The files.

    Raises:
        UnknownCluster: if there is no such run.
        ValueError: if the format is neither.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format}")
    clusters = store.clusters(run_id)  # an unknown run makes no folder
    folder.mkdir(parents=True, exist_ok=True)
    # Before the files: who leaves the clusters from here on is looked for in them.
    ClusterExportStore(store.database).record(run_id, str(folder.resolve()), format)
    while True:
        paths = _write_files(store, run_id, clusters, folder, format)
        before, clusters = clusters, store.clusters(run_id)
        if clusters == before:
            return paths  # otherwise a member or an image left after they had been read


def _write_files(
    store: ClusterStore, run_id: int, clusters: Sequence[Cluster], folder: Path, format: str
) -> list[Path]:
    write = _write_parquet if format == "parquet" else _write_csv
    paths = [folder / f"members.{format}", folder / f"clusters.{format}"]
    with replace_file(paths[0]) as path:
        write(path, _MEMBER_COLUMNS, _member_pages(store, run_id))
    with replace_file(paths[1]) as path:
        write(path, _CLUSTER_COLUMNS, iter([[_cluster_row(cluster) for cluster in clusters]]))
    return paths


def _member_pages(store: ClusterStore, run_id: int) -> Iterator[list[ExportRow]]:
    after = ""
    while page := store.members(run_id, after=after, limit=_ROWS_AT_ONCE):
        yield [(member.user_id, member.cluster_id, member.similarity) for member in page]
        after = page[-1].user_id


def _cluster_row(cluster: Cluster) -> ExportRow:
    drift = cluster.drift
    return (
        cluster.cluster_id,
        cluster.name,
        cluster.size,
        cluster.cohesion,
        cluster.medoid,
        list(cluster.typical_members),
        [image.sha256 for image in cluster.liked_images],
        [image.sha256 for image in cluster.disliked_images],
        [word.word for word in cluster.words],
        drift.distance if drift else None,
        drift.num_joined if drift else None,
        drift.num_left if drift else None,
    )


def _write_csv(path: Path, columns: tuple[str, ...], pages: Iterator[list[ExportRow]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, columns, chain.from_iterable(pages))


def _write_parquet(path: Path, columns: tuple[str, ...], pages: Iterator[list[ExportRow]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(column, _arrow_type(column)) for column in columns])
    with parquet.ParquetWriter(path, schema) as writer:
        for page in pages:
            arrays = [
                pa.array([row[at] for row in page], type=schema.field(at).type)
                for at in range(len(columns))
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _arrow_type(column: str) -> Any:
    import pyarrow as pa

    kinds: dict[str, Any] = {
        "user_id": pa.string(),
        "name": pa.string(),
        "medoid": pa.string(),
        "similarity": pa.float64(),
        "cohesion": pa.float64(),
        "distance": pa.float64(),
    }
    is_list = column in ("typical_members", "liked_images", "disliked_images", "words")
    return pa.list_(pa.string()) if is_list else kinds.get(column, pa.int64())
