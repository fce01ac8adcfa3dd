"""`recsys clusters`: groups of users of similar taste, built, shown and exported."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recsys.cli.failures import Failure
from recsys.cli.invocation import read_settings
from recsys.cli.options import JSON
from recsys.cli.output import printable, show_json, show_table
from recsys.cli.progress import waiting
from recsys.clusters.change import change_of_method
from recsys.counts import counted
from recsys.errors import NotFound
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from storage.clusters.records import Cluster, ClusterImage, ClusterRun
    from storage.histories import HistoryStore
    from storage.records import Choice, VersionSummary
    from storage.signatures import SignatureStore

_SHORT = 12  # digits of a SHA-256, or of a model version, in a table
_NUM_WORDS = 6  # of a cluster, in a list
_NUM_LIKES = 3  # of a typical member
_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}

RUN = click.option(
    "--run", "run_name", metavar="NAME", help="Name of the run; the newest by default."
)


@click.group("clusters")
def command() -> None:
    """Group users by taste, and show what each group likes.

    \b
    recsys backfill                          # a signature for every user
    recsys clusters build                    # groups of similar signatures
    recsys clusters list
    recsys clusters show 3 --images liked/   # with images
    recsys clusters export --format parquet clusters/
    """


@command.command("build")
@click.option("--name", help="Name of the run; by default run-1, run-2, ...")
@click.option(
    "--method",
    type=click.Choice(["auto", "hdbscan", "kmeans"]),
    default="auto",
    show_default=True,
    help="Algorithm. auto: HDBSCAN up to 20,000 users; k-means for more, or where HDBSCAN leaves"
    " most users out.",
)
@click.option(
    "--num", "num_clusters", type=int, metavar="K", help="Number of clusters, for k-means only."
)
@click.option("--min-size", type=int, metavar="N", help="Smallest cluster, in users.")
@click.option(
    "--model-version", help="Model version of the signatures; the most recent by default."
)
@JSON
def build(
    name: str | None,
    method: str,
    num_clusters: int | None,
    min_size: int | None,
    model_version: str | None,
    is_json: bool,
) -> None:
    """Cluster all users who have a signature, and store the run.

    A cluster keeps its id from the previous run if more than half of all users in either are in
    both; other ids are new, and none is reused. A run becomes visible only when it is complete.
    """
    with Runtime(read_settings()) as runtime:
        from recsys.clusters.build import build_clusters

        version = _version(runtime.signatures, model_version)
        try:
            with waiting(f"Clustering {counted(version.num_signatures, 'user')}"):
                run = build_clusters(
                    runtime.database,
                    version.model_version,
                    name=name,
                    method=method,
                    num_clusters=num_clusters,
                    min_size=min_size,
                )
        except ModuleNotFoundError as error:
            raise Failure(
                f"clusters need {error.name}: pip install 'recsys-images[cpu]'"
            ) from error
        change = change_of_method(run, runtime.clusters.runs())
        from recsys.signatures.missing import missing_told

        missing = missing_told(runtime.ledger.missing(version.model_version))
    if is_json:
        show_json(_run_shown(run))
        return
    click.echo(
        f"{run.name}: {counted(run.num_clusters, 'cluster')} of"
        f" {counted(run.num_users, 'user')},"
        f" {run.num_unclustered:,} in none ({run.method}: {run.parameters['reason']})"
    )
    if change:
        click.echo(printable(change), err=True)
    if not run.num_clusters:
        click.echo("no cluster was found: try a smaller --min-size, or --method kmeans", err=True)
    for line in missing:
        click.echo(line, err=True)


@command.command("list")
@RUN
@click.option(
    "--runs", "is_of_runs", is_flag=True, help="List all runs instead of the clusters of one."
)
@JSON
def list_clusters(run_name: str | None, is_of_runs: bool, is_json: bool) -> None:
    """List the clusters of a run, or all runs."""
    with Runtime(read_settings()) as runtime:
        if is_of_runs:
            _list_runs(runtime.clusters.runs(), is_json=is_json)
            return
        run = runtime.clusters.run(run_name)
        clusters = runtime.clusters.clusters(run.run_id)
        change = change_of_method(run, runtime.clusters.runs())
    if is_json:
        shown = [asdict(each) for each in clusters]
        show_json({"run": _run_shown(run), "clusters": shown})
        return
    _show_clusters(clusters)
    click.echo(
        f"{printable(run.name)}, {run.created_at:%Y-%m-%d %H:%M} UTC: {run.num_unclustered:,} of"
        f" {counted(run.num_users, 'user')} in no cluster"
    )
    if change:
        click.echo(printable(change))


@command.command("show")
@click.argument("cluster_id", metavar="CLUSTER", type=int)
@RUN
@click.option(
    "--images",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the images that stand out as liked to this folder, and the newest that each typical"
    " member liked.",
)
@JSON
def show(cluster_id: int, run_name: str | None, folder: Path | None, is_json: bool) -> None:
    """Show what sets CLUSTER apart: images by SHA-256, words of prompts, typical members, drift.

    Only what stands out is shown: every image and word is tested in every cluster against all other
    users, by users (Fisher's exact test), and all tests of a run are corrected together
    (Benjamini-Hochberg). q is the rate of false discoveries at which it still stands out, at most
    0.05; z is the difference of choices in standard errors.
    """
    with Runtime(read_settings()) as runtime:
        run = runtime.clusters.run(run_name)
        cluster = runtime.clusters.cluster(run.run_id, cluster_id)
        likes = _newest_likes(runtime.store, cluster)
        if folder is not None:
            _write_images(runtime.store, cluster, likes, folder)
    if is_json:
        show_json({"run": run.name} | asdict(cluster))
    else:
        _show_cluster(cluster, likes)


@command.command("name")
@click.argument("cluster_id", metavar="CLUSTER", type=int)
@click.argument("name", required=False)
@click.option("--clear", "is_cleared", is_flag=True, help="Take the cluster's name away instead.")
def give_name(cluster_id: int, name: str | None, is_cleared: bool) -> None:
    """Call CLUSTER by NAME, in lists and on the analyst's page.

    The name stays with the cluster's id, in this run and in those to come.
    """
    if is_cleared == (name is not None):
        raise click.UsageError("pass either NAME or --clear")
    with Runtime(read_settings()) as runtime:
        from storage.clusters.names import ClusterNames

        names = ClusterNames(runtime.store.database)
        if name is None:
            names.remove(cluster_id)
            click.echo(f"cluster {cluster_id} has no name")
            return
        names.give(cluster_id, name)
    click.echo(f"cluster {cluster_id} is called {printable(name)}")


@command.command("export")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@RUN
@click.option(
    "--format",
    type=click.Choice(["parquet", "csv"]),
    default="parquet",
    show_default=True,
    help="Format of the two files.",
)
def export(folder: Path, run_name: str | None, format: str) -> None:
    """Write a run to DIR, as two files: members.* and clusters.*.

    \b
    In a notebook, the users of each cluster and its words (polars):
        import polars as pl
        members = pl.read_parquet("DIR/members.parquet")
        clusters = pl.read_parquet("DIR/clusters.parquet")
        members.join(clusters.select("cluster_id", "words"), on="cluster_id")
    or with pandas:
        import pandas as pd
        members = pd.read_parquet("DIR/members.parquet")
        members.merge(pd.read_parquet("DIR/clusters.parquet"), on="cluster_id")
    """
    with Runtime(read_settings()) as runtime:
        from recsys.clusters.export import export_run

        run = runtime.clusters.run(run_name)
        for path in export_run(runtime.clusters, run.run_id, folder, format=format):
            click.echo(printable(path))


@command.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Remove the run NAME with its clusters; choices and signatures are kept."""
    with Runtime(read_settings()) as runtime:
        from storage.clusters.building import ClusterBuilder

        ClusterBuilder(runtime.database).remove(runtime.clusters.run(name).run_id)
    click.echo(f"{printable(name)} is removed")


def _version(signatures: "SignatureStore", model_version: str | None) -> "VersionSummary":
    for version in signatures.summaries():
        if model_version in (None, version.model_version):
            return version
    which = "" if model_version is None else f" of model version {printable(model_version)}"
    raise NotFound(f"no signatures{which} are stored: run `recsys backfill`")


def _list_runs(runs: "list[ClusterRun]", *, is_json: bool) -> None:
    if is_json:
        show_json([_run_shown(run) for run in runs])
        return
    columns = ["run", "built (UTC)", "model version", "method", "users", "clusters", "in none"]
    rows = [
        (
            run.name,
            f"{run.created_at:%Y-%m-%d %H:%M}",
            run.model_version[:_SHORT],
            run.method,
            run.num_users,
            run.num_clusters,
            run.num_unclustered,
        )
        for run in runs
    ]
    show_table(columns, rows)


def _run_shown(run: "ClusterRun") -> dict[str, Any]:
    return asdict(run) | {"created_at": run.created_at.isoformat()}


def _summary(cluster: "Cluster") -> tuple[object, ...]:
    words = ", ".join(word.word for word in cluster.words[:_NUM_WORDS])
    return (cluster.cluster_id, cluster.size, cluster.cohesion, cluster.medoid or "-", words)


def _show_clusters(clusters: "list[Cluster]") -> None:
    columns = ["cluster", "users", "cohesion", "medoid", "words"]
    rows = [_summary(each) for each in clusters]
    if any(each.name for each in clusters):
        columns.insert(1, "name")
        rows = [
            (row[0], each.name or "", *row[1:]) for each, row in zip(clusters, rows, strict=True)
        ]
    show_table(columns, rows)


def _show_cluster(cluster: "Cluster", likes: "dict[str, list[Choice]]") -> None:
    drift = cluster.drift
    facts: list[tuple[str, str]] = [
        ("cluster", str(cluster.cluster_id)),
        *([("name", cluster.name)] if cluster.name else []),
        ("users", f"{cluster.size:,}"),
        ("cohesion", f"{cluster.cohesion:.3f}"),
    ]
    if drift is not None:
        facts.append(
            ("since the previous run", f"{drift.num_joined:,} joined, {drift.num_left:,} left")
        )
        moved = "another model version" if drift.distance is None else f"{drift.distance:.4f}"
        facts.append(("centroid moved (1 - cosine)", moved))
    show_table(["property", "value"], facts)
    _show_images("liked more than by other users", cluster.liked_images)
    _show_images("liked less than by other users", cluster.disliked_images)
    _show_words(cluster)
    if not (cluster.liked_images or cluster.disliked_images or cluster.words):
        click.echo("nothing stands out: no image or word differs by more than chance explains\n")
    rows = [(user_id, _prompts(likes[user_id])) for user_id in cluster.typical_members]
    show_table(["typical members, the medoid first", "newest likes, by prompt"], rows)


def _show_images(title: str, images: "tuple[ClusterImage, ...]") -> None:
    rows = [
        (
            image.sha256,
            image.num_likes,
            image.num_passes,
            f"{image.overall_rate:.0%}",
            f"{image.z:.1f}",
            _rate(image.q),
        )
        for image in images
    ]
    if rows:
        show_table([title, "liked", "passed over", "liked by all", "z", "q"], rows)


def _show_words(cluster: "Cluster") -> None:
    rows = [
        (
            word.word,
            f"{word.rate:.1%}",
            f"{word.overall_rate:.1%}",
            f"{word.z:.1f}",
            _rate(word.q),
        )
        for word in cluster.words
    ]
    if rows:
        show_table(["word", "of its choices", "of everyone's", "z", "q"], rows)


def _prompts(choices: "list[Choice]") -> str:
    return "; ".join(choice.prompt for choice in choices if choice.prompt)


def _rate(q: float | None) -> str:
    return "" if q is None else f"{q:.1g}"


def _newest_likes(store: "HistoryStore", cluster: "Cluster") -> "dict[str, list[Choice]]":
    """The newest choices of each typical member that liked an image."""
    read = {user_id: store.read(user_id, limit=_NUM_LIKES) for user_id in cluster.typical_members}
    return {
        user_id: [each.choice for each in history.choices[::-1] if each.choice.liked is not None]
        for user_id, history in read.items()
    }


def _write_images(
    store: "HistoryStore", cluster: "Cluster", likes: "dict[str, list[Choice]]", folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    clearest = [image.sha256 for image in cluster.liked_images]
    newest = dict.fromkeys(choices[0].liked for choices in likes.values() if choices)
    typical = [sha256 for sha256 in newest if sha256 is not None and sha256 not in clearest]
    for prefix, images in (("", clearest), ("typical-", typical)):
        for number, sha256 in enumerate(images, start=1):
            suffix = _SUFFIXES.get(store.image_facts(sha256).media_type, "")
            name = f"{prefix}{number:02}-{sha256[:_SHORT]}{suffix}"
            (folder / name).write_bytes(store.image(sha256))
