"""What the paper's own figures can show: errors of its test sets, and its Tab. 7, by arithmetic."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from training.evaluation.section import markdown

QUESTIONS, SEEN_QUESTIONS = 2234, 459
"""Images of the paper's test set, and those of users learned from.

All its shares are multiples of 1 / 2,234, those of Tab. 3 of 1 / 459 and 1 / 1,775: it asks a
question for each image. Where the two images of a pair are asked about each other, half as many
questions are independent.
"""

TOP1, SEEN_TOP1, UNSEEN_TOP1 = 0.6168, 0.6144, 0.6175

REPORTED = (
    ("contrastive loss (Tab. 5)", 0.0090),
    ("preference tokens (Tab. 5)", 0.0031),
    ("10 less 5 tokens (Tab. 6)", 0.0027),
    ("10 less 20 tokens (Tab. 6)", 0.0049),
)
"""Differences of top-1 on the whole test set."""

DISTANCES = (36.664, 36.598, 36.934, 37.094, 36.996, 37.221, 36.649, 37.181, 36.466, 37.089)
"""From each of ten learned tokens to the nearest word (Tab. 7)."""

WIDTH, STEPS, RATE, DECAY = 4096, 16_000, 1e-5, 1e-2
"""Of the paper's base, and of its stage 2."""


@dataclass(frozen=True)
class TokenDistances:
    """The distances of Tab. 7, beside those of tokens that nothing but weight decay touched.

    Attributes:
        mean, deviation: of the ten published.
        error: standard error of their mean.
        untrained, untrained_deviation: norm of uniform [0, 1) vectors: what they start with.
        decayed: the same after weight decay alone.
        hidden_shift: root mean square of a change of each coordinate, in a direction of its own,
            that would move the mean by two standard errors.
    """

    mean: float
    deviation: float
    error: float
    untrained: float
    untrained_deviation: float
    decayed: float
    hidden_shift: float


def share_error(share: float, number: float | int) -> float:
    """Standard error of a share of so many questions that are drawn one by one."""
    return math.sqrt(share * (1 - share) / number)


def paired_error(disagreement: float, number: int) -> float:
    """Standard error of the difference of two models on the same questions, if it is small.

    Args:
        disagreement: share of questions that just one of them answers rightly.
        number: of questions.
    """
    return math.sqrt(disagreement / number)


def gap_error(*, twins: bool) -> float:
    """Standard error of the paper's seen less its unseen top-1: other people, so both add up.

    Args:
        twins: whether each pair is asked about twice, once for each of its images.
    """
    seen, unseen = SEEN_QUESTIONS / (1 + twins), (QUESTIONS - SEEN_QUESTIONS) / (1 + twins)
    return math.hypot(share_error(SEEN_TOP1, seen), share_error(UNSEEN_TOP1, unseen))


def token_distances() -> TokenDistances:
    """Tab. 7 by arithmetic.

    A word's embedding is short beside such a token, so its distance is about the token's norm. Of n
    uniform coordinates the squares sum to n/3 with variance 4n/45.
    """
    own = np.array(DISTANCES)
    error = float(own.std(ddof=1)) / math.sqrt(len(own))
    deviation = math.sqrt(4 * WIDTH / 45) / (2 * math.sqrt(WIDTH / 3))
    untrained = math.sqrt(WIDTH / 3 - deviation**2)
    decayed = untrained * (1 - RATE * DECAY) ** STEPS
    # |x + d|^2 = |x|^2 + |d|^2 for a d that is at right angles to x
    hidden = math.sqrt(((decayed + 2 * error) ** 2 - decayed**2) / WIDTH)
    return TokenDistances(
        float(own.mean()),
        float(own.std(ddof=1)),
        error,
        untrained,
        deviation,
        decayed,
        hidden,
    )


_SECTION = """\
## What the paper's own figures can show

Its top-1 is a share of {questions:,} questions, and that of users learned from of
{seen_questions}. Drawn one by one, such shares have standard errors of {one:.1f} and
{one_seen:.1f} points; where the two images of a pair are asked about each other, of {twin:.1f}
and {twin_seen:.1f}; and they come from 70 users, who are fewer than questions.

{reported}

Two models on the same questions are compared better than that: if each is right where the other
is wrong for one question in ten, their difference has an error of {paired:.1f} points. How
often they are is not printed. Seen less unseen is between other people and other images, so
both errors add up: {gap:.1f} to {twin_gap:.1f} points, beside gaps of 0.31 with P_v and 1.28
without.

Tab. 7 has the distance of each learned token to its nearest word: {mean:.3f} on average, with a
standard deviation of {deviation:.2f}. Uniform [0, 1) vectors of {width:,} numbers, with which
the authors' code begins, are {untrained:.3f} (standard deviation {untrained_deviation:.2f})
from the origin, near which the words are; after {steps:,} steps of weight decay alone,
{decayed:.3f}. So these are the distances of tokens that nothing else touched. They do not prove
that nothing did: the mean of ten has a standard error of {error:.2f}, and a change of less than
about {hidden_shift:.2f} in each coordinate would not be seen in it."""


def published_section() -> str:
    """The section of the page: what the paper's own figures can show."""
    shares = {
        name: 100 * share_error(share, number / 2 if twins else number)
        for name, share, number, twins in (
            ("one", TOP1, QUESTIONS, False),
            ("twin", TOP1, QUESTIONS, True),
            ("one_seen", SEEN_TOP1, SEEN_QUESTIONS, False),
            ("twin_seen", SEEN_TOP1, SEEN_QUESTIONS, True),
        )
    }
    rows = [
        (name, f"{100 * difference:.2f}", round(difference * QUESTIONS))
        for name, difference in REPORTED
    ]
    return _SECTION.format(
        questions=QUESTIONS,
        seen_questions=SEEN_QUESTIONS,
        width=WIDTH,
        steps=STEPS,
        reported=markdown(("it reports", "points", "questions"), rows),
        paired=100 * paired_error(0.1, QUESTIONS),
        gap=100 * gap_error(twins=False),
        twin_gap=100 * gap_error(twins=True),
        **shares,
        **asdict(token_distances()),
    )
