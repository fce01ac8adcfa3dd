"""`recsys db`: check the schema of the database, and upgrade it."""

import click

from recsys.cli.failures import ExitCode
from recsys.cli.invocation import read_settings
from recsys.cli.options import JSON
from recsys.cli.output import show_json
from recsys.runtime import Runtime


@click.group("db")
def command() -> None:
    """Check the database's schema, or upgrade it."""


@command.command("upgrade")
@JSON
def upgrade(is_json: bool) -> None:
    """Upgrade the schema to the one that this version needs; no data is lost."""
    from recsys.settings import masked
    from storage.database import upgrade as upgrade_database

    settings = read_settings()
    with Runtime(settings) as runtime:
        revision = upgrade_database(runtime.database)
    url = masked(settings.database_url)
    if is_json:
        show_json({"database_url": url, "revision": revision})
    else:
        click.echo(f"{url} is at revision {revision}, as this version needs it")


@command.command("check")
@JSON
def check(is_json: bool) -> None:
    """Check that the schema is the one that this version needs; exit code 1 if not."""
    from recsys.settings import masked
    from storage.database import check as check_database
    from storage.database import require_current

    settings = read_settings()
    url = masked(settings.database_url)
    with Runtime(settings, read_only=True) as runtime:
        status = check_database(runtime.database)
        if not is_json:
            require_current(runtime.database)
            click.echo(f"{url} is at revision {status.current}, as this version needs it")
            return
    show_json(
        {
            "database_url": url,
            "current": status.current,
            "expected": status.expected,
            "is_current": status.is_current,
        }
    )
    if not status.is_current:
        raise click.exceptions.Exit(ExitCode.FAILED)
