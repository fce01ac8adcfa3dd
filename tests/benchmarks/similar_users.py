"""Search of similar users among synthetic signatures, beside other ways, in one run.

    numpy        all compared by NumPy
    faiss exact  all compared by faiss.IndexFlatIP
    faiss hnsw   faiss.IndexHNSWFlat, 16 links, built with 80
    hnswlib      16 links, built with 80
    usearch      16 links, built with 80
    recsys       what `SignatureIndex` builds, compared by full vectors: positions, as all above
    recsys+sql   `SignatureIndex.search`: users, each checked in SQLite

Vectors and queries are draws of `signature_draws`: 1000 groups on the sphere, or with `--like` as
real signatures are. The graphs search with the least efSearch of `EF_SEARCHES` that has the recall.
Searches run on one core, one query at a time; builds on `--threads`. Claims are ratios of one run.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from search_ways import (
    K,
    Vectors,
    Way,
    built,
    recall,
    user_ids,
    with_faiss_exact,
    with_faiss_hnsw,
    with_hnswlib,
    with_numpy,
    with_recall,
    with_recsys,
    with_usearch,
)
from signature_draws import Draw, alike, grouped, tenth_nearest
from sqlalchemy import insert
from threadpoolctl import threadpool_limits

from recsys.similarity.index import SignatureIndex
from recsys.similarity.rows import MainPart
from recsys.similarity.snapshot import save_snapshot
from storage.database import Database, upgrade
from storage.records import Signature
from storage.signatures import SignatureStore
from storage.tables import SignatureCounterRow, SignatureRow, UserRow

NUM_QUERIES = 1000
NUM_SLOW_QUERIES = 30
NUM_UPSERTS = 10_000
Existing = click.Path(exists=True, dir_okay=False, path_type=Path)
SLOW = ("numpy", "faiss exact")
VERSION = "benchmark"


@dataclass(frozen=True)
class Case:
    """A way of drawing vectors, and its name in the table."""

    name: str
    draw: Draw


@dataclass(frozen=True)
class Measured:
    """One way on one set of vectors; the build in CPU seconds of all threads.

    `bytes_per_user` is of vectors and index; with recsys also of ids and sequences. CPU time leaves
    out what other programs on the machine took; queries a second are of it, and `times_exact` and
    `times_numpy` compare its medians.
    """

    num_users: int
    dimension: int
    drawn: str
    way: str
    note: str
    build_cpu_s: float
    bytes_per_user: float
    recall: float
    p50_ms: float
    p99_ms: float
    cpu_p50_ms: float
    cpu_p99_ms: float
    queries_per_s: float
    times_exact: float = 1.0
    times_numpy: float = 1.0


def fill(store: SignatureStore, vectors: Vectors, ids: list[str]) -> None:
    """Put all users and vectors into SQL at once, past the rules."""
    now = datetime.now(UTC)
    with store.database.writing() as session:
        for start in range(0, len(ids), 10_000):
            part = range(start, min(start + 10_000, len(ids)))
            users = [{"user_id": ids[i], "revision": 1, "created_at": now} for i in part]
            rows = [
                {
                    "user_id": ids[i],
                    "model_version": VERSION,
                    "revision": 0,
                    "vector": vectors[i].tobytes(),
                    "created_at": now,
                    "sequence": i + 1,
                }
                for i in part
            ]
            session.execute(insert(UserRow), users)
            session.execute(insert(SignatureRow), rows)
        counter = {"model_version": VERSION, "last_sequence": len(ids)}
        session.execute(insert(SignatureCounterRow), [counter])


def upsert_s(
    index: SignatureIndex, ids: list[str], changed: npt.NDArray[np.int64], vectors: Vectors
) -> float:
    """Seconds until new vectors of some users are in SQL and searchable."""
    began = time.perf_counter()
    given = [Signature(ids[place], VERSION, 1, vectors[place]) for place in changed]
    for start in range(0, len(given), 1000):
        assert not index.store.put_many(given[start : start + 1000])
    index.sync()
    took = time.perf_counter() - began
    assert index.search(given[-1].vector, 1)[0].user_id == given[-1].user_id
    return took


def measure(way: Way, vectors: Vectors, queries: Vectors, drawn: str) -> Measured:
    """Recall and time of one query at a time."""
    asked = queries[:NUM_SLOW_QUERIES] if way.name in SLOW else queries
    way.search(queries[-1])
    rows, times, cpu_times = [], [], []
    for query in asked:
        began, cpu_began = time.perf_counter(), time.process_time()
        rows.append(way.search(query))
        times.append(time.perf_counter() - began)
        cpu_times.append(time.process_time() - cpu_began)
    return Measured(
        num_users=len(vectors),
        dimension=vectors.shape[1],
        drawn=drawn,
        way=way.name,
        note=way.note,
        build_cpu_s=way.build_s,
        bytes_per_user=way.num_bytes / len(vectors),
        recall=recall(vectors, asked, rows),
        p50_ms=float(np.median(times)) * 1e3,
        p99_ms=float(np.quantile(times, 0.99)) * 1e3,
        cpu_p50_ms=float(np.median(cpu_times)) * 1e3,
        cpu_p99_ms=float(np.quantile(cpu_times, 0.99)) * 1e3,
        queries_per_s=len(cpu_times) / sum(cpu_times),
    )


def measure_all(
    number: int, case: Case, threads: int, console: Console, *, alone: bool
) -> Iterator[Measured]:
    """Every way on one set of vectors."""
    vectors, queries = case.draw(number, 1), case.draw(NUM_QUERIES, 2)
    yield measure(with_numpy(vectors), vectors, queries, case.name)
    yield measure(with_faiss_exact(vectors, threads), vectors, queries, case.name)
    ours, main = with_recsys(vectors, threads)
    yield measure(ours, vectors, queries, case.name)
    yield from through_sql(ours, main, vectors, queries, case)
    for make in () if alone else (with_faiss_hnsw, with_hnswlib, with_usearch):
        try:
            way = with_recall(make(vectors, threads), vectors, queries)
            yield measure(way, vectors, queries, case.name)
        except ImportError as error:
            console.print(f"left out: {error}")


def through_sql(
    ours: Way, main: MainPart, vectors: Vectors, queries: Vectors, case: Case
) -> Iterator[Measured]:
    """The whole search with SQLite, before and after an upsert."""
    ids = user_ids(len(vectors))
    rng = np.random.default_rng(3)
    changed = rng.choice(len(vectors), min(NUM_UPSERTS, len(vectors) // 10), replace=False)
    after = vectors.copy()
    after[changed] = case.draw(len(changed), 4)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/recsys.db")
        upgrade(database)
        store = SignatureStore(database)
        fill(store, vectors, ids)

        save_snapshot(main, VERSION, Path(folder, "index"))
        index, restart_s = built(
            lambda: SignatureIndex(store, VERSION, folder=Path(folder, "index"), rebuilds=False), 1
        )

        def search(query: Vectors) -> npt.NDArray[np.int64]:
            # An id ends with its user's place.
            return np.array([int(each.user_id[5:]) for each in index.search(query, K)])

        note = f"restart from the snapshot {restart_s:.2f} s"
        way = Way("recsys+sql", note, ours.build_s, ours.num_bytes, search)
        yield measure(way, vectors, queries, case.name)
        upsert = upsert_s(index, ids, changed, after)
        note = f"{len(changed)} users upserted in {upsert:.2f} s"
        yield measure(
            Way("after upsert", note, ours.build_s, ours.num_bytes, search),
            after,
            queries,
            case.name,
        )
        database.dispose()


def show(records: list[Measured], console: Console) -> None:
    """All figures by size and way."""
    table = Table(
        *("users", "E", "drawn", "way", "build CPU s", "bytes", "recall@10"),
        *("p50 ms", "p99 ms", "CPU p50", "CPU p99", "queries/s", "x faiss", "x numpy", "note"),
    )
    for each in records:
        table.add_row(
            f"{each.num_users:,}",
            str(each.dimension),
            each.drawn,
            each.way,
            f"{each.build_cpu_s:.1f}",
            f"{each.bytes_per_user:.0f}",
            f"{each.recall:.4f}",
            f"{each.p50_ms:.3f}",
            f"{each.p99_ms:.3f}",
            f"{each.cpu_p50_ms:.3f}",
            f"{each.cpu_p99_ms:.3f}",
            f"{each.queries_per_s:.0f}",
            f"{each.times_exact:.1f}",
            f"{each.times_numpy:.1f}",
            each.note,
        )
    console.print(table)


@click.command()
@click.option("--sizes", multiple=True, type=click.IntRange(100), default=(10_000, 100_000))
@click.option("--dimension", multiple=True, type=click.IntRange(2), default=(16,))
@click.option("--spread", multiple=True, type=click.FloatRange(0), default=(0.8,))
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="To build.")
@click.option("--like", type=Existing, help="Of real signatures (N, E), in place of groups.")
@click.option("--alone", is_flag=True, help="Without the other graphs.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="similar.json")
def main(
    sizes: tuple[int, ...],
    dimension: tuple[int, ...],
    spread: tuple[float, ...],
    threads: int,
    like: Path | None,
    alone: bool,
    out: Path,
) -> None:
    """Print the table and write the records; give options several times for several cases."""
    threadpool_limits(1, user_api="blas")  # NumPy would take all cores
    console = Console(width=160)
    records: list[Measured] = []
    cases = [Case(f"spread {s}", grouped(e, s)) for e in dimension for s in spread]
    if like is not None:
        cases = [Case(f"like {like.stem}", alike(like))]
        densities = tenth_nearest(np.load(like)), tenth_nearest(cases[0].draw(2000, 5))
        console.print("10th nearest of 2000: real {:.4f}, drawn {:.4f}".format(*densities))
    for number, case in [(number, case) for number in sizes for case in cases]:
        medians = {way: float("nan") for way in SLOW}
        for record in measure_all(number, case, threads, console, alone=alone):
            medians[record.way] = record.cpu_p50_ms
            numpy, exact = (medians[way] / record.cpu_p50_ms for way in SLOW)
            records.append(replace(record, times_exact=exact, times_numpy=numpy))
            console.print(f"{record.way}: {record.recall:.4f}, {record.p50_ms:.3f} ms")
            out.write_text(json.dumps([asdict(r) for r in records], indent=2) + "\n")
    show(records, console)
    console.print(f"records written to {out}")


if __name__ == "__main__":
    main()
