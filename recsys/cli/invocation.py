"""One call of a command: its settings, with its flags on top, and a client of a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from recsys.errors import Unavailable

if TYPE_CHECKING:
    from recsys.client import RecsysClient
    from recsys.settings import LoadedSettings, Settings


def load_settings(**flags: Any) -> "LoadedSettings":
    """Read the settings under this call's flags, those of `recsys --set` included.

    Raises:
        SettingsRefused: as `recsys.settings.load_settings`.
    """
    from recsys.settings import load_settings as load

    context = click.get_current_context(silent=True)
    common: dict[str, Any] = (context.find_root().obj or {}) if context else {}
    return load(common | {name: value for name, value in flags.items() if value is not None})


def read_settings(**flags: Any) -> "Settings":
    """Read the values of all settings, as `load_settings`."""
    return load_settings(**flags).settings


@contextmanager
def opened_client(settings: "Settings") -> "Iterator[RecsysClient]":
    """Open a client of the server at the settings' address; closed in the end."""
    from recsys.client import RecsysClient

    with RecsysClient(settings.address, timeout_s=settings.timeout_s) as client:
        try:
            yield client
        except Unavailable as error:
            raise Unavailable(
                f"the server at {settings.address} does not answer ({error}): start one with"
                " `recsys serve`, or name another"
            ) from error
