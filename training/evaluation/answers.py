"""Ask a predictor and count: margins by user, and figures with their intervals over users."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from training.data.samples import Sample
from training.evaluation.metrics import (
    QUANTILES,
    Figure,
    Statistic,
    accuracy,
    interval_over_users,
    is_right,
    over_questions,
    over_users,
)
from training.evaluation.questions import (
    REFERENCE_COUNTS,
    OneOfFour,
    Opposed,
    Samples,
    with_references,
)
from training.predictors.predictor import CandidateRow, Predictor, Question, Scores, ask_all

Margins = Mapping[str, npt.NDArray[np.float64]]
"""By user: the score of each liked image less that of its disliked twin, shape (N,)."""

ASK_AT_ONCE = 32
"""Candidates in one question at most: what a packed pass takes well."""


@dataclass(frozen=True)
class AsPaper:
    """Shares of all questions to the users of the test files, by the paper's count.

    Attributes:
        top1: one liked against one disliked, everybody (Tab. 1).
        seen: the same of users learned from, where there are any (Tab. 3).
        unseen: the same of users never learned from, where there are any.
        of_four: top1, top2 and top3, how often the liked image is among the first 1, 2 and 3 of
            four, everybody (Tab. 2); empty where nobody passed over three images.
        by_references: one against one behind fewer references, by their number as text (Fig. 6).
    """

    top1: Figure
    seen: Figure | None
    unseen: Figure | None
    of_four: Mapping[str, Figure]
    by_references: Mapping[str, Figure]


@dataclass(frozen=True)
class Compared:
    """Another predictor on the same questions.

    Attributes:
        top1: its own share of pairs ranked correctly.
        ours_minus: ours less that, paired by user.
        opposed: its share of pairs on which two users disagree, where there are any.
        as_paper: how it does by the paper's own count; asked as in the paper alone.
    """

    top1: Figure
    ours_minus: Figure
    opposed: Figure | None = None
    as_paper: AsPaper | None = None


def pair_scores(predictor: Predictor, samples: Samples) -> dict[str, npt.NDArray[np.float64]]:
    """What a predictor says of each user's pairs, shape (N, 2): liked, disliked."""
    questions = [each for user, sample in samples.items() for each in _questions(user, sample)]
    answers: dict[str, list[Scores]] = {user: [np.zeros(0)] for user in samples}
    for question, scores in zip(questions, ask_all(predictor, questions), strict=True):
        answers[question.user_id].append(scores)
    return {user: np.concatenate(parts).reshape(-1, 2) for user, parts in answers.items()}


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


def hits_of_four(
    predictor: Predictor, questions: Mapping[str, Sequence[OneOfFour]]
) -> dict[str, Float[np.ndarray, "N 3"]]:
    """By user, of each question whether the liked image is among the first 1, 2 and 3 of four.

    Chance is 25, 50 and 75 %.  Ties are worth the share of orders in which it is among them.
    """
    asked = [
        Question(user, each.references, [each.liked, *each.disliked])
        for user, own in questions.items()
        for each in own
    ]
    hits: dict[str, list[np.ndarray]] = {}
    for question, scores in zip(asked, ask_all(predictor, asked), strict=True):
        above, tied = np.sum(scores[1:] > scores[0]), np.sum(scores[1:] == scores[0])
        shares = np.clip((np.arange(1, 4) - above) / (tied + 1), 0.0, 1.0)
        hits.setdefault(question.user_id, []).append(shares)
    return {user: np.stack(own) for user, own in hits.items()}


def top_of_four(hits: Mapping[str, Float[np.ndarray, "_ 3"]]) -> dict[str, Figure]:
    """Means over users of `hits_of_four`: top1, top2, top3."""
    n_pairs = sum(map(len, hits.values()))
    means = np.stack([own.mean(axis=0) for own in hits.values()])
    return {f"top{n + 1}": over_users(means[:, n].tolist(), n_pairs=n_pairs) for n in range(3)}


def over_all_pairs(margins: Margins) -> Figure:
    """Share of all pairs whose liked image is put first; a tie is worth a half."""
    return over_questions([is_right(own) for own in margins.values()])


def answer_as_paper(
    predictor: Predictor,
    unseen: Samples,
    seen: Samples,
    of_four: Mapping[str, Sequence[OneOfFour]],
) -> AsPaper:
    """Ask all that the paper's tables show.

    Args:
        predictor: asked behind every number of references.
        unseen, seen: one liked against one disliked; at least one user in all.
        of_four: one against three, of both.
    """
    own = [margins(pair_scores(predictor, part)) for part in (unseen, seen)]
    everybody, answers = {**unseen, **seen}, {**own[0], **own[1]}
    most = max(len(sample.references) for sample in everybody.values())
    fewer = {
        count: margins(pair_scores(predictor, with_references(everybody, count)))
        for count in REFERENCE_COUNTS
        if count < most
    }
    hits = hits_of_four(predictor, of_four).values()
    return AsPaper(
        top1=over_all_pairs(answers),
        unseen=over_all_pairs(own[0]) if unseen else None,
        seen=over_all_pairs(own[1]) if seen else None,
        of_four={
            f"top{n + 1}": over_questions([each[:, n] for each in hits]) for n in range(3) if hits
        },
        by_references={
            str(count): over_all_pairs(each) for count, each in {**fewer, most: answers}.items()
        },
    )


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


def _questions(user: str, sample: Sample) -> Iterator[Question]:
    """A sample's images, liked before disliked, as many at once as are asked about."""
    candidates = [
        CandidateRow(row, pair.prompt)
        for pair in sample.pairs
        for row in (pair.liked, pair.disliked)
    ]
    for start in range(0, len(candidates), ASK_AT_ONCE):
        yield Question(user, sample.references, candidates[start : start + ASK_AT_ONCE])


def _count(margins: Margins) -> int:
    return sum(own.size for own in margins.values())
