"""What is asked of a predictor, and the controls: the same question with something taken away."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from recsys.history import Pair, select
from training.data.samples import PairTable, Sample, images_of, in_random_order, user_rng
from training.predictors.predictor import CandidateRow

NUM_REFERENCES = 8
"""References that a person is judged behind where nothing else is said, as in the paper."""

REFERENCE_COUNTS = (0, 1, 2, 4, 8)
"""Numbers of references behind which the same pairs are asked (paper, Fig. 6)."""

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


def newest_samples(
    table: PairTable,
    askable: Mapping[str, Collection[Pair]],
    *,
    seed: int,
    num_references: int,
    num_pairs: int,
    fewest_references: int | None = None,
) -> dict[str, Sample]:
    """The newest choices of each user, asked behind what the service had read before them.

    References are selected as served (`recsys.history.select`) from the choices older than every
    choice that is asked, so that nobody is asked about the past with the future known. Asked are
    the newest choices, as many as hold `num_pairs` pairs, of images that the references do not
    show; fewer where the choices before would not fill the references.

    Args:
        table: all pairs, oldest first.
        askable: by user, the pairs that may be asked.
        seed: of the order of users.
        num_references: of each user, 0 or more.
        num_pairs: asked of each user, at most; at least 1.
        fewest_references: of a user who has not all of them, or who could be asked about fewer
            pairs behind all; None: nobody is asked behind fewer.

    Returns:
        The users with enough references and at least one pair, in random order. Who else is there
        changes no sample.
    """
    fewest = num_references if fewest_references is None else min(fewest_references, num_references)
    samples = {}
    for user in sorted(askable):
        may_ask = frozenset(askable[user])
        drawn = [
            _newest_sample(table.pairs[user], may_ask, count, num_pairs)
            for count in dict.fromkeys((num_references, fewest))
        ]
        found = [each for each in drawn if each is not None]
        if found:  # of two that ask as much, the first
            samples[user] = max(found, key=lambda sample: len(sample.pairs))
    return _in_random_order(samples, seed)


def _newest_sample(
    pairs: Sequence[Pair], askable: Collection[Pair], num_references: int, num_pairs: int
) -> Sample | None:
    best: tuple[Pair, ...] = ()
    read: tuple[Pair, ...] = ()
    begins = [at for at in range(len(pairs)) if not at or pairs[at].choice != pairs[at - 1].choice]
    for begin in reversed(begins):
        references = select(pairs[:begin], num_references)
        if len(references) < num_references:
            break  # there are even fewer before
        seen = images_of(references)
        asked = [p for p in pairs[begin:] if p in askable and not seen & images_of([p])]
        if len(asked) > len(best):
            best, read = tuple(asked[:num_pairs]), references
        if len(best) == num_pairs:
            break
    return Sample(read, best) if best else None


def random_samples(
    table: PairTable,
    askable: Mapping[str, Collection[Pair]],
    *,
    seed: int,
    num_references: int,
    num_pairs: int | None,
) -> dict[str, Sample]:
    """The same at random: the paper's protocol, in which choices have no time.

    References come from pairs that may not be asked, as far as there are any, then from the
    others. Each user has random numbers of their own: who else is there changes nothing.

    Args:
        table: all pairs.
        askable: by user, the pairs that may be asked.
        seed: decides references, asked pairs and order.
        num_references: of each user, 0 or more.
        num_pairs: asked of each user, at most; at least 1; None: all.
    """
    samples = {}
    for user in sorted(askable):
        rng = user_rng(seed, user)
        asked = frozenset(askable[user])
        read_only = [pair for pair in table.pairs[user] if pair not in asked]
        pairs = _shuffled(read_only, rng) + _shuffled(list(askable[user]), rng)
        references = select(pairs, num_references, order=range(len(pairs)))
        seen = images_of(references)
        apart = [p for p in pairs if p in asked and not seen & images_of([p])]
        if len(references) == num_references and apart:
            order = _shuffled(references, rng)
            samples[user] = Sample(order, tuple(apart[:num_pairs]))
    return _in_random_order(samples, seed)


def behind_strangers(samples: Samples, *, seed: int) -> dict[str, Sample]:
    """Each user's pairs behind another user's references: the shuffled-history control.

    The other user's references share no image with the pairs; where nobody's do, the user is
    left out.
    """
    users = list(samples)
    order = np.random.default_rng([seed, 6]).permutation(len(users))
    changed = {}
    for place, index in enumerate(order):
        user = users[index]
        asked = images_of(samples[user].pairs)
        others = (users[order[(place + step) % len(users)]] for step in range(1, len(users)))
        other = next((o for o in others if not asked & images_of(samples[o].references)), None)
        if other is not None:
            changed[user] = Sample(samples[other].references, samples[user].pairs)
    return {user: changed[user] for user in users if user in changed}


def swapped(samples: Samples) -> dict[str, Sample]:
    """Likes called dislikes, the image called liked still first: images move, labels stay.

    A model that reads labels or places falls below 50 %.
    """
    return _with_each_reference(
        samples, lambda pair: replace(pair, liked=pair.disliked, disliked=pair.liked)
    )


def exchanged_in_place(samples: Samples) -> dict[str, Sample]:
    """Likes called dislikes, each image where it stood: labels move, images stay.

    A model that reads labels falls below 50 %; one that tells liked from disliked by their place
    does not notice.
    """
    return _with_each_reference(
        samples,
        lambda pair: replace(
            pair, liked=pair.disliked, disliked=pair.liked, liked_first=not pair.liked_first
        ),
    )


def disliked_first(samples: Samples) -> dict[str, Sample]:
    """The same references, the disliked image of each read first."""
    return _with_each_reference(samples, lambda pair: replace(pair, liked_first=False))


def in_random_pair_order(samples: Samples, *, seed: int) -> dict[str, Sample]:
    """The same references, of each the liked or the disliked image read first, as drawn."""
    return {user: in_random_order(sample, user_rng(seed, user)) for user, sample in samples.items()}


def _with_each_reference(samples: Samples, change: Callable[[Pair], Pair]) -> dict[str, Sample]:
    return {
        user: replace(sample, references=tuple(map(change, sample.references)))
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
    """The same pairs behind fewer references: the newest, in the order in which they stand."""
    fewer = {}
    for user, sample in samples.items():
        newest = frozenset(select(sample.references, count))
        references = tuple(pair for pair in sample.references if pair in newest)
        fewer[user] = replace(sample, references=references)
    return fewer


def one_of_four(
    samples: Samples, table: PairTable, *, seed: int, most: int | None = 1
) -> dict[str, tuple[OneOfFour, ...]]:
    """Of each user liked images and three disliked ones for each, all apart from the references.

    The paper does not say whether the four share a prompt; here they need not.

    Args:
        samples: references, and the pairs whose liked images are asked about.
        table: all pairs of the users.
        seed: draws the disliked ones.
        most: questions of each user; None: one for each pair of the sample.

    Returns:
        The users who passed over three images.
    """
    questions = {}
    for user, sample in samples.items():
        rng = user_rng(seed, user)
        read = images_of(sample.references)
        others = {
            pair.disliked: CandidateRow(pair.disliked, pair.prompt)
            for pair in table.pairs[user]
            if pair.disliked not in read
        }
        asked = [
            OneOfFour(sample.references, CandidateRow(pair.liked, pair.prompt), disliked)
            for pair in sample.pairs[:most]
            if (disliked := _three_of(others, pair.liked, rng))
        ]
        if asked:
            questions[user] = tuple(asked)
    return questions


def _three_of(
    others: Mapping[int, CandidateRow], liked: int, rng: np.random.Generator
) -> tuple[CandidateRow, ...]:
    """Three of them, drawn, or none where there are no three but the liked image itself."""
    rows = sorted(row for row in others if row != liked)
    if len(rows) < 3:
        return ()
    return tuple(others[int(row)] for row in rng.choice(rows, 3, replace=False))


def find_opposed(
    table: PairTable, users: Collection[str], *, seed: int, most_a_user: int = 4
) -> list[Opposed]:
    """Pairs of images on which two of the users disagree, each user in at most `most_a_user`."""
    verdicts: dict[tuple[int, int], dict[str, Pair]] = {}
    for user in sorted(users):
        for pair in table.pairs[user]:
            key = (min(pair.liked, pair.disliked), max(pair.liked, pair.disliked))
            verdicts.setdefault(key, {})[user] = pair
    disagreed = [
        Opposed(first, second, by_user[first])
        for by_user in verdicts.values()
        for first, second in combinations(sorted(by_user), 2)
        if by_user[first].liked == by_user[second].disliked
    ]
    asked: dict[str, int] = {}
    kept = []
    for index in np.random.default_rng([seed, 8]).permutation(len(disagreed)):
        opposed = disagreed[index]
        if all(asked.get(user, 0) < most_a_user for user in (opposed.first, opposed.second)):
            kept.append(opposed)
            for user in (opposed.first, opposed.second):
                asked[user] = asked.get(user, 0) + 1
    return kept


def opposed_samples(
    table: PairTable, opposed: Sequence[Opposed], *, num_references: int
) -> dict[str, Sample]:
    """Each user's side of the opposed pairs, behind the newest that share no image with them.

    Two users seldom disagree on what they chose last, so what is asked may be older than what is
    read. A user may have fewer references than `num_references` where the history is short.
    """
    sides: dict[str, list[Pair]] = {}
    for each in opposed:
        other = replace(each.pair, liked=each.pair.disliked, disliked=each.pair.liked)
        sides.setdefault(each.first, []).append(each.pair)
        sides.setdefault(each.second, []).append(other)
    samples = {}
    for user, asked in sides.items():
        images = images_of(asked)
        free = [p for p in table.pairs[user] if not images & {p.liked, p.disliked}]
        samples[user] = Sample(select(free, num_references), tuple(asked))
    return samples


def _in_random_order(samples: Samples, seed: int) -> dict[str, Sample]:
    users = list(samples)
    order = np.random.default_rng([seed, 5]).permutation(len(users))
    return {users[index]: samples[users[index]] for index in order}


def _shuffled(pairs: Sequence[Pair], rng: np.random.Generator) -> tuple[Pair, ...]:
    return tuple(pairs[index] for index in rng.permutation(len(pairs)))
