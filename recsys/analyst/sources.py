"""What the views read: storage opened for reading, and what of it is kept in memory for a while.

Who is erased must be gone from the page: only counts, thumbnails and numbers are kept, and users
are read from SQL whenever they are shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from recsys.analyst.markup import Opinion, Picture
from recsys.analyst.thumbnails import thumbnail
from recsys.cli.opened import is_new
from recsys.settings import Settings, load_settings
from storage.backfill_ledger import BackfillLedger
from storage.blobs import BlobStore
from storage.browsing import Browser
from storage.clusters.records import ClusterRun
from storage.clusters.runs import ClusterStore
from storage.database import Database, require_current
from storage.errors import UnknownImage
from storage.histories import HistoryStore
from storage.records import VersionSummary
from storage.signatures import SignatureStore

COUNTS_FOR_S = 20


@dataclass(frozen=True, eq=False)
class Sources:
    """Everything that can be asked.

    Attributes:
        settings: as the command was given them.
        histories: choices and images.
        browser: users.
        signatures: vectors.
        clusters: runs of clusters.
        ledger: of backfills.
    """

    settings: Settings
    histories: HistoryStore
    browser: Browser
    signatures: SignatureStore
    clusters: ClusterStore
    ledger: BackfillLedger


def open_sources() -> Sources | None:
    """Open storage as the settings name it; None while nothing was ever stored.

    Raises:
        SettingsRefused: if a setting breaks its rule.
        SchemaMismatch: if the schema is older or newer than the code.
    """
    settings = load_settings().settings
    return None if is_new(settings.database_url) else _opened(settings)


@st.cache_resource(show_spinner=False, hash_funcs={Settings: lambda given: given.model_dump_json()})
def _opened(settings: Settings) -> Sources:
    database = Database(settings.database_url, read_only=True)
    require_current(database)
    return Sources(
        settings,
        HistoryStore(database, BlobStore(settings.blob_url)),
        Browser(database),
        SignatureStore(database),
        ClusterStore(database),
        BackfillLedger(database),
    )


@st.cache_data(ttl=COUNTS_FOR_S, show_spinner=False)
def num_users(_sources: Sources, url: str) -> int:
    """How many users there are; kept for a while."""
    return _sources.browser.num_users()


@st.cache_data(ttl=COUNTS_FOR_S, show_spinner=False)
def summaries(_sources: Sources, url: str) -> list[VersionSummary]:
    """What is stored of each model version, the newest first; kept for a while."""
    return _sources.signatures.summaries()


def newest_run(sources: Sources, model_version: str) -> ClusterRun | None:
    """The newest clusters of a model version's signatures, if there are any."""
    runs = (run for run in sources.clusters.runs() if run.model_version == model_version)
    return next(runs, None)


def cluster_of(sources: Sources, run: ClusterRun | None, user_ids: Sequence[str]) -> dict[str, int]:
    """The cluster of each of these users; who is in none is absent."""
    return {} if run is None else sources.clusters.cluster_of(run.run_id, user_ids)


def shown(
    sources: Sources,
    sha256: str,
    opinion: Opinion = Opinion.PLAIN,
    *,
    text: str = "",
    note: str = "",
) -> Picture:
    """A stored image, ready to be shown."""
    return Picture(_address(sources, sha256), opinion, text, note)


def newest_liked(sources: Sources, user_id: str, limit: int) -> list[tuple[str, str]]:
    """The images that a user liked last, each once, the newest first, with their prompts."""
    history = sources.histories.read(user_id, limit=4 * limit)
    liked = {
        each.choice.liked: each.choice.prompt
        for each in reversed(history.choices)
        if each.choice.liked is not None
    }
    return list(liked.items())[:limit]


@st.cache_data(max_entries=4000, show_spinner=False)
def _address(_sources: Sources, sha256: str) -> str | None:
    try:
        data = _sources.histories.image(sha256)
    except UnknownImage:
        return None
    return thumbnail(data)
