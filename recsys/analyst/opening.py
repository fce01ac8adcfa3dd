"""Storage, opened for reading once for all visitors."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from recsys.runtime import Runtime
from recsys.settings import Settings, load_settings
from storage.errors import StorageUnavailable

_opening = threading.Lock()
_WAITS_AT_MOST_S = 5


def open_runtime() -> Runtime | None:
    """Open storage as the settings name it, for reading; None while nothing was ever stored.

    Raises:
        SettingsRefused: if a setting is invalid.
        NotADatabase: if the file of an embedded database is no database.
        SchemaMismatch: if its schema is older than the code, or newer and no longer serves it.
        StorageUnavailable: if it is locked, or another visitor has waited for it so long already.
    """
    with _one_at_a_time():
        runtime = _runtime(load_settings().settings)
        if runtime.is_new:
            return None
        # Visitors have a thread each, and none of these may be opened twice.
        _ = (runtime.store, runtime.signatures, runtime.clusters)
        _ = (runtime.browser, runtime.ledger, runtime.consents)
        return runtime


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Lest visitors wait for a locked database one after another, those behind are told early."""
    if not _opening.acquire(timeout=_WAITS_AT_MOST_S):
        raise StorageUnavailable("the database does not answer yet: reload the page in a while")
    try:
        yield
    finally:
        _opening.release()


@st.cache_resource(show_spinner=False, hash_funcs={Settings: lambda given: given.model_dump_json()})
def _runtime(settings: Settings) -> Runtime:
    return Runtime(settings, read_only=True)
