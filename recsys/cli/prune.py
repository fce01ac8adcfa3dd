"""`recsys prune`: remove choices that are too old or too many, and what interrupted work left."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from recsys.cli.confirmation import confirm
from recsys.cli.failures import ExitCode, Failure
from recsys.cli.invocation import read_settings
from recsys.cli.options import JSON
from recsys.cli.output import printable, show_json, show_table
from recsys.cli.progress import counting
from recsys.counts import counted
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from recsys.settings import Settings
    from storage.pruning import Doomed, Retention


class Days(click.ParamType[int]):
    """A whole number of days, as "365d" or "365"."""

    name = "days"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read it; at least one day."""
        days = re.fullmatch(r"([1-9][0-9]{0,4})d?", str(value))
        if days is None:
            self.fail(f"it must be days, such as 365d, got {value!r}", param, ctx)
        return int(days[1])


@click.command("prune")
@click.option(
    "--older-than",
    "days",
    type=Days(),
    metavar="DAYS",
    help="Age of the choices to remove, e.g. 365d; the setting retention_days by default.",
)
@click.option(
    "--keep-newest",
    type=click.IntRange(1),
    help="Choices to keep of each user; the setting retention_choices by default.",
)
@click.option("--orphans", "is_orphans", is_flag=True, help="Remove only what was left over.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only count what would be removed.")
@click.option("--yes", "is_sure", is_flag=True, help="Remove without asking for confirmation.")
@JSON
def command(
    days: int | None,
    keep_newest: int | None,
    is_orphans: bool,
    is_dry: bool,
    is_sure: bool,
    is_json: bool,
) -> None:
    """Remove choices that are too old or too many.

    Images that no other choice names go, and so do their bytes. So does what an ended process has
    left: files that nothing names, and blocked images whose takedown it did not finish. A choice
    whose time nobody told is as old as its import.

    Signatures of these users become stale, so run `recsys backfill` next; who has no choice left
    has none, and is in no cluster. Consents stay. It goes in small transactions, also beside a
    running server; to resume an interrupted run, run the same command again.
    """
    settings = read_settings()
    if is_orphans:
        if days is not None or keep_newest is not None:
            raise click.UsageError("--orphans goes without --older-than and --keep-newest")
        _remove_leftovers(settings, is_dry=is_dry, is_sure=is_sure, is_json=is_json)
        return
    retention = _retention(settings, days, keep_newest)
    with Runtime(settings) as runtime:
        from storage.pruning import Pruner

        pruner = Pruner(runtime.store.database, runtime.store.blobs)
        doomed, num_unfinished = pruner.count(retention), len(runtime.takedowns.unfinished())
        if is_dry:
            _show({**asdict(doomed), "num_takedowns": num_unfinished}, is_json=is_json)
            return
        if not is_sure:
            _ask(doomed, num_unfinished)
        with _resumable():
            num_takedowns = _finish_takedowns(runtime)
            with counting("Choices", lambda: doomed.num_choices) as count:
                removed = pruner.prune(retention, progress=count)
            left = {"num_orphans": pruner.remove_orphans(), "num_takedowns": num_takedowns}
            _forget_tokens(runtime)
        _show({**asdict(removed), **left}, is_json=is_json)


def _remove_leftovers(settings: "Settings", *, is_dry: bool, is_sure: bool, is_json: bool) -> None:
    with Runtime(settings) as runtime:
        from storage.pruning import Doomed, Pruner

        pruner = Pruner(runtime.store.database, runtime.store.blobs)
        num_orphans, num_takedowns = pruner.count_orphans(), len(runtime.takedowns.unfinished())
        if not is_dry:
            if not is_sure:
                _ask(Doomed(0, 0, num_orphans), num_takedowns)
            with _resumable():
                num_takedowns = _finish_takedowns(runtime)
                num_orphans = pruner.remove_orphans()
        _show({"num_orphans": num_orphans, "num_takedowns": num_takedowns}, is_json=is_json)


def _finish_takedowns(runtime: Runtime) -> int:
    """Finish takedowns that were interrupted, tell what they did not reach, and count them."""
    finished = runtime.image_eraser.finish_interrupted()
    for sha256, taken in finished.items():
        for remnant in taken.remnants:
            click.echo(f"still names image {sha256}: {printable(remnant)}", err=True)
    return len(finished)


def _retention(settings: "Settings", days: int | None, keep_newest: int | None) -> "Retention":
    from storage.pruning import Retention

    if days is None and keep_newest is None:
        days, keep_newest = settings.retention_days, settings.retention_choices
    if days is None and keep_newest is None:
        raise click.UsageError(
            "pass --older-than, --keep-newest or both, or set retention_days or retention_choices"
        )
    chosen_from = None if days is None else datetime.now(UTC) - timedelta(days=days)
    return Retention(chosen_from, keep_newest)


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        again = "stopped by Ctrl-C; what is removed stays so: run the same command again"
        raise Failure(again, ExitCode.INTERRUPTED) from error


def _forget_tokens(runtime: Runtime) -> None:
    from recsys.erasure.kept_tokens import remove_kept_tokens

    folder = runtime.settings.image_tokens_folder
    for remnant in remove_kept_tokens(runtime.store.database, folder):
        click.echo(f"still holds something of what was removed: {printable(remnant)}", err=True)


def _ask(doomed: "Doomed", num_takedowns: int) -> None:
    question = (
        f"Remove {counted(doomed.num_choices, 'choice')} of {counted(doomed.num_users, 'user')} and"
        f" {counted(doomed.num_orphans, 'orphaned file')}, and finish"
        f" {counted(num_takedowns, 'takedown')}? This cannot be undone."
    )
    confirm(question, undone="nothing was removed")


_WORDS = {
    "num_choices": "choices",
    "num_users": "users affected",
    "num_emptied": "users without a choice now",
    "num_images": "images",
    "num_bytes": "bytes of these images",
    "num_orphans": "orphaned files",
    "num_takedowns": "takedowns that were interrupted",
}


def _show(counts: dict[str, int], *, is_json: bool) -> None:
    if is_json:
        show_json(counts)
        return
    show_table(["prune", "number"], [(_WORDS[name], number) for name, number in counts.items()])
