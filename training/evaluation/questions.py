"""What is asked of a predictor, and the controls: the same question with something taken away."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from training.data.samples import Pair, PairTable, Sample, apart, draw_sample, images_of, user_rng
from training.evaluation.predictors import CandidateRow

Samples = Mapping[str, Sample]
"""What each user is asked, by user id."""


@dataclass(frozen=True)
class OneOfFour:
    """A liked image to be found among three disliked ones (paper, Tab. 2).

    Attributes:
        references: what the model reads.
        liked: the image to be put first.
        disliked: three others that this user passed over, of any prompt.
    """

    references: tuple[Pair, ...]
    liked: CandidateRow
    disliked: tuple[CandidateRow, ...]


@dataclass(frozen=True)
class Opposed:
    """Two images on which two users disagree.

    Whoever does not know the user gets one of the two right and the other wrong: 50 % exactly.

    Attributes:
        first, second: users.
        pair: liked and disliked as `first` has it; `second` has it the other way round.
    """

    first: str
    second: str
    pair: Pair


def draw_samples(
    histories: PairTable,
    askable: Mapping[str, Collection[Pair]],
    *,
    seed: int,
    num_references: int,
    num_pairs: int,
) -> dict[str, Sample]:
    """A sample of each user who has all references and at least one target, in random order.

    References come from pairs that may not be asked, as far as there are any, then from the
    others. Each user has random numbers of their own: who else is there changes nothing.

    Args:
        histories: all pairs.
        askable: by user, the pairs that may be asked.
        seed: decides references, targets and order.
        num_references: of each user, 0 or more.
        num_pairs: at most, at least 1.
    """
    samples = {}
    for user in sorted(askable):
        rng = user_rng(seed, user)
        asked = frozenset(askable[user])
        read_only = [pair for pair in histories.pairs[user] if pair not in asked]
        pairs = _shuffled(read_only, rng) + _shuffled(list(askable[user]), rng)
        references = apart(pairs, num_references)
        seen = images_of(references)
        targets = [p for p in pairs if p in asked and not seen & {p.liked, p.disliked}]
        if len(references) == num_references and targets:
            order = _shuffled(references, rng)
            samples[user] = Sample(order, tuple(targets[:num_pairs]))
    users = list(samples)
    order_of_users = np.random.default_rng([seed, 5]).permutation(len(users))
    return {users[index]: samples[users[index]] for index in order_of_users}


def behind_strangers(samples: Samples, *, seed: int) -> dict[str, Sample]:
    """Each user's targets behind another user's references: the shuffled-history control.

    The other user's references share no image with the targets; where nobody's do, the user is
    left out.
    """
    users = list(samples)
    order = np.random.default_rng([seed, 6]).permutation(len(users))
    found = {}
    for place, index in enumerate(order):
        user = users[index]
        asked = images_of(samples[user].pairs)
        others = (users[order[(place + step) % len(users)]] for step in range(1, len(users)))
        other = next((o for o in others if not asked & images_of(samples[o].references)), None)
        if other is not None:
            found[user] = Sample(samples[other].references, samples[user].pairs)
    return {user: found[user] for user in users if user in found}


def swapped(samples: Samples) -> dict[str, Sample]:
    """Likes called dislikes: a model that reads the labels falls below 50 %."""
    return {
        user: replace(
            sample,
            references=tuple(
                replace(pair, liked=pair.disliked, disliked=pair.liked)
                for pair in sample.references
            ),
        )
        for user, sample in samples.items()
    }


def without_prompts(samples: Samples) -> dict[str, Sample]:
    """The same images without a word: how much of the answer is in the prompt."""

    def bare(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
        return tuple(replace(pair, prompt="") for pair in pairs)

    return {
        user: Sample(bare(sample.references), bare(sample.pairs))
        for user, sample in samples.items()
    }


def with_references(samples: Samples, count: int) -> dict[str, Sample]:
    """The same targets behind the first `count` references alone."""
    return {
        user: replace(sample, references=sample.references[:count])
        for user, sample in samples.items()
    }


def one_of_four(samples: Samples, histories: PairTable, *, seed: int) -> dict[str, OneOfFour]:
    """For each user one liked image and three disliked ones, all apart from the references.

    The paper does not say whether the four share a prompt; here they need not.
    """
    questions = {}
    for user, sample in samples.items():
        rng = user_rng(seed, user)
        read = images_of(sample.references)
        liked = sample.pairs[0]
        others = {
            pair.disliked: CandidateRow(pair.disliked, pair.prompt)
            for pair in histories.pairs[user]
            if pair.disliked not in read | {liked.liked}
        }
        if len(others) >= 3:
            rows = rng.choice(sorted(others), 3, replace=False)
            disliked = tuple(others[int(row)] for row in rows)
            questions[user] = OneOfFour(
                sample.references, CandidateRow(liked.liked, liked.prompt), disliked
            )
    return questions


def find_opposed(
    histories: PairTable, users: Collection[str], *, seed: int, most_a_user: int = 4
) -> list[Opposed]:
    """Pairs of images on which two of the users disagree, each user in at most `most_a_user`."""
    verdicts: dict[tuple[int, int], dict[str, Pair]] = {}
    for user in sorted(users):
        for pair in histories.pairs[user]:
            key = (min(pair.liked, pair.disliked), max(pair.liked, pair.disliked))
            verdicts.setdefault(key, {})[user] = pair
    found = [
        Opposed(first, second, by_user[first])
        for by_user in verdicts.values()
        for first, second in combinations(sorted(by_user), 2)
        if by_user[first].liked == by_user[second].disliked
    ]
    asked: dict[str, int] = {}
    kept = []
    for index in np.random.default_rng([seed, 8]).permutation(len(found)):
        opposed = found[index]
        if all(asked.get(user, 0) < most_a_user for user in (opposed.first, opposed.second)):
            kept.append(opposed)
            for user in (opposed.first, opposed.second):
                asked[user] = asked.get(user, 0) + 1
    return kept


def opposed_samples(
    histories: PairTable, opposed: Sequence[Opposed], *, seed: int, num_references: int
) -> dict[str, Sample]:
    """Each user's side of the opposed pairs, behind references that share no image with them.

    A user may have fewer references than `num_references` where the history is short.
    """
    targets: dict[str, list[Pair]] = {}
    for each in opposed:
        other = replace(each.pair, liked=each.pair.disliked, disliked=each.pair.liked)
        targets.setdefault(each.first, []).append(each.pair)
        targets.setdefault(each.second, []).append(other)
    samples = {}
    for user, asked in targets.items():
        images = images_of(asked)
        free = [p for p in histories.pairs[user] if not images & {p.liked, p.disliked}]
        drawn = draw_sample(free, user_rng(seed, user), num_references=num_references, num_pairs=0)
        samples[user] = Sample(drawn.references, tuple(asked))
    return samples


def _shuffled(pairs: Sequence[Pair], rng: np.random.Generator) -> tuple[Pair, ...]:
    return tuple(pairs[index] for index in rng.permutation(len(pairs)))
