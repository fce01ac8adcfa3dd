"""What evaluation asks of anything that claims to know what a user likes.

Our scorer and every baseline answer the same questions through the same protocol.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from recsys.history import Pair, select

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CandidateRow:
    """An image that a predictor is asked about.

    Attributes:
        row: of the image table (`PairTable.images`).
        prompt: what it was made from.
    """

    row: int
    prompt: str


@dataclass(frozen=True)
class Question:
    """What a predictor is asked at once.

    Attributes:
        user_id: who is asked about.
        references: what the user chose so far; empty for somebody new.
        candidates: images to put in order; any number, all for this user.
    """

    user_id: str
    references: Sequence[Pair]
    candidates: Sequence[CandidateRow]


@runtime_checkable
class Predictor(Protocol):
    """Anything that puts numbers on images for a user.

    Attributes:
        name: a short lower-case word, as it stands in reports.
    """

    name: str

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """One number a candidate, shape (C,): the higher, the more this user would like it.

        Only the order within one call counts, and equal numbers are a tie. A candidate's number
        depends on nothing of the other candidates but their being asked together.

        Args:
            user_id: who is asked about.
            references: what the user chose so far; empty for somebody new.
            candidates: images to put in order; any number, all for this user.
        """
        ...


@runtime_checkable
class BatchPredictor(Predictor, Protocol):
    """A predictor for which several questions at once are cheaper than one after the other."""

    def scores_of(self, questions: Sequence[Question]) -> list[Scores]:
        """The same of each question, within rounding."""
        ...


def ask_all(predictor: Predictor, questions: Sequence[Question]) -> list[Scores]:
    """Ask everything, together where the predictor can."""
    if isinstance(predictor, BatchPredictor):
        return predictor.scores_of(questions)
    return [predictor.scores(each.user_id, each.references, each.candidates) for each in questions]


def at_most(references: Sequence[Pair], num_references: int) -> Sequence[Pair]:
    """What a model reads that was trained with fewer references than others who are asked.

    Args:
        references: of one user, in any order.
        num_references: read at most, at least 0.

    Returns:
        All of them in their order, if they are so few; else what is served of them.
    """
    if len(references) <= num_references:
        return references
    return select(references, num_references)
