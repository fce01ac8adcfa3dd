"""What first questions to a new user are worth, beside random pairs, on a synthetic world.

People whom nobody has learned from answer pairs as their true taste has it (Bradley-Terry with the
world's temperature); the classes alone then tell the images apart that those people did choose
between. Both ways ask pairs of the same pool, and none shows an image twice.

Axes: P pairs of the pool, A attributes of the world, F features, C asked pairs, U people,
N numbers of answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit

from recsys.coldstart.information import MAX_PAIRS, expected_information
from recsys.coldstart.pool import PairPool, choose_first_questions, differences_of, draw_pool
from recsys.coldstart.population import ColdStart
from recsys.history import Pair
from training.data.features import Features
from training.data.samples import PairTable, Sample
from training.evaluation.bounds import of_this_world
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure, accuracy, over_users
from training.evaluation.questions import Samples
from training.evaluation.section import Grid, Section, hundredths, points, with_interval
from training.evaluation.tables import cold_start as lending
from training.evaluation.tables.table import ReportTable
from training.world.truth import WorldTruth

COUNTS = (1, 2, 4, 8)
NUM_DRAWS = 10
"""Of each person, answers and random pairs are drawn so often; a person's figure is the mean."""
NUM_BITS_DRAWS = 200


@dataclass(frozen=True)
class Answers:
    """Pairs ranked correctly by others' taste alone, behind one number of answers.

    Attributes:
        suggested, random: answers to first questions and to random pairs.
        gain: of the one over the other, paired by user.
    """

    suggested: Figure
    random: Figure
    gain: Figure


@dataclass(frozen=True)
class Bits:
    """Information expected of answers to first questions, and to random pairs on average."""

    suggested: float
    random: float


@dataclass(frozen=True)
class FirstQuestionFigures:
    """What first questions to a new user are worth.

    Attributes:
        num_images, num_candidates: images and pairs of the pool.
        unasked: pairs ranked correctly behind no answer.
        by_answers, expected_bits: by number of answers, as text.
    """

    num_images: int
    num_candidates: int
    unasked: Figure
    by_answers: Mapping[str, Answers]
    expected_bits: Mapping[str, Bits]


def measure(judge: Judge) -> FirstQuestionFigures | None:
    """Ask unseen users of a synthetic world; None where its truth does not know them."""
    borrowed = lending.lent(judge)
    truth = None if borrowed is None else judge.truth_of(borrowed.judged)
    if borrowed is None or truth is None:
        return None
    judge.progress("cold start: first questions")
    return judge_first_questions(
        borrowed.cold_start,
        borrowed.lenders,
        borrowed.judged,
        table=judge.asked.table,
        features=judge.features,
        truth=truth,
        seed=judge.seed,
    )


def section(result: FirstQuestionFigures) -> Section | None:
    """A row a way of choosing, a column a number of answers; None where none changed a pair."""
    columns = result.by_answers.values()
    if all(each.gain.low == each.gain.high == 0 for each in columns):
        return None
    rows = [
        ("first questions", *(with_interval(each.suggested, hundredths) for each in columns)),
        ("random pairs", *(with_interval(each.random, hundredths) for each in columns)),
        ("gain, points", *(with_interval(each.gain, points) for each in columns)),
    ]
    caption = (
        "Pairs ranked correctly by others' taste alone, in %, behind answers to pairs of images;"
        f" without an answer {with_interval(result.unasked, hundredths)}."
    )
    return Section(
        "First questions to a new user", [Grid(("answers", *result.by_answers), rows, caption)]
    )


def layout(result: FirstQuestionFigures | None) -> Mapping[str, object]:
    """Inside cold start's results; null there where it was not measured."""
    return {"cold_start": {"onboarding": result}}


def judge_first_questions(
    cold_start: ColdStart,
    lenders: Sequence[Sequence[Pair]],
    samples: Samples,
    *,
    table: PairTable,
    features: Features,
    truth: WorldTruth,
    seed: int,
) -> FirstQuestionFigures | None:
    """Judge the classes alone behind 1 to 8 answers to first questions and to random pairs.

    Args:
        cold_start: learned from the lenders.
        lenders: pairs of each; what they were shown is the pool.
        samples: what is asked of people who are not among them; their references are not used.
        table: what rows stand for.
        features: image tokens by row.
        truth: of the world.
        seed: of the pool, the answers and the random pairs.

    Returns:
        None where the truth does not know the images or the people, or the pool has fewer pairs
        than are asked.
    """
    pool = draw_pool(lenders, seed=seed)
    samples = _held_out(samples, pool)
    if not samples or not of_this_world(samples, table, truth):
        return None
    try:
        attributes = _attribute_differences(pool, table, truth)
    except KeyError:
        return None
    asking = _Asking(cold_start, pool, differences_of(pool, cold_start, features))
    questions = _first_questions(cold_start, lenders, table, pool, features, seed=seed)
    if len(questions) < MAX_PAIRS:
        return None
    rights = []
    for user, sample in samples.items():
        rng = np.random.default_rng([seed, 44, *user.encode()])
        logits = attributes @ truth.taste(user) / truth.communities.temperature
        person = _Person(logits, _asked_differences(cold_start, features, sample))
        rights.append(_rights(asking, questions, person, rng))
    n_pairs = sum(len(sample.pairs) for sample in samples.values())
    unasked, by_answers = _figures(np.stack(rights, axis=-1), n_pairs)
    return FirstQuestionFigures(
        num_images=len(np.unique(pool.images)),
        num_candidates=len(pool.images),
        unasked=unasked,
        by_answers=by_answers,
        expected_bits=_expected_bits(asking, questions, np.random.default_rng([seed, 45])),
    )


@dataclass(frozen=True, eq=False)
class _Person:
    """Who answers, and what is asked in the end.

    Attributes:
        logits: shape (P,), of preferring the first image of each pair of the pool.
        asked: shape (C, F), features of the liked image less those of the other.
    """

    logits: Float[np.ndarray, " P"]
    asked: Float[np.ndarray, "C F"]

    def answers(self, rng: np.random.Generator) -> Bool[np.ndarray, " P"]:
        """Whether they prefer the first image, of each pair of the pool."""
        return cast(np.ndarray, rng.random(len(self.logits)) < expit(self.logits))


@dataclass(frozen=True, eq=False)
class _Asking:
    """The pool as the classes see it."""

    cold_start: ColdStart
    pool: PairPool
    differences: Float[np.ndarray, "P F"]

    def bits(self, pairs: np.ndarray) -> float:
        """What the answers to some pairs are expected to tell."""
        return expected_information(self.cold_start.classes, self.differences[pairs])

    def right(self, pairs: np.ndarray, answers: Bool[np.ndarray, " P"], person: _Person) -> float:
        """Share of asked pairs ranked correctly behind the answers to some pairs of the pool."""
        signs = np.where(answers[pairs], 1.0, -1.0)
        taste = self.cold_start.classes.taste(self.differences[pairs] * signs[:, None])
        return accuracy(person.asked @ taste)

    def random_pairs(self, rng: np.random.Generator) -> np.ndarray:
        """Eight pairs of the pool that show no image twice."""
        kept: list[int] = []
        seen: set[int] = set()
        for index in rng.permutation(len(self.pool.images)):
            both = set(self.pool.images[index].tolist())
            if not seen & both:
                kept.append(int(index))
                seen |= both
            if len(kept) == MAX_PAIRS:
                break
        return np.array(kept)


def _first_questions(
    cold_start: ColdStart,
    lenders: Sequence[Sequence[Pair]],
    table: PairTable,
    pool: PairPool,
    features: Features,
    *,
    seed: int,
) -> np.ndarray:
    """The first questions that the service would ask, in its order, as pairs of the pool."""
    chosen = choose_first_questions(cold_start, lenders, table.images, features, seed=seed)
    names = [(table.images[first], table.images[second]) for first, second in pool.images.tolist()]
    number_of = {both: number for number, both in enumerate(names)}
    places = [number_of[pair.first_sha256, pair.second_sha256] for pair in chosen.pairs]
    return np.array(places, dtype=np.int64)


def _held_out(samples: Samples, pool: PairPool) -> dict[str, Sample]:
    """What is asked, without pairs that show an image of the pool."""
    shown = set(pool.images.ravel().tolist())
    kept = {
        user: [pair for pair in sample.pairs if not shown & {pair.liked, pair.disliked}]
        for user, sample in samples.items()
    }
    return {user: Sample((), tuple(pairs)) for user, pairs in kept.items() if pairs}


def _rights(
    asking: _Asking, questions: np.ndarray, person: _Person, rng: np.random.Generator
) -> Float[np.ndarray, "3 N"]:
    """One person's share ranked correctly: behind first questions, random pairs and nothing."""
    rights = np.zeros((NUM_DRAWS, 3, len(COUNTS)))
    nothing = questions[:0]
    for draw in rights:
        answers = person.answers(rng)
        for way, pairs in enumerate((questions, asking.random_pairs(rng), nothing)):
            draw[way] = [asking.right(pairs[:count], answers, person) for count in COUNTS]
    return cast(np.ndarray, rights.mean(axis=0))


def _figures(rights: Float[np.ndarray, "3 N U"], n_pairs: int) -> tuple[Figure, dict[str, Answers]]:
    """Figures of nobody's answer, and by number of answers."""
    suggested, random, unasked = rights

    def over(values: Float[np.ndarray, " U"]) -> Figure:
        return over_users(values.tolist(), n_pairs=n_pairs)

    by_answers = {
        str(count): Answers(
            over(suggested[place]), over(random[place]), over(suggested[place] - random[place])
        )
        for place, count in enumerate(COUNTS)
    }
    return over(unasked[0]), by_answers


def _expected_bits(
    asking: _Asking, questions: np.ndarray, rng: np.random.Generator
) -> dict[str, Bits]:
    """What is expected of first questions, and of random pairs on average."""
    drawn = [asking.random_pairs(rng) for _ in range(NUM_BITS_DRAWS)]
    return {
        str(count): Bits(
            suggested=asking.bits(questions[:count]),
            random=float(np.mean([asking.bits(pairs[:count]) for pairs in drawn])),
        )
        for count in COUNTS
    }


def _asked_differences(
    cold_start: ColdStart, features: Features, sample: Sample
) -> Float[np.ndarray, "C F"]:
    rows = [row for pair in sample.pairs for row in (pair.liked, pair.disliked)]
    read = cold_start.features(features(rows))
    return cast(np.ndarray, read[0::2] - read[1::2])


def _attribute_differences(
    pool: PairPool, table: PairTable, truth: WorldTruth
) -> Float[np.ndarray, "P A"]:
    first, second = (
        truth.attributes_of([table.images[row] for row in pool.images[:, side]]) for side in (0, 1)
    )
    return cast(np.ndarray, first.astype(np.float64) - second)


TABLE = ReportTable("first_questions", measure, section, layout)
