"""The first questions to a new user, as they were learned: for `SuggestOnboarding`."""

from recsys.coldstart.information import MAX_PAIRS
from recsys.counts import counted
from recsys.errors import InvalidRequest, PreconditionFailed
from recsys.reasons import Reason
from storage.coldstart.populations import ColdStartStore
from storage.coldstart.records import FirstQuestions
from storage.records import SharingRules

DEFAULT_PAIRS = 4


def checked_num_pairs(num_pairs: int) -> int:
    """Check a requested number of pairs.

    Args:
        num_pairs: 1 to 8; 0 means 4.

    Raises:
        InvalidRequest: if it is out of range.
    """
    if not 0 <= num_pairs <= MAX_PAIRS:
        raise InvalidRequest(
            f"num_pairs must be 1 to {MAX_PAIRS}, or 0 for {DEFAULT_PAIRS}, got {num_pairs}",
            field="num_pairs",
            reason=Reason.NUM_PAIRS_INVALID,
        )
    return num_pairs or DEFAULT_PAIRS


def learned_first_questions(
    store: ColdStartStore, model_version: str, rules: SharingRules
) -> FirstQuestions:
    """Return those of a model version that a new user may be shown.

    Args:
        store: of what was learned.
        model_version: that is served.
        rules: images and prompts that break them are left out.

    Raises:
        PreconditionFailed: if none were chosen, or none may be shown now.
    """
    questions = store.first_questions(model_version, rules)
    if questions is None:
        raise PreconditionFailed(
            "first questions are learned from people's choices, and none were learned for model"
            f" version {model_version[:12]}: run `recsys coldstart fit`",
            reason=Reason.NOTHING_LEARNED,
        )
    if not questions.pairs:
        raise PreconditionFailed(
            f"there is no first question: {remedy(rules)}",
            reason=Reason.NOTHING_LEARNED,
        )
    return questions


def remedy(rules: SharingRules) -> str:
    """Tell what images must be to be shown to new users, and what to do where too few are."""
    return (
        "its images must be stored, marked as shareable and seen by"
        f" {counted(rules.min_users, 'user')} or more: mark images with `recsys images share`, or"
        " lower share_min_users, and run `recsys coldstart fit`"
    )
