"""A history -> the pairs that the model reads of it. Pure; no tensors here."""

from collections.abc import Sequence
from typing import NamedTuple

from storage.records import Choice, History

SIGNATURE_REFERENCES = 32
"""References that a signature reads: as many as the model can at once, several times over."""


class ReferencePair(NamedTuple):
    """One reference by the names of its images.

    Attributes:
        liked: SHA-256.
        disliked: SHA-256, of an image passed over in the same choice.
        prompt: what both were made from.
    """

    liked: str
    disliked: str
    prompt: str


def references_of(history: History, num_references: int = 8) -> tuple[ReferencePair, ...]:
    """Choose what the model reads of a history: the newest pairs, oldest first.

    Each choice that both likes and passes over gives one pair, with its first passed-over image,
    newest choices first. While there is room, each gives another pair with its next one, again
    newest first: different liked images tell more than one liked image many times.

    Args:
        history: oldest first, as storage gives it.
        num_references: at most so many pairs; at least 0.

    Returns:
        In the order of the choices, within a choice in the order of its passed-over images.

    Raises:
        ValueError: if `num_references` is negative.
    """
    if num_references < 0:
        raise ValueError(f"num_references must be at least 0, got {num_references}")
    choices = [stored.choice for stored in history.choices]
    newest_first = [
        (-index, nth)
        for index, choice in enumerate(choices)
        if choice.liked is not None
        for nth in range(len(choice.passed_over))
    ]
    newest_first.sort(key=lambda place: (place[1], place[0]))
    chosen = sorted((-negated, nth) for negated, nth in newest_first[:num_references])
    return tuple(_pair(choices[index], nth) for index, nth in chosen)


def num_pair_choices(choices: Sequence[Choice]) -> int:
    """Count the choices that give at least one pair."""
    return sum(choice.liked is not None and bool(choice.passed_over) for choice in choices)


def _pair(choice: Choice, nth: int) -> ReferencePair:
    assert choice.liked is not None
    return ReferencePair(choice.liked, choice.passed_over[nth], choice.prompt)
