"""Whose signature is missing or stale, and what to do about it."""

from recsys.counts import counted
from storage.backfill_ledger import BackfillState, LedgerEntry, MissingSignatures

NO_PAIR_TOLD = "no choice of theirs both likes an image and passes one over"


def missing_told(missing: MissingSignatures) -> list[str]:
    """Say how many users have no current signature, those who can have one apart; empty if all do.

    Args:
        missing: of a model version.
    """
    told = []
    if missing.num_due:
        have = "has" if missing.num_due == 1 else "have"
        told.append(
            f"{counted(missing.num_due, 'user')} {have} no current signature: run `recsys backfill`"
        )
    if missing.num_skipped:
        told.append(f"{counted(missing.num_skipped, 'user')} cannot have one: {NO_PAIR_TOLD}")
    if missing.num_failed:
        told.append(
            f"{counted(missing.num_failed, 'user')} cannot have one: their images cannot be read,"
            " or another error: `recsys backfill --failures` tells which"
        )
    return told


def reason_told(entry: LedgerEntry | None, revision: int) -> str:
    """Say why a user without a current signature has none.

    Args:
        entry: of the last attempt under the model version; None if there was none.
        revision: of the user's history.
    """
    if entry is None or entry.revision < revision or entry.state not in _FINAL:
        return "run `recsys backfill`"
    if entry.state is BackfillState.SKIPPED:
        return f"cannot have one: {NO_PAIR_TOLD}"
    return f"cannot have one: {entry.error}"


_FINAL = (BackfillState.SKIPPED, BackfillState.FAILED)
