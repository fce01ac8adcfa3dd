"""How alike attention maps are: of one person, within a community, and between communities.

Maps are compared image by image, by the cosine of one order of one person's references with any
order of another's, so that no mean over orders makes any two look more alike than others.

Axes: N people, O (or P) orders of each one's references, C images that attend, F numbers of a map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from training.evaluation.metrics import Figure, Statistic, interval_over_users, over_users

PeopleMaps = Float[np.ndarray, "N O C F"]


@dataclass(frozen=True)
class Likeness:
    """Mean cosine of two maps of the same image.

    Attributes:
        other_orders: of one person's references, in two orders; None between two groups.
        other_choices: of one person's references and others of their choices; likewise.
        same_community: of two people of one community.
        other_community: of two people of different communities.
        difference: the former less the latter.
        control: the same where communities are dealt to people anew, which must be about 0.
    """

    same_community: Figure
    other_community: Figure
    difference: Figure
    control: Figure
    other_orders: Figure | None = None
    other_choices: Figure | None = None


@dataclass(frozen=True, eq=False)
class Cosines:
    """All that `likeness` is made of.

    Attributes:
        between: shape (N, N), of two people's maps.
        other_orders: shape (N,), of one person's in two orders.
        other_choices: shape (N,), of one person's of these and of others of their choices.
    """

    between: Float[np.ndarray, "N N"]
    other_orders: Float[np.ndarray, " N"]
    other_choices: Float[np.ndarray, " N"]


@dataclass(frozen=True, eq=False)
class Scale:
    """How maps depart from the mean person's, as signatures do before they are projected.

    Attributes:
        mean: shape (C, F), over people and orders.
        deviation: shape (C, F), above 0, standard deviation of the same.
    """

    mean: Float[np.ndarray, "C F"]
    deviation: Float[np.ndarray, "C F"]

    def __call__(self, maps: PeopleMaps) -> PeopleMaps:
        """Maps in standard deviations from the mean person's."""
        return np.asarray((maps - self.mean) / self.deviation)


def scale_of(maps: PeopleMaps) -> Scale:
    """The scale of people's maps; what is the same for everybody stays as it is."""
    deviation = maps.std(axis=(0, 1))
    return Scale(maps.mean(axis=(0, 1)), np.where(deviation > 0, deviation, 1.0))


def cosines_of_maps(maps: PeopleMaps, others: Float[np.ndarray, "N P C F"]) -> Cosines:
    """Cosines of maps, averaged over images and orders.

    Args:
        maps: at least two orders.
        others: of the same people, read behind others of their choices; any number of orders.
    """
    unit, other = _unit(maps), _unit(others)
    num_orders, num_images = maps.shape[1:3]
    mean, other_mean = unit.mean(axis=1), other.mean(axis=1)
    between = np.einsum("ncf,mcf->nm", mean, mean) / num_images
    # The square of a mean over orders counts each order with itself, too: those are 1.
    with_itself = (unit**2).sum(axis=-1).mean(axis=(1, 2))
    pairs = num_orders * between.diagonal() - with_itself
    other_choices = np.einsum("ncf,ncf->n", mean, other_mean) / num_images
    return Cosines(between, pairs / (num_orders - 1), other_choices)


def likeness(
    cosines: Cosines,
    communities: Int[np.ndarray, " N"],
    counted: Bool[np.ndarray, "N N"],
    *,
    n_pairs: int,
    seed: int = 0,
) -> Likeness | None:
    """The mean cosines within a person, within communities and between them.

    Args:
        cosines: of N people.
        communities: of each.
        counted: pairs of people who are compared; on the diagonal, whom it is about.
        n_pairs: references read of them.
        seed: decides the control; intervals are always drawn with seed 0.

    Returns:
        None where no two people are of one community, or of different ones.
    """
    dealt = np.random.default_rng(seed).permutation(communities)
    same, mixed = (each[:, None] == each for each in (communities, dealt))
    two = counted & ~np.eye(len(communities), dtype=bool)
    parts = [two & same, two & ~same, two & mixed, two & ~mixed]
    if not all(part.any() for part in parts):
        return None
    within, between, dealt_within, dealt_between = parts
    own = counted.diagonal()

    def over(*masks: Bool[np.ndarray, "N N"]) -> Figure:
        return over_pairs(cosines.between, masks, n_pairs=n_pairs)

    def over_own(values: Float[np.ndarray, " N"]) -> Figure | None:
        return over_users(values[own].tolist(), n_pairs=n_pairs) if own.any() else None

    return Likeness(
        same_community=over(within),
        other_community=over(between),
        difference=over(within, between),
        control=over(dealt_within, dealt_between),
        other_orders=over_own(cosines.other_orders),
        other_choices=over_own(cosines.other_choices),
    )


def over_pairs(
    values: Float[np.ndarray, "N N"], masks: Sequence[Bool[np.ndarray, "N N"]], *, n_pairs: int
) -> Figure:
    """Mean of what holds of two people, and its interval: people are drawn, not pairs.

    Both of a pair are drawn, and a person drawn twice makes no pair with themself, as in a
    U-statistic (Arcones and Giné, 1992).

    Args:
        values: symmetric where the masks are.
        masks: the pairs to average over; of a second one, the mean is taken off. None of them
            holds a person with themself.
        n_pairs: references read of all.
    """
    num_people = len(values)

    def statistic(drawn: np.ndarray, axis: int = -1) -> Statistic:
        rows = np.moveaxis(drawn, axis, -1).astype(int)
        flat = rows.reshape(-1, num_people)
        counts = np.array([np.bincount(each, minlength=num_people) for each in flat], float)
        means = [_mean_over(np.where(mask, values, 0.0), mask, counts) for mask in masks]
        found = means[0] - means[1] if len(means) > 1 else means[0]
        return found.reshape(rows.shape[:-1])[()]

    people = np.arange(num_people, dtype=float)
    low, high = interval_over_users(statistic, people)
    num_counted = int(np.any([mask | mask.T for mask in masks], axis=0).any(axis=1).sum())
    return Figure(float(statistic(people)), low, high, num_counted, n_pairs)


def _mean_over(
    kept: Float[np.ndarray, "N N"], mask: Bool[np.ndarray, "N N"], counts: Float[np.ndarray, "B N"]
) -> Float[np.ndarray, " B"]:
    above, below = (((counts @ each) * counts).sum(axis=1) for each in (kept, mask.astype(float)))
    with np.errstate(invalid="ignore"):
        return np.asarray(above / below)


def _unit(maps: PeopleMaps) -> PeopleMaps:
    lengths = np.linalg.norm(maps, axis=-1, keepdims=True)
    return np.asarray(maps / np.maximum(lengths, 1e-30))
