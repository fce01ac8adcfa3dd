"""What is characteristic of a cluster: the images that it likes and dislikes, the words it uses.

Both are ranked by the z-score of a log-odds ratio with an informative Dirichlet prior (Monroe,
Colaresi and Quinn 2008, "Fightin' Words"). The prior is a tenth of all users' counts, so that rare
events stay near 0, however lopsided.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import nlargest
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from storage.clusters.records import ClusterImage, ClusterWord, ImageOpinion, PromptUse

NUM_IMAGES = 12
NUM_WORDS = 20

PRIOR = 0.1
"""Weight of all users' counts in the prior of a group."""

MIN_WORD_Z = 2.0
"""In standard errors: words below it are left out, as chance produces them."""

_MAX_CELLS = 4_000_000  # words times clusters: bounds the memory
_MAX_WORDS = 20_000
_MAX_WHILE_READING = 200_000
_WORD = re.compile(r"[^\W\d_][\w'’-]+")
STOP_WORDS = frozenset(
    _WORD.findall(
        "the and of in on at to by for with from an as is are be it its this that these those or"
        " but not no into onto over under near behind between his her their our your my very some"
        " any out up down off"
    )
)


@dataclass(frozen=True, slots=True)
class ClusterImages:
    """A cluster's most characteristic images, the clearest first; at most `NUM_IMAGES` of each."""

    liked: tuple[ClusterImage, ...]
    disliked: tuple[ClusterImage, ...]


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


def image_facts(
    opinions: Iterable[ImageOpinion], num_clusters: int, *, like_rate: float
) -> list[ClusterImages]:
    """Find the images that each cluster likes more, and less, than everyone else.

    Args:
        opinions: of all clusters and of unclustered users, grouped by image.
        num_clusters: for places 0 to num_clusters - 1.
        like_rate: the share of all images shown that was liked, in (0, 1).

    Returns:
        By place.
    """
    liked: list[list[ClusterImage]] = [[] for _ in range(num_clusters)]
    disliked: list[list[ClusterImage]] = [[] for _ in range(num_clusters)]
    for place, image in _scored(opinions, like_rate):
        if image.z > 0:
            _keep(liked[place], image)
        elif image.z < 0:
            _keep(disliked[place], image)
    return [
        ClusterImages(tuple(_clearest(more)), tuple(_clearest(less)))
        for more, less in zip(liked, disliked, strict=True)
    ]


def _scored(
    opinions: Iterable[ImageOpinion], like_rate: float
) -> Iterator[tuple[int, ClusterImage]]:
    for sha256, group in groupby(opinions, key=lambda opinion: opinion.sha256):
        here = list(group)
        likes = sum(each.num_likes for each in here)
        passes = sum(each.num_passes for each in here)
        own = [each for each in here if each.place >= 0]
        scores = log_odds_z(
            np.array([each.num_likes for each in own], dtype=np.float64),
            np.array([each.num_passes for each in own], dtype=np.float64),
            likes,
            passes,
            rate=like_rate,
        )
        rate = likes / (likes + passes)
        for each, z in zip(own, scores.tolist(), strict=True):
            yield each.place, ClusterImage(sha256, each.num_likes, each.num_passes, rate, z)


def _keep(images: list[ClusterImage], image: ClusterImage) -> None:
    images.append(image)
    if len(images) >= 20 * NUM_IMAGES:  # rarely, so that sorting costs little
        images[:] = _clearest(images)


def _clearest(images: list[ClusterImage]) -> list[ClusterImage]:
    return nlargest(NUM_IMAGES, images, key=lambda image: (abs(image.z), image.sha256))


def words_of(prompt: str) -> set[str]:
    """Return the distinct words of a prompt, in lower case, without stop words."""
    return {word for word in _WORD.findall(prompt.lower()) if word not in STOP_WORDS}


def word_facts(
    uses: Callable[[], Iterable[PromptUse]], num_clusters: int
) -> list[tuple[ClusterWord, ...]]:
    """Find the words that each cluster uses more often than all other users.

    A word counts once for each choice whose prompt contains it. Only words of at least two members
    are returned, because a word of one member alone could identify them.

    Args:
        uses: returns an iterator over all prompts; called twice.
        num_clusters: for places 0 to num_clusters - 1.

    Returns:
        By place, the clearest first, at most `NUM_WORDS`, none below `MIN_WORD_Z`.
    """
    columns = _vocabulary(uses(), most=min(_MAX_WORDS, _MAX_CELLS // max(num_clusters, 1)))
    counts = _WordCounts.of(uses(), columns, num_clusters)
    return [counts.clearest(place, tuple(columns)) for place in range(num_clusters)]


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
    """Choices by place (the last row: those in no cluster) and word; and by place alone."""

    hits: Int64[np.ndarray, "places words"]
    totals: Int64[np.ndarray, " places"]
    is_shared: Bool[np.ndarray, "places words"]  # by two users at least

    @staticmethod
    def of(uses: Iterable[PromptUse], columns: dict[str, int], num_clusters: int) -> "_WordCounts":
        shape = (num_clusters + 1, len(columns))
        hits, users = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        is_shared, totals = np.zeros(shape, dtype=bool), np.zeros(shape[0], dtype=np.int64)
        for use in uses:
            totals[use.place] += use.num_choices  # place -1 is the last row
            at = [columns[word] for word in words_of(use.prompt) if word in columns]
            first = hash(use.first_user) or 1
            other = (users[use.place, at] != 0) & (users[use.place, at] != first)
            is_shared[use.place, at] |= other | (use.first_user != use.last_user)
            users[use.place, at] = first
            hits[use.place, at] += use.num_choices
        return _WordCounts(hits, totals, is_shared)

    def clearest(self, place: int, words: tuple[str, ...]) -> tuple[ClusterWord, ...]:
        all_hits, total = self.hits.sum(axis=0), int(self.totals.sum())
        own, here = self.hits[place], int(self.totals[place])
        overall = all_hits / max(total, 1)
        rate = (all_hits + 1) / (total + 2)
        z = log_odds_z(own, here - own, all_hits, total - all_hits, rate=rate)
        z = np.where(self.is_shared[place], z, 0)
        return tuple(
            ClusterWord(words[at], float(own[at] / here), float(overall[at]), float(z[at]))
            for at in np.argsort(-z, kind="stable")[:NUM_WORDS]
            if z[at] >= MIN_WORD_Z
        )
