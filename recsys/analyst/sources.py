"""What the views read of storage, and short-lived caches of it.

An erased user must disappear from the page at once: only counts and thumbnails are cached, and
users are read from SQL whenever they are shown.
"""

from collections.abc import Iterable, Sequence

import streamlit as st

from recsys.analyst.markup import Opinion, ShownImage, cluster_title
from recsys.analyst.thumbnails import thumbnail
from recsys.runtime import Runtime
from recsys.settings import load_settings
from recsys.signatures.missing import reason_told
from storage.backfill_ledger import MissingSignatures
from storage.browsing import ListedUser
from storage.clusters.names import ClusterNames
from storage.clusters.records import ClusterRun
from storage.errors import UnknownImage
from storage.records import VersionSummary

COUNTS_FOR_S = 20
THUMBNAILS_FOR_S = 600
"""No page asks for one of an image that was taken down, but memory may hold it for so long."""


@st.cache_data(ttl=COUNTS_FOR_S, show_spinner=False)
def num_users(_runtime: Runtime, url: str) -> int:
    """Return how many users there are; cached briefly."""
    return _runtime.browser.num_users()


@st.cache_data(ttl=COUNTS_FOR_S, show_spinner=False)
def summaries(_runtime: Runtime, url: str) -> list[VersionSummary]:
    """Return a summary of each model version, the newest first; cached briefly."""
    return _runtime.signatures.summaries()


@st.cache_data(ttl=COUNTS_FOR_S, show_spinner=False)
def missing(_runtime: Runtime, url: str, model_version: str) -> MissingSignatures:
    """Return how many users have no current signature; cached briefly."""
    return _runtime.ledger.missing(model_version)


def why_not_fresh(runtime: Runtime, model_version: str, user: ListedUser) -> str:
    """Return why a user has no current signature, or what to run."""
    entries = runtime.ledger.entries(model_version, [user.user_id])
    return reason_told(entries.get(user.user_id), user.revision)


def newest_run(runtime: Runtime, model_version: str) -> ClusterRun | None:
    """Return the newest run of clusters of a model version, if there is one."""
    runs = (run for run in runtime.clusters.runs() if run.model_version == model_version)
    return next(runs, None)


def cluster_of(runtime: Runtime, run: ClusterRun | None, user_ids: Sequence[str]) -> dict[str, int]:
    """Return the cluster of each user; users in no cluster are absent."""
    return {} if run is None else runtime.clusters.cluster_of(run.run_id, user_ids)


def cluster_titles(runtime: Runtime, cluster_ids: Iterable[int]) -> dict[int, str]:
    """Return what to call each of these clusters: "Cluster 3", and the name that it was given."""
    wanted = list(dict.fromkeys(cluster_ids))
    names = ClusterNames(runtime.store.database).of(wanted)
    return {each: cluster_title(each, names.get(each)) for each in wanted}


def name_cluster(cluster_id: int, name: str) -> None:
    """Name a cluster, or take its name away if the new one is empty: all that the page writes.

    Raises:
        InvalidRecord: if the name breaks its rule.
        UnknownCluster: if no run has the cluster any more.
        StorageError: if storage cannot be written.
    """
    with Runtime(load_settings().settings) as runtime:
        names = ClusterNames(runtime.store.database)
        if name:
            names.give(cluster_id, name)
        else:
            names.remove(cluster_id)


def shown(
    runtime: Runtime,
    sha256: str,
    opinion: Opinion = Opinion.PLAIN,
    *,
    text: str = "",
    note: str = "",
) -> ShownImage:
    """Return a stored image, ready to be shown; a click opens it."""
    return ShownImage(_address(runtime, sha256), opinion, text, note, sha256)


def newest_liked(runtime: Runtime, user_id: str, limit: int) -> list[tuple[str, str]]:
    """Return a user's most recent likes with their prompts, each image once, newest first."""
    history = runtime.store.read(user_id, limit=4 * limit)
    liked = {
        each.choice.liked: each.choice.prompt
        for each in reversed(history.choices)
        if each.choice.liked is not None
    }
    return list(liked.items())[:limit]


@st.cache_data(ttl=THUMBNAILS_FOR_S, max_entries=4000, show_spinner=False)
def _address(_runtime: Runtime, sha256: str) -> str | None:
    try:
        data = _runtime.store.image(sha256)
    except UnknownImage:
        return None
    return thumbnail(data)
