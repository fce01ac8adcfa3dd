"""The command line: a group that imports a command only when it is called."""

import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from recsys.cli.failures import EXIT_CODES, ExitCode, Failure, explained

ENTRY_POINTS = "recsys.commands"
"""The entry-point group by which other packages add commands."""

COMMANDS = {
    "rank": ("recsys.cli.rank", "Rank images by how much a user will like them."),
    "choose": (
        "recsys.cli.choose",
        "Record which image a user liked and which were passed over.",
    ),
    "users": (
        "recsys.cli.users",
        "Show, export or erase a user, and keep their consent.",
    ),
    "images": (
        "recsys.cli.images",
        "Take images down, keep them out, and say which others may see.",
    ),
    "import": ("recsys.cli.imports", "Import choices from files into storage."),
    "prune": ("recsys.cli.prune", "Remove choices that are too old or too many."),
    "backfill": (
        "recsys.cli.backfill",
        "Compute every signature that is missing or stale.",
    ),
    "similar": (
        "recsys.cli.similar",
        "Find a user's neighbours: other users with a near signature.",
    ),
    "clusters": (
        "recsys.cli.clusters",
        "Group users by taste, and show what each group likes.",
    ),
    "coldstart": (
        "recsys.cli.coldstart",
        "Learn from all users how to rank for those with few choices.",
    ),
    "folders": (
        "recsys.cli.folders",
        "List folders of trainings and exports: an erasure looks there.",
    ),
    "analyst": (
        "recsys.cli.analyst",
        "Serve the analyst's page of users and clusters.",
    ),
    "serve": ("recsys.cli.serve", "Serve rankings over gRPC."),
    "db": ("recsys.cli.database", "Check the database's schema, or upgrade it."),
    "settings": ("recsys.cli.settings", "Show each setting and where it came from."),
}
"""By name: the module that holds the `command`, and its line of help, which needs no import."""


class LazyGroup(click.Group):
    """A group that imports commands lazily, and reports expected errors in a sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands: this package's, then those of others."""
        others = sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))
        return list(dict.fromkeys([*COMMANDS, *others]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name.

        Raises:
            Failure: if a package declares the command and it cannot be imported.
        """
        if cmd_name in COMMANDS:
            command: click.Command = import_module(COMMANDS[cmd_name][0]).command
            return command
        entries = entry_points(group=ENTRY_POINTS, name=cmd_name)
        return _load(next(iter(entries))) if entries else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; for those of other packages, import the line of help."""
        others = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
        rows = [
            (name, COMMANDS[name][1] if name in COMMANDS else _line_of_help(others[name]))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; expected errors become a sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            message = "stopped by Ctrl-C: what is stored already is kept"
            raise Failure(message, ExitCode.INTERRUPTED) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            is_closed_pipe = isinstance(error, OSError) and error.errno == errno.EPIPE
            failure = None if is_closed_pipe else explained(error)
            if failure is None:
                raise
            raise failure from error


def _line_of_help(entry: EntryPoint) -> str:
    try:
        return _load(entry).get_short_help_str(limit=80)
    except Failure:
        return f"(cannot be loaded from {entry.module})"


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except Exception as error:  # another package's code: whatever it raises, the rest must work
        raise Failure(
            f"the command {entry.name} cannot be loaded from {entry.value}"
            f" ({type(error).__name__}: {error}): install its package again"
        ) from error
    if not isinstance(command, click.Command):
        raise Failure(f"the command {entry.name} must be a click command at {entry.value}")
    return command


def _parse_flags(
    _context: click.Context, _option: click.Parameter, given: Sequence[str]
) -> dict[str, str]:
    flags = {}
    for each in given:
        name, separator, value = each.partition("=")
        if not separator:
            raise click.BadParameter(f"must be NAME=VALUE, got {each!r}")
        flags[name] = value
    return flags


@click.group(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"max_content_width": 100})
@click.option(
    "--set",
    "flags",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_parse_flags,
    help="Value of a setting for this call; `recsys settings` lists them. Repeatable.",
)
@click.version_option(package_name="recsys")
@click.pass_context
def cli(ctx: click.Context, flags: dict[str, str]) -> None:
    """Learn users' taste in generated images, and rank new images for them."""
    ctx.obj = flags


def main() -> None:
    """Run the command that the arguments name; the entry point of `recsys`."""
    try:
        cli(prog_name="recsys")
    except KeyboardInterrupt:  # before a command has begun, or after it has ended
        sys.exit(int(ExitCode.INTERRUPTED))
