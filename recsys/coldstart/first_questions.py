"""The first questions to a new user, as they were learned: for `SuggestOnboarding`."""

from recsys.coldstart.information import MAX_PAIRS
from recsys.errors import InvalidRequest, PreconditionFailed
from recsys.reasons import Reason
from storage.coldstart.populations import ColdStartStore
from storage.coldstart.records import FirstQuestions

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


def learned_first_questions(store: ColdStartStore, model_version: str) -> FirstQuestions:
    """Return those of a model version, without pairs erased since.

    Raises:
        PreconditionFailed: if none were chosen, or all were erased.
    """
    questions = store.first_questions(model_version)
    if questions is None:
        raise PreconditionFailed(
            "first questions are learned from people's choices, and none were learned for model"
            f" version {model_version[:12]}: run `recsys coldstart fit`",
            reason=Reason.NOTHING_LEARNED,
        )
    if not questions.pairs:
        raise PreconditionFailed(
            "the images of all first questions were erased: run `recsys coldstart fit`",
            reason=Reason.NOTHING_LEARNED,
        )
    return questions
