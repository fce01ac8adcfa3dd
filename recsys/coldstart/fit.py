"""Learn from stored choices what cold start needs: features, classes and the blend.

Some users are held out. They decide the number of classes and the blend, so that what does not help
unseen users gets no weight.

Axes: N images, T tokens of one, D hidden width, F features, C candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recsys.coldstart.blend import MODEL_ALONE, TERMS, fit_blend
from recsys.coldstart.latent_classes import LatentClasses, fit_classes, log_likelihood
from recsys.coldstart.population import ColdStart, pooled
from recsys.counts import counted
from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer

FEWEST_USERS = 4
MAX_FEATURES = 64
NUM_CLASSES = (1, 2, 4, 8, 16, 32)
HELD_OUT = 0.2
MAX_JUDGES = 200
_FEWEST_JUDGES = 2
ENOUGH_JUDGES = 20
"""Users held out; fewer decide by chance."""

USERS_A_CLASS = 15
ENOUGH_USERS = 100
"""Of fewer, less than `ENOUGH_JUDGES` are held out, and classes say little of others."""

MAX_IMAGES = 5000
AT_ONCE = 64
_ASKED = 8
_SMALLEST_VARIANCE = 1e-4

ReadTokens = Callable[[Sequence[int]], Tensor]
"""Rows of an image table -> image tokens (N, T, D)."""


@dataclass(frozen=True)
class FitReport:
    """The results of a fit.

    Attributes:
        num_users: learned from, including those held out.
        num_pairs: of those users.
        num_classes: as chosen.
        log_likelihoods: by number of classes: of the held-out users, mean per user.
        num_judges: held-out users who decided the blend.
        num_unknown: users whom the model did not learn from, where they were too few to decide and
            anybody might; None where they were enough, or it is not known who they are.
    """

    num_users: int
    num_pairs: int
    num_classes: int
    log_likelihoods: dict[int, float]
    num_judges: int
    num_unknown: int | None

    def cautions(self) -> list[str]:
        """What to beware of in what was learned, a sentence each."""
        found = []
        if self.num_users < ENOUGH_USERS:
            found.append(
                f"classes learned from {counted(self.num_users, 'user')} say little about others"
                f" and may make rankings worse: fit again with at least {ENOUGH_USERS} users"
                " (import more choices, or raise --users), or remove the fit by `recsys coldstart"
                " remove`"
            )
        if self.num_unknown is not None:
            found.append(
                f"the checkpoint learned from all but {self.num_unknown} of the"
                f" {counted(self.num_users, 'user')}, too few to decide the weights: users whom it"
                " learned from decided, too, and trust it more than others should: fit again when"
                " others have chosen"
            )
        return found


def fit_cold_start(
    scorer: PreferenceScorer | None,
    histories: Sequence[Sequence[Pair]],
    read_tokens: ReadTokens,
    *,
    may_judge: Sequence[bool] | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda what: None,
) -> tuple[ColdStart, FitReport]:
    """Fit for one model version and one population.

    Args:
        scorer: frozen; None where only the classes are needed: no blend is fitted, the model stands
            alone.
        histories: each user's pairs, at least one each.
        read_tokens: of their images.
        may_judge: of each user, whether they may be held out: a model is trusted too much by those
            whom it learned from. None, or fewer who may than a fifth of all and than
            `ENOUGH_JUDGES`: everybody may.
        seed: decides who is held out, and all draws.
        progress: called with the name of each step.

    Raises:
        ValueError: if fewer than four users have pairs.
    """
    people = [list(pairs) for pairs in histories if len(pairs)]
    may = [may for may, pairs in zip(may_judge or [], histories, strict=False) if len(pairs)]
    if len(people) < FEWEST_USERS:
        raise ValueError(
            f"learning from other users takes at least {FEWEST_USERS} with choices, got"
            f" {len(people)}: import more choices"
        )
    rng = np.random.default_rng([seed, 41])
    order = rng.permutation(len(people)).tolist()
    judges, num_unknown = _judges(order, may)
    is_judge = frozenset(judges)
    held_out = [people[index] for index in judges]
    learned = [people[index] for index in order if index not in is_judge]
    people = [*held_out, *learned]
    progress("reading images")
    mean, components = _principal_components(learned, read_tokens, rng)
    table = _FeatureTable(mean, components, read_tokens)
    progress("fitting classes")
    classes, log_likelihoods = _choose_classes(table, learned, held_out, seed=seed)
    progress("fitting the blend")
    blends = _fit_blends(scorer, table, classes, held_out[:MAX_JUDGES], rng)
    final = fit_classes(*table.stacked(people), num_classes=len(classes.shares), seed=seed)
    report = FitReport(
        num_users=len(people),
        num_pairs=sum(map(len, people)),
        num_classes=len(final.shares),
        log_likelihoods=log_likelihoods,
        num_judges=min(len(judges), MAX_JUDGES),
        num_unknown=num_unknown,
    )
    return ColdStart(mean, components, final, blends), report


def _judges(order: Sequence[int], may: Sequence[bool]) -> tuple[list[int], int | None]:
    """A fifth, the first in this order: of those who may be held out if they are enough.

    Where they are too few, so many are told, too.
    """
    wanted = max(_FEWEST_JUDGES, int(HELD_OUT * len(order)))
    allowed = [index for index in order if may[index]] if may else order
    is_enough = len(allowed) >= min(wanted, ENOUGH_JUDGES)
    judges = list((allowed if is_enough else order)[:wanted])
    return judges, None if is_enough else len(allowed)


@dataclass(frozen=True, eq=False)
class _FeatureTable:
    """Features of images, computed on first use and kept."""

    mean: Float[np.ndarray, " W"]
    components: Float[np.ndarray, "W F"]
    read_tokens: ReadTokens
    kept: dict[int, np.ndarray] = field(default_factory=dict)

    def read(self, rows: Sequence[int]) -> None:
        """Compute the features of those images that have none yet."""
        missing = sorted(set(rows) - set(self.kept))
        for start in range(0, len(missing), AT_ONCE):
            chunk = missing[start : start + AT_ONCE]
            flat = pooled(self.read_tokens(chunk))
            self.kept.update(zip(chunk, (flat - self.mean) @ self.components, strict=True))

    def differences(self, pairs: Sequence[Pair]) -> Float[np.ndarray, "N F"]:
        """Features of the liked image less those of the disliked one, by pair."""
        self.read([row for pair in pairs for row in (pair.liked, pair.disliked)])
        rows = [self.kept[pair.liked] - self.kept[pair.disliked] for pair in pairs]
        return np.array(rows).reshape(len(pairs), self.components.shape[1])

    def stacked(self, people: Sequence[Sequence[Pair]]) -> tuple[np.ndarray, np.ndarray]:
        """The differences of all pairs, and the user of each."""
        users = np.repeat(np.arange(len(people)), [len(pairs) for pairs in people])
        return self.differences([pair for pairs in people for pair in pairs]), users


def _principal_components(
    people: Sequence[Sequence[Pair]], read_tokens: ReadTokens, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of image tokens, and their whitened components with more than tiny variance."""
    rows = sorted({row for pairs in people for p in pairs for row in (p.liked, p.disliked)})
    some = rng.permutation(len(rows))[:MAX_IMAGES]
    chosen = [rows[index] for index in some]
    chunks = [chosen[start : start + AT_ONCE] for start in range(0, len(chosen), AT_ONCE)]
    flat = np.concatenate([pooled(read_tokens(chunk)) for chunk in chunks])
    mean = flat.mean(axis=0)
    _, sizes, directions = np.linalg.svd(flat - mean, full_matrices=False)
    spread = sizes / np.sqrt(len(flat))
    keep = spread > np.sqrt(_SMALLEST_VARIANCE) * spread[0]
    keep[MAX_FEATURES:] = False
    return mean, (directions[keep] / spread[keep, None]).T


def _choose_classes(
    table: _FeatureTable,
    learned: Sequence[Sequence[Pair]],
    held_out: Sequence[Sequence[Pair]],
    *,
    seed: int,
) -> tuple[LatentClasses, dict[int, float]]:
    """The classes under which the held-out users are most likely, and what each number scored."""
    differences, users = table.stacked(learned)
    others = [table.differences(pairs) for pairs in held_out]
    most = max(1, len(learned) // USERS_A_CLASS)
    tried = {
        count: fit_classes(differences, users, num_classes=count, seed=seed)
        for count in NUM_CLASSES
        if count <= most
    }
    scores = {count: log_likelihood(each, others) for count, each in tried.items()}
    return tried[max(scores, key=lambda count: scores[count])], scores


def _fit_blends(
    scorer: PreferenceScorer | None,
    table: _FeatureTable,
    classes: LatentClasses,
    judges: Sequence[Sequence[Pair]],
    rng: np.random.Generator,
) -> Float[np.ndarray, "R 3"]:
    """Fit the weights for 0 to R own references on the held-out users' other pairs.

    For numbers of references that no held-out user has, the model stands alone.
    """
    if scorer is None:
        return np.array([MODEL_ALONE])
    most = scorer.config.num_references
    rows: list[list[np.ndarray]] = [[] for _ in range(most + 1)]
    nobody = scorer.prefix([])
    for pairs in judges:
        shuffled = [pairs[index] for index in rng.permutation(len(pairs))]
        for count in range(most + 1):
            references, asked = _split(shuffled, count)
            if len(references) == count and asked:
                rows[count].append(_margins(scorer, table, classes, nobody, references, asked))
    none = np.zeros((0, len(TERMS)))
    return np.stack([fit_blend(np.concatenate([none, *each])) for each in rows])


def _split(pairs: Sequence[Pair], count: int) -> tuple[list[Pair], list[Pair]]:
    """The first `count` pairs, and pairs of other images to judge by."""
    references = list(pairs[:count])
    seen = {row for pair in references for row in (pair.liked, pair.disliked)}
    asked = [p for p in pairs[count:] if not seen & {p.liked, p.disliked}]
    return references, asked[:_ASKED]


@torch.no_grad()
def _margins(
    scorer: PreferenceScorer,
    table: _FeatureTable,
    classes: LatentClasses,
    nobody: Any,
    references: Sequence[Pair],
    asked: Sequence[Pair],
) -> Float[np.ndarray, "C 3"]:
    """Liked less disliked of each pair, by `TERMS`."""
    shown = [row for pair in references for row in (pair.liked, pair.disliked)]
    own = nobody
    if references:
        own = scorer.prefix_of([pair.prompt for pair in references], table.read_tokens(shown))
    prompts = [pair.prompt for pair in asked for _ in range(2)]
    tokens = table.read_tokens([row for pair in asked for row in (pair.liked, pair.disliked)])
    columns = [table.differences(asked) @ classes.taste(table.differences(references))]
    for prefix in (own, nobody):
        margin = scorer.margins_of(prefix, prompts, tokens).numpy() / scorer.config.temperature
        columns.append(margin[0::2] - margin[1::2])
    return np.stack(columns, axis=1)
