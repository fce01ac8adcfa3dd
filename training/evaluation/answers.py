"""Ask a predictor and count: margins by user, and figures with their intervals over users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.history import Pair
from training.evaluation.metrics import (
    QUANTILES,
    Figure,
    Statistic,
    accuracy,
    interval_over_users,
    over_users,
)
from training.evaluation.questions import OneOfFour, Opposed, Samples
from training.predictors.predictor import CandidateRow, Predictor

Margins = Mapping[str, npt.NDArray[np.float64]]
"""By user: the score of each liked image less that of its disliked twin, shape (N,)."""

ASK_AT_ONCE = 32
"""Candidates in one question at most: what a packed pass takes well."""


@dataclass(frozen=True)
class Compared:
    """Another predictor on the same questions.

    Attributes:
        top1: its own share of pairs ranked correctly.
        ours_minus: ours less that, paired by user.
        opposed: its share of pairs on which two users disagree, where there are any.
        seen: its share of pairs of seen users; asked as in the paper alone.
        of_four: how often it puts the liked image among the first 1, 2 and 3 of four, as
            `top_of_four`, unseen users; asked as in the paper alone.
    """

    top1: Figure
    ours_minus: Figure
    opposed: Figure | None = None
    seen: Figure | None = None
    of_four: Mapping[str, Figure] | None = None


def pair_scores(predictor: Predictor, samples: Samples) -> dict[str, npt.NDArray[np.float64]]:
    """What a predictor says of each user's pairs, shape (N, 2): liked, disliked."""
    return {
        user: _ask(predictor, user, sample.references, sample.pairs)
        for user, sample in samples.items()
    }


def margins(scores: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    """Liked less disliked; 0 is a tie."""
    return {user: rows[:, 0] - rows[:, 1] for user, rows in scores.items()}


def top1(margins: Margins) -> Figure:
    """How often the liked image of a pair is put first; a tie is worth a half."""
    return over_users([accuracy(own) for own in margins.values()], n_pairs=_count(margins))


def difference(first: Margins, second: Margins) -> Figure:
    """Accuracy of the first less that of the second, paired by user.

    Raises:
        ValueError: if they have no user in common.
    """
    shared = [user for user in first if user in second]
    values = [accuracy(first[user]) - accuracy(second[user]) for user in shared]
    return over_users(values, n_pairs=sum(first[user].size for user in shared))


def unpaired_difference(first: Margins, second: Margins, *, seed: int = 0) -> Figure:
    """Accuracy of the first less that of the second, over different users.

    Raises:
        ValueError: if either has nobody.
    """
    first_rights, second_rights = (
        np.array([accuracy(own) for own in each.values()]) for each in (first, second)
    )
    if not (first_rights.size and second_rights.size):
        raise ValueError("a difference of two groups needs somebody in each")
    low, high = interval_over_users(
        _less, first_rights, second_rights, seed=[seed, 11], is_paired=False
    )
    size = len(first_rights) + len(second_rights)
    return Figure(
        float(_less(first_rights, second_rights)), low, high, size, _count(first) + _count(second)
    )


def top_of_four(predictor: Predictor, questions: Mapping[str, OneOfFour]) -> dict[str, Figure]:
    """How often the liked image is among the first 1, 2 and 3 of four: top1, top2, top3.

    Chance is 25, 50 and 75 %.  Ties are worth the share of orders in which it is among them.
    """
    hits: dict[int, list[float]] = {1: [], 2: [], 3: []}
    for user, question in questions.items():
        scores = predictor.scores(user, question.references, [question.liked, *question.disliked])
        above = int(np.sum(scores[1:] > scores[0]))
        tied = int(np.sum(scores[1:] == scores[0]))
        for place, shares in hits.items():
            shares.append(float(np.clip((place - above) / (tied + 1), 0.0, 1.0)))
    return {f"top{n}": over_users(shares, n_pairs=len(shares)) for n, shares in hits.items()}


def opposed_accuracy(
    opposed: Sequence[Opposed], samples: Samples, margins: Margins, *, seed: int = 0
) -> Figure:
    """Share ranked correctly of pairs on which two users disagree, both sides counted.

    Whatever ignores the user gets exactly 50 %, in each bootstrap draw too: a draw weighs a pair
    by how often it drew both of its users.

    Args:
        opposed: the pairs.
        samples: both users' sides of them.
        margins: of the samples' pairs, by position.
        seed: of the bootstrap over users.

    Raises:
        ValueError: if there is no pair.
    """
    if not opposed:
        raise ValueError("opposed pairs need two users who disagree on two images, got none")
    users = sorted({user for each in opposed for user in (each.first, each.second)})
    place = {user: number for number, user in enumerate(users)}
    at = {
        (user, pair.liked, pair.disliked): accuracy(margins[user][number : number + 1])
        for user in users
        for number, pair in enumerate(samples[user].pairs)
    }
    right = np.array([_both(each, at) for each in opposed])
    ends = np.array([(place[each.first], place[each.second]) for each in opposed])
    rng = np.random.default_rng([seed, 9])
    drawn = rng.multinomial(len(users), np.full(len(users), 1 / len(users)), size=2000)
    weights = drawn[:, ends[:, 0]] * drawn[:, ends[:, 1]]  # (draws, pairs)
    used = weights[weights.sum(axis=1) > 0]
    low, high = np.quantile(used @ right / used.sum(axis=1), QUANTILES)
    return Figure(float(right.mean()), float(low), float(high), len(users), 2 * len(opposed))


def _less(first: np.ndarray, second: np.ndarray, axis: int = -1) -> Statistic:
    return first.mean(axis=axis) - second.mean(axis=axis)


def _both(each: Opposed, at: Mapping[tuple[str, int, int], float]) -> float:
    first = at[each.first, each.pair.liked, each.pair.disliked]
    return (first + at[each.second, each.pair.disliked, each.pair.liked]) / 2


def _ask(
    predictor: Predictor, user: str, references: Sequence[Pair], pairs: Sequence[Pair]
) -> npt.NDArray[np.float64]:
    candidates = [
        CandidateRow(row, pair.prompt) for pair in pairs for row in (pair.liked, pair.disliked)
    ]
    chunks = [
        predictor.scores(user, references, candidates[start : start + ASK_AT_ONCE])
        for start in range(0, len(candidates), ASK_AT_ONCE)
    ]
    return np.concatenate(chunks).reshape(-1, 2)


def _count(margins: Margins) -> int:
    return sum(own.size for own in margins.values())
