"""What stands out in a cluster: the images that it likes and dislikes, the words it uses.

Each image and each word is tested in each cluster against everyone else, by users and not by
choices, because choices of one user are no independent witnesses. All p-values of a run are
corrected together, and only what remains is told (`recsys.clusters.significance`). It is ranked by
the z-score of a log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn
2008, "Fightin' Words"). The prior is a tenth of all users' counts, so that rare events stay near 0,
however lopsided.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any

import numpy as np
from jaxtyping import Int64

from recsys.clusters.significance import MAX_Q, exact_p, q_values, smallest_p
from recsys.words import words_of
from storage.clusters.records import ClusterImage, ClusterWord, ImageOpinion, PromptUse

NUM_IMAGES = 12
NUM_WORDS = 20

PRIOR = 0.1
"""Weight of all users' counts in the prior of a group."""

MIN_WORD_Z = 2.0
"""In standard errors: of a cluster of busy users every word is used by more, but not more often."""

_FEWEST_USERS = 8  # of an image: of seven, even 2 / C(7, 3) is above 0.05
_IMAGES_AT_ONCE = 10_000
_MAX_CELLS = 4_000_000  # words times clusters: bounds the memory
_MAX_WORDS = 20_000
_MAX_WHILE_READING = 200_000


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What stands out in a cluster, the clearest first; all of it has a q of at most `MAX_Q`.

    Attributes:
        liked: images liked more than by everyone else, at most `NUM_IMAGES`.
        disliked: images liked less, likewise.
        words: used by more members, and in more of their choices, at most `NUM_WORDS`.
    """

    liked: tuple[ClusterImage, ...]
    disliked: tuple[ClusterImage, ...]
    words: tuple[ClusterWord, ...]


@dataclass(frozen=True, slots=True)
class _Finding:
    """What has a p-value of at most `MAX_Q`, before the correction."""

    place: int
    fact: ClusterImage | ClusterWord
    p: float


@dataclass(frozen=True, slots=True)
class _Findings:
    """Findings, and the number of tests that led to them."""

    found: tuple[_Finding, ...]
    num_tests: int


def cluster_facts(
    opinions: Iterable[ImageOpinion],
    uses: Callable[[], Iterable[PromptUse]],
    num_clusters: int,
    *,
    like_rate: float,
) -> list[ClusterFacts]:
    """Find what stands out in each cluster.

    Of words, those of at least two members are told alone, because one member's could identify
    them.

    Args:
        opinions: of all clusters and of unclustered users, grouped by image.
        uses: returns an iterator over all prompts, grouped by user; called twice.
        num_clusters: for places 0 to num_clusters - 1.
        like_rate: the share of all images shown that was liked, in (0, 1).

    Returns:
        By place.
    """
    tests = [_image_findings(opinions, like_rate), _word_findings(uses, num_clusters)]
    found = [finding for each in tests for finding in each.found]
    q = q_values(np.array([each.p for each in found]), sum(each.num_tests for each in tests))
    facts: list[list[ClusterImage | ClusterWord]] = [[] for _ in range(num_clusters)]
    for finding, value in zip(found, q.tolist(), strict=True):
        if value <= MAX_Q:
            facts[finding.place].append(replace(finding.fact, q=value))
    return [_clearest(each) for each in facts]


def _clearest(facts: Sequence[ClusterImage | ClusterWord]) -> ClusterFacts:
    ranked = sorted(facts, key=lambda fact: (-abs(fact.z), _name(fact)))
    images = [fact for fact in ranked if isinstance(fact, ClusterImage)]
    words = [fact for fact in ranked if isinstance(fact, ClusterWord)]
    liked = [image for image in images if image.z > 0]
    disliked = [image for image in images if image.z < 0]
    return ClusterFacts(
        tuple(liked[:NUM_IMAGES]), tuple(disliked[:NUM_IMAGES]), tuple(words[:NUM_WORDS])
    )


def _name(fact: ClusterImage | ClusterWord) -> str:
    return fact.sha256 if isinstance(fact, ClusterImage) else fact.word


def log_odds_z(hits: Any, misses: Any, all_hits: Any, all_misses: Any, *, rate: Any) -> Any:
    """Return how much more likely a hit is in one group than in all others, in standard errors.

    With a = w all_hits + rate and b = w all_misses + 1 - rate as prior of both sides (w: PRIOR),
    delta = log((h + a) / (m + b)) - log((h' + a) / (m' + b)), with h' and m' outside the
    group; its variance is near 1/(h + a) + 1/(m + b) + 1/(h' + a) + 1/(m' + b), and
    z = delta / sqrt(variance).  Monroe, Colaresi and Quinn 2008.

    Args:
        hits: of the group; numbers or arrays, at least 0.
        misses: of the group.
        all_hits: of all users, including the group.
        all_misses: of all users, including the group.
        rate: the share of hits in the one pseudo-trial of the prior, in (0, 1).
    """
    a, b = PRIOR * all_hits + rate, PRIOR * all_misses + 1 - rate
    inside, outside = (hits + a, misses + b), (all_hits - hits + a, all_misses - misses + b)
    delta = np.log(inside[0] / inside[1]) - np.log(outside[0] / outside[1])
    variance = 1 / inside[0] + 1 / inside[1] + 1 / outside[0] + 1 / outside[1]
    return delta / np.sqrt(variance)


def _image_findings(opinions: Iterable[ImageOpinion], like_rate: float) -> _Findings:
    """Test the share of an image's viewers who like it, in each cluster that saw it."""
    found: list[_Finding] = []
    num_tests = 0
    pairs = _own_and_all(opinions)
    while some := list(islice(pairs, _IMAGES_AT_ONCE)):
        own, everyone = _columns(each for each, _ in some), _columns(each for _, each in some)
        can = smallest_p(own.users, everyone.likers, everyone.users) <= MAX_Q
        p = np.ones(len(some))
        p[can] = exact_p(
            *(own.likers[can], own.users[can], everyone.likers[can], everyone.users[can])
        )
        z = log_odds_z(own.likes, own.passes, everyone.likes, everyone.passes, rate=like_rate)
        num_tests += int(can.sum())
        found += [
            _image(*some[at], float(z[at]), float(p[at])) for at in np.flatnonzero(p <= MAX_Q)
        ]
    return _Findings(tuple(found), num_tests)


def _own_and_all(opinions: Iterable[ImageOpinion]) -> Iterator[tuple[ImageOpinion, ImageOpinion]]:
    """Each cluster's opinion of each image that can stand out, and everyone's."""
    for sha256, group in groupby(opinions, key=lambda opinion: opinion.sha256):
        here = list(group)
        everyone = ImageOpinion(
            sha256,
            place=-1,
            num_likes=sum(each.num_likes for each in here),
            num_passes=sum(each.num_passes for each in here),
            num_users=sum(each.num_users for each in here),
            num_likers=sum(each.num_likers for each in here),
        )
        if everyone.num_users >= _FEWEST_USERS:
            yield from ((each, everyone) for each in here if each.place >= 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Opinions:
    """Opinions by column, shape (N,) each."""

    likes: Int64[np.ndarray, " N"]
    passes: Int64[np.ndarray, " N"]
    users: Int64[np.ndarray, " N"]
    likers: Int64[np.ndarray, " N"]


def _columns(opinions: Iterable[ImageOpinion]) -> _Opinions:
    rows = [(o.num_likes, o.num_passes, o.num_users, o.num_likers) for o in opinions]
    return _Opinions(*np.array(rows, dtype=np.int64).T)


def _image(own: ImageOpinion, everyone: ImageOpinion, z: float, p: float) -> _Finding:
    rate = everyone.num_likes / (everyone.num_likes + everyone.num_passes)
    fact = ClusterImage(
        own.sha256, own.num_likes, own.num_passes, rate, z, num_users=everyone.num_users
    )
    return _Finding(own.place, fact, p)


def _word_findings(uses: Callable[[], Iterable[PromptUse]], num_clusters: int) -> _Findings:
    """Test the share of users who used a word, in each cluster."""
    columns = _vocabulary(uses(), most=min(_MAX_WORDS, _MAX_CELLS // max(num_clusters, 1)))
    counts = _WordCounts.of(uses(), columns, num_clusters)
    words = tuple(columns)
    found: list[_Finding] = []
    num_tests = 0
    for place in range(num_clusters):
        num_tests += int(counts.can_stand_out(place).sum())
        found += counts.findings(place, words)
    return _Findings(tuple(found), num_tests)


def _vocabulary(uses: Iterable[PromptUse], *, most: int) -> dict[str, int]:
    """The most frequent words and the column of each."""
    counter: Counter[str] = Counter()
    for use in uses:
        for word in words_of(use.prompt):
            counter[word] += use.num_choices
        if len(counter) > _MAX_WHILE_READING:
            counter = Counter(dict(counter.most_common(_MAX_WHILE_READING // 2)))
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    return {word: column for column, (word, _) in enumerate(ranked[:most])}


@dataclass(frozen=True, slots=True, eq=False)
class _WordCounts:
    """Choices and users with a word, by place (the last row: those in no cluster); and all."""

    choices: Int64[np.ndarray, "places words"]
    users: Int64[np.ndarray, "places words"]
    num_choices: Int64[np.ndarray, " places"]
    num_users: Int64[np.ndarray, " places"]

    @staticmethod
    def of(uses: Iterable[PromptUse], columns: dict[str, int], num_clusters: int) -> "_WordCounts":
        shape = (num_clusters + 1, len(columns))
        choices, users = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        num_choices = np.zeros(shape[0], dtype=np.int64)
        num_users = np.zeros(shape[0], dtype=np.int64)
        for (_, place), theirs in groupby(uses, key=lambda use: (use.user_id, use.place)):
            counter: Counter[int] = Counter()
            for use in theirs:
                num_choices[place] += use.num_choices  # place -1 is the last row
                for word in words_of(use.prompt) & columns.keys():
                    counter[columns[word]] += use.num_choices
            at = list(counter)
            choices[place, at] += np.array(list(counter.values()), dtype=np.int64)  # perhaps none
            users[place, at] += 1
            num_users[place] += 1
        return _WordCounts(choices, users, num_choices, num_users)

    def can_stand_out(self, place: int) -> Any:
        """Whether there is a number of users of each word that would; shape (words,)."""
        smallest = smallest_p(self.num_users[place], self.users.sum(axis=0), self.num_users.sum())
        return smallest <= MAX_Q

    def findings(self, place: int, words: tuple[str, ...]) -> list[_Finding]:
        all_choices, total = self.choices.sum(axis=0), int(self.num_choices.sum())
        own, here = self.choices[place], int(self.num_choices[place])
        rate = (all_choices + 1) / (total + 2)
        z = log_odds_z(own, here - own, all_choices, total - all_choices, rate=rate)
        is_shared = self.users[place] >= 2
        at = np.flatnonzero((z >= MIN_WORD_Z) & is_shared & self.can_stand_out(place))
        all_users = self.users.sum(axis=0)
        p = exact_p(
            *(self.users[place, at], self.num_users[place], all_users[at], self.num_users.sum())
        )
        return [
            _Finding(
                place,
                ClusterWord(
                    words[column],
                    float(own[column] / here),
                    float(all_choices[column] / total),
                    float(z[column]),
                ),
                float(value),
            )
            for column, value in zip(at, p, strict=True)
            if value <= MAX_Q
        ]
