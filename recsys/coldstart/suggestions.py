"""The use case of `SuggestOnboarding`: the pairs that were chosen for new users."""

from recsys.coldstart.first_questions import MAX_PAIRS
from recsys.errors import InvalidRequest, PreconditionFailed
from storage.coldstart.populations import ColdStartStore
from storage.coldstart.records import Onboarding

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
        )
    return num_pairs or DEFAULT_PAIRS


def learned_onboarding(store: ColdStartStore, model_version: str) -> Onboarding:
    """Return the pairs chosen for a model version, without those erased since.

    Raises:
        PreconditionFailed: if none were chosen, or all were erased.
    """
    onboarding = store.onboarding(model_version)
    if onboarding is None:
        raise PreconditionFailed(
            "suggesting pairs takes what is learned from people's choices, and nothing was learned"
            f" for model version {model_version[:12]}: run `recsys coldstart fit`"
        )
    if not onboarding.pairs:
        raise PreconditionFailed(
            "suggesting pairs takes images that are still stored, and those that were chosen are"
            " erased: run `recsys coldstart fit`"
        )
    return onboarding
