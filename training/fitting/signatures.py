"""What signatures are fitted on: readings of the two halves of training users' histories.

Scores get their projection by linear discriminant analysis between the halves, attention one that
finds in it what scores say; `training.fitting.projections` has both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
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
from training.fitting.projections import (
    added,
    choose_heads,
    fit_projection,
    principal_components,
    regress,
)
from training.fitting.recipes.recipe import SignatureRecipe

AT_ONCE = 8
HEADS_FROM = 512
"""Users whose readings choose the heads: of everybody, all of a large model's fill the memory."""

FEWER = 3
"""Attention is also read behind a third of what the model reads, as new users' will be."""

FEWEST_USERS = 4

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
    readings = [read(first, second, heads=heads)]
    if heads and (few := scorer.config.num_references // FEWER):
        fewer = ([pairs[:few] for pairs in half] for half in (first, second))
        readings.append(read(*fewer, heads=heads))
    return project_readings(readings, heads=heads, recipe=recipe)


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
    """The heads that tell best what scores say of people, and their attention in both halves."""
    every = all_heads(scorer)
    both = read(first, second, heads=every)
    one, other = (each.attention for each in both)
    _, target = _fit_scores(*both, recipe=recipe)
    chosen = choose_heads(one, other, target, ridge=recipe.attention_ridge)
    places = list(chosen[: recipe.most_heads])
    return tuple(every[place] for place in places), [each[:, :, places] for each in (one, other)]


def _fit_scores(
    first: Readings, second: Readings, *, recipe: SignatureRecipe
) -> tuple[Projection, Float[np.ndarray, "N E"]]:
    """The projection of scores, and what both halves of each user say by it on average."""
    one, other = first.scores, second.scores
    fitted = fit_projection(one, other, dimension=recipe.dimension, ridge=recipe.ridge)
    return fitted, (fitted.coordinates(one) + fitted.coordinates(other)) / 2


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
    readings: Sequence[Sequence[Readings]], *, heads: tuple[Head, ...], recipe: SignatureRecipe
) -> dict[Readout, Projection]:
    """Fit a projection for each readout.

    That of attention gives, of each reading, the coordinates that the scores of both halves have
    on average. "both" adds them to those of the reading's own scores.

    Args:
        readings: of the two halves of N users, whole; then, if any, of fewer of their references.
        heads: the A heads of their attention; none: only scores get a projection.
        recipe: dimension and ridges.
    """
    scores, target = _fit_scores(*readings[0], recipe=recipe)
    if not heads:
        return {"scores": scores}
    rows = [half.attention.reshape(len(target), -1) for halves in readings for half in halves]
    attention = replace(regress(rows, target, ridge=recipe.attention_ridge), heads=heads)
    return {"scores": scores, "attention": attention, "both": added(scores, attention)}


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
