"""`recsys db`: check the schema of the database, and upgrade it."""

from typing import TYPE_CHECKING

import click

from recsys.cli.failures import ExitCode
from recsys.cli.invocation import read_settings
from recsys.cli.options import JSON
from recsys.cli.output import show_json
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from storage.database import SchemaStatus


@click.group("db")
def command() -> None:
    """Check the database's schema, or upgrade it."""


@command.command("upgrade")
@JSON
def upgrade(is_json: bool) -> None:
    """Upgrade the schema to the one that this version needs; no data is lost.

    A newer schema that still serves this version is left as it is.
    """
    from recsys.settings import masked
    from storage.database import check as check_database
    from storage.database import upgrade as upgrade_database

    settings = read_settings()
    with Runtime(settings) as runtime:
        revision = upgrade_database(runtime.database)
        status = check_database(runtime.database)
    url = masked(settings.database_url)
    if is_json:
        show_json({"database_url": url, "revision": revision})
    else:
        click.echo(_fit(url, status))


@command.command("check")
@JSON
def check(is_json: bool) -> None:
    """Check that the schema serves this version; exit code 1 if not."""
    from recsys.settings import masked
    from storage.database import check as check_database
    from storage.database import require_usable

    settings = read_settings()
    url = masked(settings.database_url)
    with Runtime(settings, read_only=True) as runtime:
        status = check_database(runtime.database)
        if not is_json:
            require_usable(runtime.database)
            click.echo(_fit(url, status))
            return
    show_json(
        {
            "database_url": url,
            "current": status.current,
            "expected": status.expected,
            "is_current": status.is_current,
            "is_usable": status.is_usable,
        }
    )
    if not status.is_usable:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _fit(url: str, status: "SchemaStatus") -> str:
    if status.is_current:
        return f"{url} is at revision {status.current}, as this version needs it"
    return (
        f"{url} is at revision {status.current}, newer than the {status.expected} of this version,"
        " and serves it"
    )
