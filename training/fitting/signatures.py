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
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.definition import Head, Projection, Readout
from recsys.signatures.orders import in_orders, mean_over_orders
from recsys.signatures.probes import Probes, all_heads, read_probes
from training.data.features import Features
from training.data.samples import PairTable, halves, user_rng
from training.fitting.recipes.recipe import SignatureRecipe

AT_ONCE = 8
HEADS_FROM = 512
"""Users whose readings choose the heads: of everybody, all of a large model's fill the memory."""

FEWEST_USERS = 4
_NOISE = 3.0

Reading = Float[np.ndarray, "N F"]
Half = Sequence[Sequence[Pair]]


@dataclass(frozen=True, eq=False)
class Readings:
    """What the probes show behind N users' references.

    Attributes:
        scores: M+ - M- of each probe.
        attention: of A heads, as in `recsys.signatures.probes.ProbeReadings`.
    """

    scores: Float[np.ndarray, "N P"]
    attention: Float[np.ndarray, "N P A K"]


def fit_projection(
    first: Reading,
    second: Reading,
    *,
    dimension: int,
    ridge: float,
    basis: Float[np.ndarray, "F C"] | None = None,
) -> Projection:
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
        basis: columns whose C coordinates are what is standardised and fitted; None: F numbers as
            they are.

    Raises:
        ValueError: if the shapes differ or there are fewer than two users.
    """
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(
            "a projection needs both halves of at least two users' histories, "
            f"got {first.shape} and {second.shape}: import more choices"
        )
    mean = np.concatenate([first, second]).mean(axis=0)
    one, other = (
        each - mean if basis is None else (each - mean) @ basis for each in (first, second)
    )
    spread = np.concatenate([one, other]).std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    one, other = one / scale, other / scale
    shared = (one.T @ other + other.T @ one) / (2 * len(one))
    unshared = (one - other).T @ (one - other) / (2 * len(one))
    floor = max(ridge, 1e-6) * np.eye(len(scale))
    values, vectors = scipy.linalg.eigh(shared, unshared + floor)
    best = np.argsort(values)[::-1][:dimension]
    believed = np.maximum(values[best], 0) / (1 + np.maximum(values[best], 0))
    matrix = vectors[:, best] * believed
    if basis is None:
        return Projection(mean, scale, matrix)
    return Projection(mean, np.ones_like(mean), basis / scale @ matrix)


def principal_components(
    first: Reading, second: Reading, num_components: int
) -> Float[np.ndarray, "F C"]:
    """Orthonormal directions in which readings of both halves vary most, largest first.

    Args:
        first, second: shape (N, F).
        num_components: C, at most F are.
    """
    both = np.concatenate([first, second])
    centred = both - both.mean(axis=0)
    width = both.shape[1]
    last = max(width - num_components, 0)
    _, vectors = scipy.linalg.eigh(centred.T @ centred, subset_by_index=[last, width - 1])
    return np.asarray(vectors[:, ::-1])


def choose_heads(
    first: Float[np.ndarray, "N P A K"],
    second: Float[np.ndarray, "N P A K"],
    *,
    num_components: int,
    ridge: float,
) -> tuple[int, ...]:
    """The heads whose attention agrees between halves by more than chance, best first.

    Each head's first direction is fitted on every other user; on the users left, its two halves
    must correlate by more than 3 / sqrt(N). If none does, the best one is kept.

    Args:
        first, second: attention of the two halves, paired by position.
        num_components: of each head's attention, that the direction is sought in.
        ridge: as in `fit_projection`.

    Returns:
        Which of the A.
    """
    fitted, judged = slice(0, None, 2), slice(1, None, 2)
    agreement = {}
    for head in range(first.shape[2]):
        one, other = (each[:, :, head].reshape(len(each), -1) for each in (first, second))
        basis = principal_components(one[fitted], other[fitted], num_components)
        fit = fit_projection(one[fitted], other[fitted], dimension=1, ridge=ridge, basis=basis)
        direction = fit.matrix[:, 0]
        agreement[head] = _correlation(one[judged] @ direction, other[judged] @ direction)
    ranked = sorted(agreement, key=lambda head: -agreement[head])
    least = _NOISE / np.sqrt(len(first[judged]))
    return tuple(head for head in ranked if agreement[head] > least) or tuple(ranked[:1])


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
    first, second = _drawn_halves(scorer, table, recipe, seed=seed)
    read = partial(
        _read_halves, scorer, features=features, probes=probes, recipe=recipe, console=console
    )
    heads: tuple[Head, ...] = ()
    if all_heads(scorer):
        heads, _ = _chosen_heads(
            scorer, *(half[:HEADS_FROM] for half in (first, second)), read=read, recipe=recipe
        )
    return project_readings(*read(first, second, heads=heads), heads=heads, recipe=recipe)


def fit_parts(
    scorer: PreferenceScorer,
    table: PairTable,
    features: Features,
    probes: Probes,
    recipe: SignatureRecipe,
    *,
    seed: int,
    console: Console,
) -> list[Projection]:
    """Fit a projection of attention for each part of the probes, on training users.

    Each is fitted to its own probes alone: of a projection of all of them, the columns of some do
    not take away what all probes have in common.

    Args:
        scorer, table, features, probes, recipe, seed, console: as in `fit_signatures`; there must
            be preference tokens.

    Returns:
        One for each of `recipe.probe_parts`.

    Raises:
        ValueError: if fewer than four users have two halves.
    """
    first, second = _drawn_halves(scorer, table, recipe, seed=seed)
    read = partial(
        _read_halves, scorer, features=features, probes=probes, recipe=recipe, console=console
    )
    heads, both = _chosen_heads(scorer, first, second, read=read, recipe=recipe)
    return [
        _fit_attention(*(each[:, part] for each in both), heads=heads, recipe=recipe)
        for part in recipe.probe_parts
    ]


def _drawn_halves(
    scorer: PreferenceScorer, table: PairTable, recipe: SignatureRecipe, *, seed: int
) -> tuple[Half, Half]:
    """Halves of enough users, as long as the scorer reads."""
    first, second = draw_halves(
        table,
        num_references=scorer.config.num_references,
        most_users=recipe.most_users,
        seed=seed,
    )
    check_enough(len(first))
    return first, second


def _chosen_heads(
    scorer: PreferenceScorer,
    first: Half,
    second: Half,
    *,
    read: Callable[..., list[Readings]],
    recipe: SignatureRecipe,
) -> tuple[tuple[Head, ...], list[Float[np.ndarray, "N P A K"]]]:
    """The heads that agree best between these halves, and their attention in both."""
    every = all_heads(scorer)
    both = [each.attention for each in read(first, second, heads=every)]
    chosen = choose_heads(*both, num_components=recipe.num_components, ridge=recipe.ridge)
    places = list(chosen[: recipe.most_heads])
    return tuple(every[place] for place in places), [each[:, :, places] for each in both]


def _fit_attention(
    first: Float[np.ndarray, "N P A K"],
    second: Float[np.ndarray, "N P A K"],
    *,
    heads: tuple[Head, ...],
    recipe: SignatureRecipe,
) -> Projection:
    one, other = (each.reshape(len(each), -1) for each in (first, second))
    basis = principal_components(one, other, recipe.num_components)
    fitted = fit_projection(one, other, dimension=recipe.dimension, ridge=recipe.ridge, basis=basis)
    return replace(fitted, heads=heads)


def project_readings(
    first: Readings, second: Readings, *, heads: tuple[Head, ...], recipe: SignatureRecipe
) -> dict[Readout, Projection]:
    """Fit a projection for each readout.

    Args:
        first, second: of both halves of N users, paired by position.
        heads: the A heads of their attention; none: only scores get a projection.
        recipe: dimension, ridge and components.
    """
    fit = partial(fit_projection, dimension=recipe.dimension, ridge=recipe.ridge)
    projections: dict[Readout, Projection] = {"scores": fit(first.scores, second.scores)}
    if heads:
        one, other = (each.attention.reshape(len(each.attention), -1) for each in (first, second))
        basis = principal_components(one, other, recipe.num_components)
        beside_scores = scipy.linalg.block_diag(np.eye(first.scores.shape[1]), basis)
        both = np.hstack([first.scores, one]), np.hstack([second.scores, other])
        projections["attention"] = replace(fit(one, other, basis=basis), heads=heads)
        projections["both"] = replace(fit(*both, basis=beside_scores), heads=heads)
    return projections


def _read_halves(
    scorer: PreferenceScorer,
    first: Half,
    second: Half,
    *,
    heads: Sequence[Head],
    features: Features,
    probes: Probes,
    recipe: SignatureRecipe,
    console: Console,
) -> list[Readings]:
    """Readings of both halves by these heads."""
    return [
        read_all(
            scorer,
            half,
            features,
            probes,
            heads=heads,
            num_orders=recipe.num_orders,
            progress=_bar(console, f"reading {len(half)} {name} halves"),
        )
        for name, half in (("first", first), ("second", second))
    ]


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
    heads: Sequence[Head] = (),
    num_orders: int = 1,
    progress: Callable[[Sequence[Half]], Sequence[Half]] = lambda chunks: chunks,
) -> Readings:
    """Readings of many users, some at a time.

    Args:
        scorer: frozen.
        users: each one's references, at least one user.
        features: image tokens of their rows.
        probes: everybody's.
        heads: A heads whose attention is kept.
        num_orders: re-orderings that are averaged; the first is as given.
        progress: passes the chunks on, to show progress.
    """
    scores, attention = [], []
    chunks = [users[start : start + AT_ONCE] for start in range(0, len(users), AT_ONCE)]
    for chunk in progress(chunks):
        rows = in_orders(chunk, num_orders)
        prompts = [[pair.prompt for pair in order] for order in rows]
        tokens = features([row for order in rows for p in order for row in (p.liked, p.disliked)])
        with torch.no_grad():
            read = read_probes(scorer, prompts, tokens, probes, heads=heads)
        scores.append(mean_over_orders(read.scores.double().cpu().numpy(), num_orders))
        attention.append(mean_over_orders(read.attention.double().cpu().numpy(), num_orders))
    return Readings(np.concatenate(scores), np.concatenate(attention))


def _bar(console: Console, what: str) -> Callable[[Sequence[Half]], Sequence[Half]]:
    return lambda chunks: track(chunks, what, console=console)  # type: ignore[return-value]
