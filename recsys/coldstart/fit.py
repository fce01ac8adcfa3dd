"""Learn from stored choices what is borrowed for new users: features, classes, and how to blend.

A share of the people is kept apart: by them the number of classes and the blend are chosen, so what
does not help people who were not learned from gets no weight.

Axes: N images, T tokens of one, D hidden width, F features, C candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recsys.coldstart.blend import ColdStart, pooled
from recsys.coldstart.latent_classes import (
    LatentClasses,
    drawn_weights,
    fit_classes,
    log_likelihood,
)
from recsys.scorer.model import PreferenceScorer

MAX_FEATURES = 64
NUM_CLASSES = (1, 2, 4, 8, 16, 32)
KEPT_APART = 0.2
MAX_JUDGES = 200
USERS_A_CLASS = 15
MAX_IMAGES = 5000
AT_ONCE = 64
_ASKED = 8
_PULL = 20.0
_SMALLEST_VARIANCE = 1e-4

ReadTokens = Callable[[Sequence[int]], Tensor]
"""Rows of an image table -> image tokens (N, T, D)."""


@runtime_checkable
class RowPair(Protocol):
    """A liked and a disliked image of one prompt, by rows of an image table."""

    @property
    def liked(self) -> int:
        """Row of the liked image."""

    @property
    def disliked(self) -> int:
        """Row of the other."""

    @property
    def prompt(self) -> str:
        """What both were made from."""


@dataclass(frozen=True)
class FitReport:
    """What a fit found.

    Attributes:
        num_users: learned from, those kept apart included.
        num_pairs: theirs.
        num_classes: chosen.
        log_likelihoods: by number of classes, of the people kept apart, mean per person.
    """

    num_users: int
    num_pairs: int
    num_classes: int
    log_likelihoods: dict[int, float]


def fit_cold_start(
    scorer: PreferenceScorer,
    histories: Sequence[Sequence[Any]],
    features: ReadTokens,
    *,
    seed: int = 0,
    tell: Callable[[str], None] = lambda what: None,
) -> tuple[ColdStart, FitReport]:
    """Fit for one model version and one population.

    Args:
        scorer: frozen.
        histories: of each user, pairs (`RowPair`), at least one each.
        features: of their images.
        seed: decides who is kept apart, and draws.
        tell: called with what is being done.

    Raises:
        ValueError: if fewer than four users have pairs.
    """
    people = [list(pairs) for pairs in histories if len(pairs)]
    if len(people) < 4:
        raise ValueError(
            f"learning from other people takes at least 4 with choices, got {len(people)}:"
            " import more choices"
        )
    rng = np.random.default_rng([seed, 41])
    people = [people[index] for index in rng.permutation(len(people))]
    num_apart = max(2, int(KEPT_APART * len(people)))
    apart, learned = people[:num_apart], people[num_apart:]
    tell("reading images")
    mean, components = _principal_components(learned, features, rng)
    view = _FeatureTable(mean, components, features)
    tell("fitting classes")
    classes, found = _choose_classes(view, learned, apart, seed=seed)
    tell("fitting the blend")
    blends = _fit_blends(scorer, view, classes, apart[:MAX_JUDGES], rng)
    final = fit_classes(*view.stacked(people), num_classes=len(classes.shares), seed=seed)
    report = FitReport(len(people), sum(map(len, people)), len(final.shares), found)
    return ColdStart(mean, components, final, blends), report


@dataclass(frozen=True, eq=False)
class _FeatureTable:
    """Image tokens as features, each image's kept once it was asked for: F numbers."""

    mean: Float[np.ndarray, " W"]
    components: Float[np.ndarray, "W F"]
    features: ReadTokens
    kept: dict[int, np.ndarray] = field(default_factory=dict)

    def read(self, rows: Sequence[int]) -> None:
        """Encode those images that were not."""
        missing = sorted(set(rows) - set(self.kept))
        for start in range(0, len(missing), AT_ONCE):
            chunk = missing[start : start + AT_ONCE]
            flat = pooled(self.features(chunk))
            self.kept.update(zip(chunk, (flat - self.mean) @ self.components, strict=True))

    def differences(self, pairs: Sequence[RowPair]) -> Float[np.ndarray, "N F"]:
        """Features of the liked image less those of the other, by pair."""
        self.read([row for pair in pairs for row in (pair.liked, pair.disliked)])
        rows = [self.kept[pair.liked] - self.kept[pair.disliked] for pair in pairs]
        found: Float[np.ndarray, "N F"] = np.array(rows).reshape(
            len(pairs), self.components.shape[1]
        )
        return found

    def stacked(self, people: Sequence[Sequence[Any]]) -> tuple[np.ndarray, np.ndarray]:
        """All pairs below each other, and whose each is."""
        users = np.repeat(np.arange(len(people)), [len(pairs) for pairs in people])
        return self.differences([pair for pairs in people for pair in pairs]), users


def _principal_components(
    people: Sequence[Sequence[Any]], features: ReadTokens, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and whitened directions of image tokens, those with any variance to speak of."""
    rows = sorted({row for pairs in people for p in pairs for row in (p.liked, p.disliked)})
    some = rng.permutation(len(rows))[:MAX_IMAGES]
    chosen = [rows[index] for index in some]
    chunks = [chosen[start : start + AT_ONCE] for start in range(0, len(chosen), AT_ONCE)]
    flat = np.concatenate([pooled(features(chunk)) for chunk in chunks])
    mean = flat.mean(axis=0)
    _, sizes, directions = np.linalg.svd(flat - mean, full_matrices=False)
    spread = sizes / np.sqrt(len(flat))
    keep = spread > np.sqrt(_SMALLEST_VARIANCE) * spread[0]
    keep[MAX_FEATURES:] = False
    return mean, (directions[keep] / spread[keep, None]).T


def _choose_classes(
    view: _FeatureTable,
    learned: Sequence[Sequence[RowPair]],
    apart: Sequence[Sequence[RowPair]],
    *,
    seed: int,
) -> tuple[LatentClasses, dict[int, float]]:
    """The number of classes under which the people kept apart are likeliest."""
    differences, users = view.stacked(learned)
    others = [view.differences(pairs) for pairs in apart]
    most = max(1, len(learned) // USERS_A_CLASS)
    tried = {
        count: fit_classes(differences, users, num_classes=count, seed=seed)
        for count in NUM_CLASSES
        if count <= most
    }
    found = {count: log_likelihood(each, others) for count, each in tried.items()}
    return tried[max(found, key=lambda count: found[count])], found


def _fit_blends(
    scorer: PreferenceScorer,
    view: _FeatureTable,
    classes: LatentClasses,
    judges: Sequence[Sequence[RowPair]],
    rng: np.random.Generator,
) -> Float[np.ndarray, "R 3"]:
    """For 0 to R own references, the weights under which the judges' other pairs are likeliest.

    Raises nothing for judges with few pairs: behind as many as nobody has, the model stands alone.
    """
    most = scorer.config.num_references
    rows: list[list[np.ndarray]] = [[] for _ in range(most + 1)]
    nobody = scorer.prefix([])
    for pairs in judges:
        shuffled = [pairs[index] for index in rng.permutation(len(pairs))]
        for count in range(most + 1):
            references, asked = _split(shuffled, count)
            if len(references) == count and asked:
                rows[count].append(_margins(scorer, view, classes, nobody, references, asked))
    blends = [fit_blend(np.concatenate(each) if each else np.zeros((0, 3))) for each in rows]
    return np.stack(blends)


def _split(pairs: Sequence[RowPair], count: int) -> tuple[list[RowPair], list[RowPair]]:
    """The first so many pairs, and pairs of other images to be asked."""
    references = list(pairs[:count])
    seen = {row for pair in references for row in (pair.liked, pair.disliked)}
    asked = [p for p in pairs[count:] if not seen & {p.liked, p.disliked}]
    return references, asked[:_ASKED]


@torch.no_grad()
def _margins(
    scorer: PreferenceScorer,
    view: _FeatureTable,
    classes: LatentClasses,
    nobody: Any,
    references: Sequence[RowPair],
    asked: Sequence[RowPair],
) -> Float[np.ndarray, "C 3"]:
    """Of each asked pair: liked less disliked, by the classes, by the model, by it for nobody."""
    shown = [row for pair in references for row in (pair.liked, pair.disliked)]
    own = nobody
    if references:
        own = scorer.prefix_of([pair.prompt for pair in references], view.features(shown))
    prompts = [pair.prompt for pair in asked for _ in range(2)]
    tokens = view.features([row for pair in asked for row in (pair.liked, pair.disliked)])
    columns = [view.differences(asked) @ classes.taste(view.differences(references))]
    for prefix in (own, nobody):
        margin = scorer.margins_of(prefix, prompts, tokens).numpy() / scorer.config.temperature
        columns.append(margin[0::2] - margin[1::2])
    return np.stack(columns, axis=1)


def fit_blend(margins: Float[np.ndarray, "C 3"], *, pull: float = _PULL) -> Float[np.ndarray, " 3"]:
    """Weights a, b, c under which the liked image of each pair is likeliest to be preferred.

    Logistic regression without intercept, drawn towards the model alone (0, 1, 0) by `pull`. A
    negative weight of the classes would say that others' taste misleads: the model stands alone.

    Args:
        margins: of each pair, liked less disliked: u, M(own), M(none).
        pull: above 0, in pairs.
    """
    alone = np.array([0.0, 1.0, 0.0])
    weights = drawn_weights(margins, np.ones(len(margins)), alone, pull=pull)
    return weights if weights[0] > 0 else alone
