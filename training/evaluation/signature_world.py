"""What a synthetic world tells of signatures: the best possible, and its communities."""

from collections.abc import Mapping
from typing import Any

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

Vectors = Float[np.ndarray, "N _"]


def posterior_tastes(
    cuts: Mapping[str, Cut], histories: PairTable, truth: WorldTruth, *, seed: int
) -> tuple[Vectors, Vectors]:
    """Mean taste given each half and the population: nobody can know a person better.

    Args:
        cuts: by user, of this world.
        histories: what their rows stand for.
        truth: the population and the images' attributes.
        seed: of the posterior's samples.
    """
    rows = []
    for user, cut in cuts.items():
        rng = np.random.default_rng([seed, 6, *user.encode()])
        rows.append([_mean_taste(half, histories, truth, rng) for half in (cut.first, cut.second)])
    means = np.array(rows)
    return means[:, 0], means[:, 1]


def agreement(
    vectors: Mapping[str, Vectors], communities: Int[np.ndarray, " N"], *, num_clusters: int
) -> dict[str, Any]:
    """Adjusted Rand index of k-means clusters of vectors with the communities, by name.

    Args:
        vectors: of the same users each.
        communities: of the users.
        num_clusters: k, at most as many as there are users.
    """
    found: dict[str, Any] = {"num_clusters": min(num_clusters, len(communities))}
    for name, rows in vectors.items():
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        grouping = group(
            unit.astype(np.float32), method="kmeans", num_clusters=found["num_clusters"]
        )
        found[name] = adjusted_rand_score(grouping.labels, communities)
    return found


def _mean_taste(
    pairs: Pairs, histories: PairTable, truth: WorldTruth, rng: np.random.Generator
) -> Float[np.ndarray, " A"]:
    liked, disliked = (
        truth.attributes_of([histories.images[getattr(pair, side)] for pair in pairs])
        for side in ("liked", "disliked")
    )
    known = posterior(liked, disliked, truth.population, num_samples=NUM_POSTERIOR_SAMPLES, rng=rng)
    return known.mean_taste
