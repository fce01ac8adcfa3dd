"""The view of clusters: all of them, or one with its images, words and typical members."""

import streamlit as st

from recsys.analyst import markup
from recsys.analyst.card_grid import cards
from recsys.analyst.downloads import download, paged
from recsys.analyst.empty import no_clusters
from recsys.analyst.filters import short
from recsys.analyst.markup import Opinion, ShownImage
from recsys.analyst.navigation import ViewName, go, link, parameter
from recsys.analyst.page import Page
from recsys.analyst.pager import draw_pager, offset_of
from recsys.analyst.sources import name_cluster, newest_liked, shown
from recsys.clusters.change import change_of_method
from recsys.counts import counted
from storage.clusters.names import MAX_CLUSTER_NAME
from storage.clusters.records import Cluster, ClusterImage, ClusterRun, Drift
from storage.errors import StorageError, UnknownCluster

NUM_CARDS = 6
_NUM_MEMBERS = 6


def draw_clusters(page: Page) -> None:
    """Draw all clusters of a run, or the one that the address names."""
    runs = [run for run in page.runtime.clusters.runs() if run.model_version == page.version]
    if not runs:
        st.html(markup.title("Clusters", below="Groups of users of similar taste."))
        no_clusters()
        return
    run = _run(runs)
    named = parameter("cluster")
    if not named.isdecimal():
        _draw_all(page, run, runs)
        return
    try:
        cluster = page.runtime.clusters.cluster(run.run_id, int(named[:18]))
    except UnknownCluster as error:
        st.info(str(error), icon=":material/group_off:")
        link("All clusters", ViewName.CLUSTERS, key="to all clusters")
        return
    _draw_one(page, run, cluster)


def _run(runs: list[ClusterRun]) -> ClusterRun:
    """Return the run that the address names, by default the newest."""
    named = parameter("run")
    return next((run for run in runs if run.name == named), runs[0])


def _draw_all(page: Page, run: ClusterRun, runs: list[ClusterRun]) -> None:
    st.html(
        markup.title(
            "Clusters",
            below=f"Groups of users of similar taste. Run {run.name}:"
            f" {counted(run.num_users, 'user')} by {run.method}, model {short(run.model_version)}.",
        )
    )
    if change := change_of_method(run, page.runtime.clusters.runs()):
        st.info(f"{change}.", icon=":material/warning:")
    if len(runs) > 1:
        st.selectbox(
            "Run",
            [each.name for each in runs],
            index=runs.index(run),
            key="run",
            on_change=lambda: go(ViewName.CLUSTERS, run=st.session_state["run"]),
        )
    clusters = page.runtime.clusters.clusters(run.run_id)
    in_none = f"{run.num_unclustered / max(run.num_users, 1):.0%}"
    st.html(
        markup.tiles(
            [
                ("Clusters", f"{len(clusters):,}", f"built {run.created_at:%Y-%m-%d %H:%M} UTC"),
                ("Users", f"{run.num_users:,}", "with a signature at the time"),
                ("In no cluster", in_none, counted(run.num_unclustered, "user")),
            ]
        )
    )
    at = {"total": len(clusters), "size": NUM_CARDS}
    offset = offset_of("clusters", run.name, **at)
    shown_now = clusters[offset : offset + NUM_CARDS]
    for cluster, card in zip(shown_now, cards(len(shown_now), "cluster"), strict=True):
        with card:
            _draw_card(page, run, cluster)
    draw_pager("clusters", offset, **at)
    _download_clusters(run, clusters)


def _download_clusters(run: ClusterRun, clusters: list[Cluster]) -> None:
    download(
        f"clusters {run.name}",
        ["cluster_id", "name", "size", "cohesion", "medoid", "words"],
        lambda: [
            [
                each.cluster_id,
                each.name,
                each.size,
                each.cohesion,
                each.medoid,
                " ".join(word.word for word in each.words),
            ]
            for each in clusters
        ],
        label="Clusters as CSV",
    )


def _draw_card(page: Page, run: ClusterRun, cluster: Cluster) -> None:
    head = markup.title_line(_title(cluster), counted(cluster.size, "user"))
    liked = [
        _shown(page, image, Opinion.LIKED, is_noted=False) for image in cluster.liked_images[:5]
    ]
    pictures = liked or _typical_likes(page, cluster, 5)
    note = "Standing out" if liked else "Newest likes of typical members"
    words = markup.chips([word.word for word in cluster.words[:5]], style="quiet")
    st.html(f"{head}{markup.note(note)}{markup.gallery(pictures, size='s')}{words}")
    link(
        "Open",
        ViewName.CLUSTERS,
        key=f"open cluster {cluster.cluster_id}",
        cluster=str(cluster.cluster_id),
        run=run.name,
    )


def _draw_one(page: Page, run: ClusterRun, cluster: Cluster) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", key="which"):
        st.html(markup.title(_title(cluster), below=f"Run {run.name}"))
        link("All clusters", ViewName.CLUSTERS, key="to all clusters", run=run.name)
        with st.popover("Name", icon=":material/edit:"):
            _ask_name(cluster)
    st.html(
        markup.tiles(
            [
                ("Users", f"{cluster.size:,}", _share(cluster.size, run.num_users)),
                ("Cohesion", f"{cluster.cohesion:.2f}", "mean cosine to the centre, at most 1"),
                ("Since the previous run", *_drift(cluster.drift)),
            ]
        )
    )
    _draw_highlights(page, cluster)
    _draw_members(page, cluster)
    _download_members(page, run, cluster)


def _title(cluster: Cluster) -> str:
    return markup.cluster_title(cluster.cluster_id, cluster.name)


def _ask_name(cluster: Cluster) -> None:
    """Ask for the cluster's name, and keep it."""
    with st.form("name of cluster", border=False):
        name = st.text_input(
            f"Name of cluster {cluster.cluster_id}",
            value=cluster.name or "",
            max_chars=MAX_CLUSTER_NAME,
            help="It stays with the cluster's id in later runs. Empty for none.",
            key=f"name of {cluster.cluster_id}",
        )
        is_sent = st.form_submit_button("Save")
    if not is_sent:
        return
    try:
        name_cluster(cluster.cluster_id, name.strip())
    except StorageError as error:
        st.error(str(error))
    else:
        st.rerun()


def _draw_highlights(page: Page, cluster: Cluster) -> None:
    """Draw what stands out from all other users, or that nothing does."""
    st.html(
        markup.section(
            "What stands out",
            below="Images and words in which the members differ from all other users by more than"
            " chance explains, after correction for all comparisons of the run (q at most 0.05).",
        )
    )
    if not (cluster.liked_images or cluster.disliked_images or cluster.words):
        st.info("Nothing stands out.", icon=":material/balance:")
        return
    _draw_images(page, "Liked more than by other users", cluster.liked_images, Opinion.LIKED)
    _draw_images(
        page, "Liked less than by other users", cluster.disliked_images, Opinion.PASSED_OVER
    )
    _draw_words(cluster)


def _draw_images(
    page: Page, heading: str, images: tuple[ClusterImage, ...], opinion: Opinion
) -> None:
    if not images:
        return
    st.html(markup.section(heading, below="The clearest first."))
    st.html(markup.gallery((_shown(page, each, opinion) for each in images[:12]), size="m"))


def _draw_words(cluster: Cluster) -> None:
    if not cluster.words:
        return
    st.html(
        markup.section(
            "Words of their prompts",
            below="Share of the members' choices with the word, and of all choices.",
        )
    )
    most = max(each.rate for each in cluster.words[:10])
    rows = [
        (each.word, each.rate / most, f"{each.rate:.0%}, all {each.overall_rate:.0%}")
        for each in cluster.words[:10]
    ]
    st.html(markup.bars(rows))


def _draw_members(page: Page, cluster: Cluster) -> None:
    st.html(markup.section("Typical members", below="Nearest to the cluster's centre first."))
    members = cluster.typical_members[:_NUM_MEMBERS]
    for user_id, card in zip(members, cards(len(members), "member"), strict=True):
        with card:
            pictures = [
                shown(page.runtime, sha256, Opinion.LIKED, text=prompt)
                for sha256, prompt in newest_liked(page.runtime, user_id, 5)
            ]
            st.html(markup.title_line(user_id, "") + markup.gallery(pictures, size="s"))
            link("Open", ViewName.USERS, key=f"open member {user_id}", user=user_id)


def _download_members(page: Page, run: ClusterRun, cluster: Cluster) -> None:
    def members(after: str) -> list[tuple[str, float, int]]:
        read = page.runtime.clusters.members(run.run_id, cluster.cluster_id, after=after)
        return [(each.user_id, each.similarity, each.cluster_id) for each in read]

    download(
        f"members of cluster {cluster.cluster_id}",
        ["user_id", "similarity", "cluster_id"],
        lambda: paged(members),
        label=f"{counted(cluster.size, 'member')} as CSV",
    )


def _shown(
    page: Page, image: ClusterImage, opinion: Opinion, *, is_noted: bool = True
) -> ShownImage:
    seen = image.num_likes + image.num_passes
    note = f"liked in {image.num_likes} of {counted(seen, 'choice')}, all {image.overall_rate:.0%}"
    return shown(page.runtime, image.sha256, opinion, text=note, note=note if is_noted else "")


def _typical_likes(page: Page, cluster: Cluster, limit: int) -> list[ShownImage]:
    """The newest like of each typical member, each image once."""
    likes: dict[str, str] = {}
    for user_id in cluster.typical_members[:limit]:
        likes |= newest_liked(page.runtime, user_id, 1)
    return [shown(page.runtime, sha256, Opinion.LIKED, text=text) for sha256, text in likes.items()]


def _drift(drift: Drift | None) -> tuple[str, str]:
    if drift is None:
        return "new", "not in the previous run"
    moved = "" if drift.distance is None else f"centre moved by {drift.distance:.3f}"
    return f"+{drift.num_joined:,} −{drift.num_left:,}", moved


def _share(size: int, total: int) -> str:
    return f"{size / max(total, 1):.1%} of all"
