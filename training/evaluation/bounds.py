"""What a synthetic world allows: nobody can do better, and this is what no history gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recsys.history import Pair
from training.data.samples import PairTable, Sample
from training.evaluation.metrics import Figure, Statistic, accuracy, interval_over_users, over_users
from training.evaluation.questions import Samples, with_references
from training.world.communities import any_communities
from training.world.tastes import posterior
from training.world.truth import WorldTruth

NUM_POSTERIOR_SAMPLES = 20_000
Attributes = npt.NDArray[np.float32]
ByUser = Mapping[str, float]
"""Share of each user's pairs that is ranked correctly."""


def world_accuracies(
    samples: Samples,
    table: PairTable,
    truth: WorldTruth,
    *,
    seed: int = 0,
    asks_unadapted: bool = False,
) -> dict[str, dict[str, float]]:
    """How many of each user's pairs oracles rank correctly.

    `known_taste` knows each taste, `best_possible` the communities and the same references
    (posterior over users), `average_taste` the communities alone. `best_unadapted`, which takes
    longest, knows the same references, and how communities are drawn but not which there are.

    Args:
        samples: of users of this world.
        table: what the samples' rows stand for.
        truth: their tastes and the images' attributes.
        seed: of the posterior's samples.
        asks_unadapted: whether `best_unadapted` is asked too.
    """
    priors = {"best_possible": truth.communities}
    if asks_unadapted:
        priors["best_unadapted"] = any_communities()
    rights: dict[str, dict[str, float]] = {
        name: {} for name in ("known_taste", *priors, "average_taste")
    }
    for user, sample in samples.items():
        pairs = _attributes(table, truth, sample)
        tastes = {
            "known_taste": truth.taste(user),
            "average_taste": truth.communities.average_taste,
        }
        for name, communities in priors.items():
            rng = np.random.default_rng([seed, 6, *user.encode()])
            known = posterior(
                *pairs.references, communities, num_samples=NUM_POSTERIOR_SAMPLES, rng=rng
            )
            tastes[name] = known.mean_taste
        liked, disliked = pairs.asked
        for name, taste in tastes.items():
            rights[name][user] = accuracy(((liked - disliked) @ taste).astype(np.float64))
    return rights


def world_figures(
    own: ByUser, samples: Samples, table: PairTable, truth: WorldTruth, *, seed: int = 0
) -> dict[str, Figure]:
    """The oracles' figures on the very same pairs, and the share of the gap that is closed.

    `gap_closed` = (own - average taste) / (best possible - average taste).

    Args:
        own: the judged scorer's accuracy by user.
        samples, table, truth, seed: as in `world_accuracies`.
    """
    rights = world_accuracies(samples, table, truth, seed=seed, asks_unadapted=True)
    n_pairs = sum(len(sample.pairs) for sample in samples.values())
    figures = {
        name: over_users(list(values.values()), n_pairs=n_pairs) for name, values in rights.items()
    }
    columns = [[each[user] for user in samples] for each in (own, *_bounds(rights))]
    closed = gap_closed(columns[0], columns[1], columns[2])
    return figures | {"gap_closed": replace(closed, n_pairs=n_pairs)}


def best_by_references(
    samples: Samples,
    table: PairTable,
    truth: WorldTruth,
    counts: Sequence[int],
    *,
    seed: int = 0,
) -> dict[str, Figure]:
    """The best possible behind the newest 0, 1, 2... references alone."""
    n_pairs = sum(len(sample.pairs) for sample in samples.values())
    figures = {}
    for count in counts:
        fewer = with_references(samples, count)
        best = world_accuracies(fewer, table, truth, seed=seed)["best_possible"]
        figures[str(count)] = over_users(list(best.values()), n_pairs=n_pairs)
    return figures


def gap_closed(
    own: Sequence[float], average: Sequence[float], best: Sequence[float], *, seed: int = 0
) -> Figure:
    """(own - average) / (best - average) of the means over users, with its interval.

    Args:
        own, average, best: accuracy by user, paired by position.
        seed: of the bootstrap over users.
    """
    columns = np.array([own, average, best])
    low, high = interval_over_users(_share_closed, *columns, seed=seed)
    return Figure(float(_share_closed(*columns)), low, high, len(own), 0)


def of_this_world(samples: Samples, table: PairTable, truth: WorldTruth) -> bool:
    """Whether the truth knows every user and image that is asked about."""
    try:
        for user, sample in samples.items():
            truth.taste(user)
            _attributes(table, truth, sample)
    except KeyError:
        return False
    return True


def _share_closed(
    own: np.ndarray,
    average: np.ndarray,
    best: np.ndarray,
    axis: int = -1,
) -> Statistic:
    low = average.mean(axis=axis)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may leave no gap to close
        return (own.mean(axis=axis) - low) / (best.mean(axis=axis) - low)


def _bounds(rights: Mapping[str, ByUser]) -> tuple[ByUser, ByUser]:
    return rights["average_taste"], rights["best_possible"]


@dataclass(frozen=True)
class _PairAttributes:
    """Attributes of liked and disliked images, each (N, A)."""

    references: tuple[Attributes, Attributes]
    asked: tuple[Attributes, Attributes]


def _attributes(table: PairTable, truth: WorldTruth, sample: Sample) -> _PairAttributes:
    def of(rows: Sequence[int]) -> Attributes:
        return truth.attributes_of([table.images[row] for row in rows])

    def both(pairs: Sequence[Pair]) -> tuple[Attributes, Attributes]:
        return of([pair.liked for pair in pairs]), of([pair.disliked for pair in pairs])

    return _PairAttributes(both(sample.references), both(sample.pairs))
