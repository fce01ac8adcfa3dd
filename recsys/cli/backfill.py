"""`recsys backfill`: compute every signature that is missing or stale, on this machine."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from recsys.cli.failures import ExitCode, Failure
from recsys.cli.invocation import read_settings
from recsys.cli.options import CHECKPOINT, DEVICE, DTYPE
from recsys.cli.output import printable, show_json, show_table
from recsys.cli.progress import pacing, waiting
from recsys.counts import counted
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from recsys.signatures.backfill import Backfill, BackfillSummary
    from storage.backfill_ledger import BackfillLedger, LedgerEntry

NUM_FAILURES_SHOWN = 20
GPU_BATCH_USERS = 8
_PAGE = 1000


@click.command("backfill")
@click.option(
    "--user", help="Id of a single user to compute, even one who failed or was skipped before."
)
@click.option(
    "--chunk",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    help="Users computed before their signatures are stored; a killed run loses at most so many.",
)
@click.option(
    "--batch-users",
    type=click.IntRange(1, 256),
    help="Users whom the model reads in one pass; by default 1 on the CPU, 8 on a GPU. A pass for"
    " which memory is too short is halved.",
)
@click.option("--retry-failed", is_flag=True, help="Try users again who failed before.")
@click.option(
    "--failures", "is_list", is_flag=True, help="List all users who failed, and compute nothing."
)
@CHECKPOINT
@DEVICE
@DTYPE
@click.option(
    "--json",
    "is_json",
    is_flag=True,
    help="Print JSON, for programs; with --failures, one object a line.",
)
@click.pass_context
def command(
    ctx: click.Context,
    user: str | None,
    chunk: int,
    batch_users: int | None,
    retry_failed: bool,
    is_list: bool,
    checkpoint: str | None,
    device: str | None,
    dtype: str | None,
    is_json: bool,
) -> None:
    """Compute every signature that is missing or stale.

    A user who fails, for instance because no image can be read, does not stop the others: the exit
    code is then 5, and the user is not tried again before the next choice, unless by
    --retry-failed. A user is skipped who has no choice with both a liked image and one passed over.

    To resume an interrupted run, run the same command again. Two runs at the same time are safe,
    but may compute some users twice.
    """
    if is_list and (user is not None or retry_failed):
        raise click.UsageError(
            "--failures computes nothing: pass it without --user, --retry-failed"
        )
    settings = read_settings(checkpoint=checkpoint, device=device, dtype=dtype)
    with Runtime(settings) as runtime:
        ledger = runtime.ledger
        with waiting("Loading the scorer"):
            model_version = runtime.signature_reader.model_version
        if is_list:
            _list_failures(ledger, model_version, is_json=is_json)
            return
        with _quiet_about_images():
            size = batch_users or (1 if settings.device == "cpu" else GPU_BATCH_USERS)
            run = runtime.backfill(chunk_size=chunk, batch_size=size, retry_failed=retry_failed)
            summary = _run_to_the_end(run, ledger, user)
        _end(ctx, summary, ledger, user, is_json=is_json)


@contextmanager
def _quiet_about_images() -> Iterator[None]:
    """Do not log unreadable images: a traceback for each would bury the progress bar.

    The ledger and the summary report them.
    """
    logger = logging.getLogger("recsys.images.reader")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _run_to_the_end(
    run: "Backfill", ledger: "BackfillLedger", user: str | None
) -> "BackfillSummary":
    version, retries = run.model.model_version, run.retry_failed
    try:
        if user is not None:
            return run.run_for(user)
        with pacing("Users", lambda: ledger.num_due(version, retry_failed=retries)) as progress:
            return run.run(progress)
    except KeyboardInterrupt as error:
        message = (
            "stopped by Ctrl-C; stored signatures are kept: run the same command again to resume"
        )
        raise Failure(message, ExitCode.INTERRUPTED) from error


def _end(
    ctx: click.Context,
    summary: "BackfillSummary",
    ledger: "BackfillLedger",
    user: str | None,
    *,
    is_json: bool,
) -> None:
    has_failures = bool(summary.num_failed or summary.num_failed_before)
    failures = _some_failures(ledger, summary, user) if has_failures else []
    if is_json:
        show_json(_as_json(summary, failures))
    else:
        _show(summary, failures, user)
    if has_failures:
        ctx.exit(ExitCode.PARTLY)


def _some_failures(
    ledger: "BackfillLedger", summary: "BackfillSummary", user: str | None
) -> "list[LedgerEntry]":
    if user is not None:
        return list(ledger.entries(summary.model_version, [user]).values())
    return ledger.failures(summary.model_version, limit=NUM_FAILURES_SHOWN)


def _as_json(summary: "BackfillSummary", failures: "list[LedgerEntry]") -> dict[str, Any]:
    return {
        "job": summary.job,
        "model_version": summary.model_version,
        "num_up_to_date": summary.num_done,
        "num_partly_read": summary.num_partly_read,
        "num_skipped": summary.num_skipped,
        "num_failed": summary.num_failed,
        "num_erased": summary.num_erased,
        "num_skipped_before": summary.num_skipped_before,
        "num_failed_before": summary.num_failed_before,
        "seconds": round(summary.seconds, 3),
        "users_per_second": round(summary.users_per_second, 3),
        "failures": [_failure_json(entry) for entry in failures],
    }


def _failure_json(entry: "LedgerEntry") -> dict[str, Any]:
    return {"user_id": entry.user_id, "revision": entry.revision, "error": entry.error}


def _show(summary: "BackfillSummary", failures: "list[LedgerEntry]", user: str | None) -> None:
    if not summary.num_tried and not failures:
        whose = "every signature" if user is None else f"the signature of {printable(user)}"
        click.echo(f"{whose} that can be computed is up to date")
    counts = [
        ("signatures computed", summary.num_done),
        ("of them, with some unreadable images", summary.num_partly_read),
        ("skipped: no liked and passed-over image", summary.num_skipped),
        ("failed", summary.num_failed),
        ("erased, changed or opted out in the meantime", summary.num_erased),
        ("not tried again: skipped before", summary.num_skipped_before),
        ("not tried again: failed before", summary.num_failed_before),
    ]
    show_table(["users", "number"], [row for row in counts if row[1] or row is counts[0]])
    if summary.num_tried:
        click.echo(
            f"{counted(summary.num_tried, 'user')} in {summary.seconds:.1f} s,"
            f" {summary.users_per_second:.1f} users/s"
        )
    if failures:
        show_table(["failed", "reason"], [(entry.user_id, entry.error) for entry in failures])
        if len(failures) < summary.num_failed + summary.num_failed_before:
            click.echo("more failed: `recsys backfill --failures` lists them all")


def _list_failures(ledger: "BackfillLedger", model_version: str, *, is_json: bool) -> None:
    """Print a line for each failure, a page at a time, as there may be many."""
    import json

    after = ""
    while page := ledger.failures(model_version, after=after, limit=_PAGE):
        after = page[-1].user_id
        for entry in page:
            line = f"{printable(entry.user_id)}\t{printable(entry.error)}"
            click.echo(json.dumps(_failure_json(entry)) if is_json else line)
