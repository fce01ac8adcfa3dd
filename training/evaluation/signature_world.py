"""What a synthetic world tells of signatures: the best possible, and its communities."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int
from sklearn.metrics import adjusted_rand_score

from recsys.clusters.group import group
from training.data.samples import PairTable
from training.evaluation.bounds import NUM_POSTERIOR_SAMPLES
from training.evaluation.history_cuts import Cut, Pairs
from training.world.tastes import posterior
from training.world.truth import WorldTruth

CEILING = "posterior"


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
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    grouping = group(unit.astype(np.float32), method="kmeans", num_clusters=num_clusters)
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
