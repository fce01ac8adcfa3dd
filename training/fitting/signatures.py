"""Projections of signatures, fitted on the two halves of users' histories, without labels.

What a reading holds of a person is what both halves of their history show; the rest is the chance
of which images came up. Linear discriminant analysis with users as classes finds the directions in
which people differ most for what the same person differs from themself, and each is weighed by how
far it can be believed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.linalg
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from recsys.history import Pair
from recsys.scorer.attention import Normalisation
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.definition import Projection, Readout, attention_reading
from recsys.signatures.orders import in_orders, mean_over_orders
from recsys.signatures.probes import Probes, probe_attention, probe_scores
from training.data.features import Features
from training.data.samples import PairTable, halves, user_rng
from training.fitting.recipes.recipe import SignatureRecipe

AT_ONCE = 8
FEWEST_USERS = 4
_NOISE = 3.0

Reading = Float[np.ndarray, "N F"]
Half = Sequence[Sequence[Pair]]


@dataclass(frozen=True, eq=False)
class Readings:
    """What the probes show behind N users' references.

    Attributes:
        scores: M+ - M- of each probe.
        attention: Eq. 6 as a centred log-ratio, averaged over tokens and probes.
    """

    scores: Float[np.ndarray, "N P"]
    attention: Float[np.ndarray, "N layers H K"]


def fit_projection(first: Reading, second: Reading, *, dimension: int, ridge: float) -> Projection:
    """Fit a projection to readings of two halves of each user's history.

    Readings are standardised; S_b, what the halves share, is their symmetric cross-covariance and
    S_w, what they do not, half the covariance of their difference. With
    S_b v = l (S_w + ridge I) v, a direction's reliability is l / (1 + l), by which it is
    multiplied: the posterior mean of a Gaussian person given one half.  Ioffe, "Probabilistic
    Linear Discriminant Analysis", 2006.

    Args:
        first, second: shape (N, F), paired by position; N at least 2.
        dimension: directions kept, at most F are.
        ridge: added to S_w, at least 0; what a constant column needs.

    Raises:
        ValueError: if the shapes differ or there are fewer than two users.
    """
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(
            "a projection needs both halves of at least two users' histories, "
            f"got {first.shape} and {second.shape}: import more choices"
        )
    both = np.concatenate([first, second])
    mean, spread = both.mean(axis=0), both.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    one, other = (first - mean) / scale, (second - mean) / scale
    shared = (one.T @ other + other.T @ one) / (2 * len(one))
    unshared = (one - other).T @ (one - other) / (2 * len(one))
    floor = max(ridge, 1e-6) * np.eye(len(mean))
    values, vectors = scipy.linalg.eigh(shared, unshared + floor)
    best = np.argsort(values)[::-1][:dimension]
    believed = np.maximum(values[best], 0) / (1 + np.maximum(values[best], 0))
    return Projection(mean, scale, vectors[:, best] * believed)


def choose_heads(
    first: Float[np.ndarray, "N layers H K"],
    second: Float[np.ndarray, "N layers H K"],
    *,
    ridge: float,
) -> tuple[tuple[int, int], ...]:
    """The (layer, head) whose attention agrees between halves by more than chance, best first.

    Each head's first direction is fitted on every other user; on the users left, its two halves
    must correlate by more than 3 / sqrt(N). If none does, the best one is kept.

    Args:
        first, second: attention of the two halves, paired by position.
        ridge: as in `fit_projection`.
    """
    fitted, judged = slice(0, None, 2), slice(1, None, 2)
    agreement = {}
    for layer, head in np.ndindex(*first.shape[1:3]):
        one, other = first[:, layer, head], second[:, layer, head]
        projection = fit_projection(one[fitted], other[fitted], dimension=1, ridge=ridge)
        direction = projection.matrix[:, 0] / projection.scale
        agreement[layer, head] = _correlation(one[judged] @ direction, other[judged] @ direction)
    ranked = sorted(agreement, key=lambda place: -agreement[place])
    least = _NOISE / np.sqrt(len(first[judged]))
    return tuple(place for place in ranked if agreement[place] > least) or tuple(ranked[:1])


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's; 0 where one of them does not vary."""
    spread = float(first.std() * second.std())
    if not spread:
        return 0.0
    return float(((first - first.mean()) * (second - second.mean())).mean() / spread)


def fit_signatures(
    scorer: PreferenceScorer,
    table: PairTable,
    features: Features,
    probes: Probes,
    recipe: SignatureRecipe,
    *,
    seed: int,
    console: Console,
) -> dict[Readout, Projection]:
    """Fit a projection for each readout on training users.

    Args:
        scorer: trained.
        table: what was learned from.
        features: image tokens of its rows.
        probes: everybody's.
        recipe: dimension, ridge and how many users.
        seed: decides users and halves.
        console: where progress is shown.

    Raises:
        ValueError: if fewer than four users have two halves.
    """
    first, second = draw_halves(
        table,
        num_references=scorer.config.num_references,
        most_users=recipe.most_users,
        seed=seed,
    )
    check_enough(len(first))
    one, other = (
        read_all(
            scorer,
            half,
            features,
            probes,
            num_orders=recipe.num_orders,
            progress=_bar(console, what),
        )
        for half, what in ((first, "reading first halves"), (second, "reading second halves"))
    )
    fit = partial(fit_projection, dimension=recipe.dimension, ridge=recipe.ridge)
    projections: dict[Readout, Projection] = {"scores": fit(one.scores, other.scores)}
    if scorer.config.num_preference_tokens:
        heads = choose_heads(one.attention, other.attention, ridge=recipe.ridge)
        flat = [attention_reading(each.attention, heads) for each in (one, other)]
        projections["attention"] = replace(fit(*flat), heads=heads)
    return projections


def check_enough(num_users: int) -> None:
    """Refuse to fit on too few users who have two halves.

    Raises:
        ValueError: if there are fewer than four.
    """
    if num_users < FEWEST_USERS:
        raise ValueError(
            f"signatures must be fitted on at least {FEWEST_USERS} users with 4 pairs apart,"
            f" got {num_users} such users: import more choices"
        )


def draw_halves(
    table: PairTable, *, num_references: int, most_users: int, seed: int
) -> tuple[list[tuple[Pair, ...]], list[tuple[Pair, ...]]]:
    """Two halves of each history, of at most so many users, by random numbers of their own."""
    users = sorted(table.pairs)
    order = np.random.default_rng([seed, 33]).permutation(len(users))
    cuts: list[tuple[tuple[Pair, ...], tuple[Pair, ...]]] = []
    for index in order:
        if len(cuts) == most_users:
            break
        user = users[index]
        cut = halves(table.pairs[user], user_rng(seed, user), num_references=num_references)
        if cut is not None:
            cuts.append(cut)
    return [one for one, _ in cuts], [other for _, other in cuts]


def read_all(
    scorer: PreferenceScorer,
    users: Half,
    features: Features,
    probes: Probes,
    *,
    num_orders: int = 1,
    normalisation: Normalisation = "log_ratio",
    progress: Callable[[Sequence[Half]], Sequence[Half]] = lambda chunks: chunks,
) -> Readings:
    """Readings of many users, some at a time.

    Args:
        scorer: frozen.
        users: each one's references.
        features: image tokens of their rows.
        probes: everybody's.
        num_orders: re-orderings that are averaged; the first is as given.
        normalisation: of attention.
        progress: passes the chunks on, to show progress.
    """
    has_tokens = scorer.config.num_preference_tokens > 0
    scores, attention = [], []
    chunks = [users[start : start + AT_ONCE] for start in range(0, len(users), AT_ONCE)]
    for chunk in progress(chunks):
        rows = in_orders(chunk, num_orders)
        prompts = [[pair.prompt for pair in order] for order in rows]
        tokens = features([row for order in rows for p in order for row in (p.liked, p.disliked)])
        read = probe_scores(scorer, prompts, tokens, probes)
        scores.append(mean_over_orders(read, num_orders))
        if has_tokens:
            weights = probe_attention(scorer, prompts, tokens, probes, normalisation=normalisation)
            attention.append(mean_over_orders(weights, num_orders))
    empty = np.zeros((len(users), 0, 0, 0))
    return Readings(np.concatenate(scores), np.concatenate(attention) if attention else empty)


def _bar(console: Console, what: str) -> Callable[[Sequence[Half]], Sequence[Half]]:
    return lambda chunks: track(chunks, what, console=console)  # type: ignore[return-value]
