"""What a synthetic world tells of signatures: the best possible, and its communities."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from sklearn.metrics import adjusted_rand_score

from recsys.clusters.group import group
from recsys.history import Pair
from training.data.samples import PairTable
from training.evaluation.bounds import NUM_POSTERIOR_SAMPLES
from training.evaluation.history_cuts import Cut, Pairs
from training.evaluation.retrieval import unit
from training.world.tastes import choose, posterior
from training.world.truth import WorldTruth

CEILING = "posterior"
STRANGERS = "strangers"


def posterior_tastes(
    cuts: Mapping[str, Cut], table: PairTable, truth: WorldTruth, *, seed: int
) -> tuple[Float[np.ndarray, "N _"], Float[np.ndarray, "N _"]]:
    """Mean taste given each half and the communities: nobody can know a person better.

    Args:
        cuts: by user, of this world.
        table: what their rows stand for.
        truth: the communities and the images' attributes.
        seed: of the posterior's samples.
    """
    rows = []
    for user, cut in cuts.items():
        rng = np.random.default_rng([seed, 6, *user.encode()])
        rows.append([_mean_taste(half, table, truth, rng) for half in (cut.first, cut.second)])
    means = np.array(rows)
    return means[:, 0], means[:, 1]


def labelled_by_strangers(
    cuts: Mapping[str, Cut], table: PairTable, truth: WorldTruth, *, seed: int
) -> list[Pairs]:
    """Each user's first half with the same images and prompts, chosen as another user would.

    What still finds the user in them is the pictures and not the taste.

    Args:
        cuts: by user, of this world, at least two.
        table: what their rows stand for.
        truth: tastes, and the images' attributes.
        seed: of who is whose stranger, and of the strangers' choices.
    """
    rng = np.random.default_rng([seed, 7])
    users = rng.permutation(list(cuts))
    strangers = dict(zip(users, np.roll(users, 1), strict=True))
    return [
        tuple(
            _chosen(pair, truth.taste(str(strangers[user])), table, truth, rng)
            for pair in cut.first
        )
        for user, cut in cuts.items()
    ]


def _chosen(
    pair: Pair,
    taste: Float[np.ndarray, " A"],
    table: PairTable,
    truth: WorldTruth,
    rng: np.random.Generator,
) -> Pair:
    images = [table.images[pair.liked], table.images[pair.disliked]]
    if choose(taste, truth.attributes_of(images), rng) == 0:
        return pair
    return replace(pair, liked=pair.disliked, disliked=pair.liked)


def agreement(
    vectors: Float[np.ndarray, "N _"], communities: Int[np.ndarray, " N"], *, num_clusters: int
) -> float:
    """Adjusted Rand index of k-means clusters of vectors with the communities.

    1 where they are the same, 0 as by chance.  Hubert and Arabie, 1985.

    Args:
        vectors: of users.
        communities: of the same users.
        num_clusters: k, at most as many as there are users.
    """
    grouping = group(unit(vectors).astype(np.float32), method="kmeans", num_clusters=num_clusters)
    return float(adjusted_rand_score(grouping.labels, communities))


def _mean_taste(
    pairs: Pairs, table: PairTable, truth: WorldTruth, rng: np.random.Generator
) -> Float[np.ndarray, " A"]:
    liked, disliked = (
        truth.attributes_of([table.images[getattr(pair, side)] for pair in pairs])
        for side in ("liked", "disliked")
    )
    known = posterior(
        liked, disliked, truth.communities, num_samples=NUM_POSTERIOR_SAMPLES, rng=rng
    )
    return known.mean_taste
