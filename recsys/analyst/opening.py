"""Storage, opened for reading once for all visitors."""

import threading

import streamlit as st

from recsys.runtime import Runtime
from recsys.settings import Settings, load_settings

_opening = threading.Lock()


def open_runtime() -> Runtime | None:
    """Open storage as the settings name it, for reading; None while nothing was ever stored.

    Raises:
        SettingsRefused: if a setting is invalid.
        NotADatabase: if the file of an embedded database is no database.
        SchemaMismatch: if its schema is older than the code, or newer and no longer serves it.
        StorageUnavailable: if it is locked.
    """
    with _opening:
        runtime = _runtime(load_settings().settings)
        if runtime.is_new:
            return None
        # Visitors have a thread each, and none of these may be opened twice.
        _ = (runtime.store, runtime.signatures, runtime.clusters)
        _ = (runtime.browser, runtime.ledger, runtime.consents)
        return runtime


@st.cache_resource(show_spinner=False, hash_funcs={Settings: lambda given: given.model_dump_json()})
def _runtime(settings: Settings) -> Runtime:
    return Runtime(settings, read_only=True)
