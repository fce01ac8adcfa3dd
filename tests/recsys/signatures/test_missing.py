"""What is said of users without a current signature: what to run, or why there can be none."""

import pytest

from recsys.signatures.missing import missing_told, reason_told
from storage.backfill_ledger import BackfillState, LedgerEntry, MissingSignatures


def test_those_who_can_have_one_are_told_apart_from_those_who_cannot():
    due, skipped, failed = missing_told(MissingSignatures(3, 2, 1))

    assert due == "3 users have no current signature: run `recsys backfill`"
    assert skipped.startswith("2 users cannot have one: no choice of theirs both likes")
    assert failed.startswith("1 user cannot have one: their images cannot be read")
    assert "recsys backfill --failures" in failed


def test_of_one_user_it_speaks_in_the_singular_and_of_none_not_at_all():
    assert missing_told(MissingSignatures(1, 0, 0)) == [
        "1 user has no current signature: run `recsys backfill`"
    ]
    assert missing_told(MissingSignatures(0, 0, 0)) == []


@pytest.mark.parametrize(
    ("state", "revision", "says"),
    [
        (None, 1, "run `recsys backfill`"),
        (BackfillState.DONE, 1, "run `recsys backfill`"),
        (BackfillState.UNAVAILABLE, 1, "run `recsys backfill`"),
        (BackfillState.SKIPPED, 1, "cannot have one: no choice"),
        (BackfillState.FAILED, 1, "cannot have one: no image is readable"),
        (BackfillState.FAILED, 2, "run `recsys backfill`"),
    ],
)
def test_a_user_is_told_why(state, revision, says):
    entry = state and LedgerEntry("ann", "v1", 1, "job", state, "no image is readable")

    assert reason_told(entry, revision).startswith(says)
