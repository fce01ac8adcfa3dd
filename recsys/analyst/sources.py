"""What the views read: storage opened for reading, and what of it is kept in memory for a while.

Who is erased must be gone from the page: only counts, thumbnails and numbers are kept, and users
are read from SQL whenever they are shown.
"""

from collections.abc import Sequence

import streamlit as st

from recsys.analyst.markup import Opinion, ShownImage
from recsys.analyst.thumbnails import thumbnail
from recsys.runtime import Runtime
from recsys.settings import Settings, load_settings
from storage.clusters.records import ClusterRun
from storage.errors import UnknownImage
from storage.records import VersionSummary

COUNTS_FOR_S = 20


def open_runtime() -> Runtime | None:
    """Open storage as the settings name it, for reading; None while nothing was ever stored.

    Raises:
        SettingsRefused: if a setting breaks its rule.
        NotADatabase: if the database's file is none.
    """
    runtime = _runtime(load_settings().settings)
    return None if runtime.is_new else runtime


@st.cache_resource(show_spinner=False, hash_funcs={Settings: lambda given: given.model_dump_json()})
def _runtime(settings: Settings) -> Runtime:
    return Runtime(settings, read_only=True)


@st.cache_data(ttl=COUNTS_FOR_S, show_spinner=False)
def num_users(_runtime: Runtime, url: str) -> int:
    """How many users there are; kept for a while."""
    return _runtime.browser.num_users()


@st.cache_data(ttl=COUNTS_FOR_S, show_spinner=False)
def summaries(_runtime: Runtime, url: str) -> list[VersionSummary]:
    """What is stored of each model version, the newest first; kept for a while."""
    return _runtime.signatures.summaries()


def newest_run(runtime: Runtime, model_version: str) -> ClusterRun | None:
    """The newest clusters of a model version's signatures, if there are any."""
    runs = (run for run in runtime.clusters.runs() if run.model_version == model_version)
    return next(runs, None)


def cluster_of(runtime: Runtime, run: ClusterRun | None, user_ids: Sequence[str]) -> dict[str, int]:
    """The cluster of each of these users; who is in none is absent."""
    return {} if run is None else runtime.clusters.cluster_of(run.run_id, user_ids)


def shown(
    runtime: Runtime,
    sha256: str,
    opinion: Opinion = Opinion.PLAIN,
    *,
    text: str = "",
    note: str = "",
) -> ShownImage:
    """A stored image, ready to be shown."""
    return ShownImage(_address(runtime, sha256), opinion, text, note)


def newest_liked(runtime: Runtime, user_id: str, limit: int) -> list[tuple[str, str]]:
    """The images that a user liked last, each once, the newest first, with their prompts."""
    history = runtime.store.read(user_id, limit=4 * limit)
    liked = {
        each.choice.liked: each.choice.prompt
        for each in reversed(history.choices)
        if each.choice.liked is not None
    }
    return list(liked.items())[:limit]


@st.cache_data(max_entries=4000, show_spinner=False)
def _address(_runtime: Runtime, sha256: str) -> str | None:
    try:
        data = _runtime.store.image(sha256)
    except UnknownImage:
        return None
    return thumbnail(data)
