"""How often is the liked image of a pair scored above the disliked one, and is it personal?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from torch import Tensor

from recsys.scorer.model import PreferenceScorer, preference_score
from storage.histories import HistoryStore
from training.metrics import Figure, accuracy, over_users
from training.samples import Histories, Pair, Sample, draw_sample, pack_samples, read_histories
from training.tastes import posterior
from training.train import encode_images
from training.truth import WorldTruth

NUM_POSTERIOR_SAMPLES = 20_000
Attributes = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Report:
    """What `recsys evaluate` prints.

    Attributes:
        model_version: of the scorer judged.
        num_references: references read for each user.
        top1: one liked image against one disliked, with the user's own history.
        shuffled_history: the same targets behind another user's history.
        personal: top1 less shuffled_history, paired by user.
        own: top1 of each user, in the order of `samples`.
        samples: what was asked, by user, for comparison with other predictors.
        histories: what the samples' rows stand for.
    """

    model_version: str
    num_references: int
    top1: Figure
    shuffled_history: Figure
    personal: Figure
    own: tuple[float, ...]
    samples: dict[str, Sample]
    histories: Histories

    @property
    def figures(self) -> dict[str, Figure]:
        """What is printed, by name."""
        return {
            "top1": self.top1,
            "shuffled_history": self.shuffled_history,
            "personal": self.personal,
        }


def world_bounds(report: Report, truth: WorldTruth, *, seed: int = 0) -> dict[str, Figure]:
    """What others would get on the very same pairs of a synthetic world.

    `world.known_taste` knows each taste, `world.best_possible` the population and the same
    references (posterior over users), `world.average_taste` the population alone;
    `world.gap_closed` = (top1 - average taste) / (best possible - average taste).

    Args:
        report: of users of this world.
        truth: their tastes and the images' attributes.
        seed: of the posterior's samples.
    """
    rng = np.random.default_rng([seed, 6])
    rights: dict[str, list[float]] = {"known_taste": [], "best_possible": [], "average_taste": []}
    for user, sample in report.samples.items():
        attributes = _attributes(report.histories, truth, sample)
        known = posterior(
            *attributes.references, truth.population, num_samples=NUM_POSTERIOR_SAMPLES, rng=rng
        )
        tastes = {
            "known_taste": truth.taste(user),
            "best_possible": known.weights @ known.tastes,
            "average_taste": truth.population.average_taste,
        }
        liked, disliked = attributes.targets
        for name, taste in tastes.items():
            rights[name].append(accuracy(((liked - disliked) @ taste).astype(np.float64)))
    n_pairs = report.top1.n_pairs
    bounds = {
        f"world.{name}": over_users(values, n_pairs=n_pairs) for name, values in rights.items()
    }
    closed = gap_closed(report.own, rights["average_taste"], rights["best_possible"])
    return bounds | {"world.gap_closed": replace(closed, n_pairs=n_pairs)}


def gap_closed(
    own: Sequence[float], average: Sequence[float], best: Sequence[float], *, seed: int = 0
) -> Figure:
    """(own - average) / (best - average) of the means over users, with its interval.

    Args:
        own, average, best: accuracy by user, paired by position.
        seed: of the bootstrap over users.
    """
    values = np.array([own, average, best])
    rng = np.random.default_rng(seed)
    drawn = values[:, rng.integers(0, values.shape[1], (2000, values.shape[1]))].mean(axis=2)
    mean = values.mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may leave no gap to close
        share = (drawn[0] - drawn[1]) / (drawn[2] - drawn[1])
        value = (mean[0] - mean[1]) / (mean[2] - mean[1])
    finite = share[np.isfinite(share)]
    low, high = np.quantile(finite, [0.025, 0.975]) if finite.size else (np.nan, np.nan)
    return Figure(float(value), float(low), float(high), len(own), 0)


@dataclass(frozen=True)
class _PairAttributes:
    """Attributes of liked and disliked images, each (N, A)."""

    references: tuple[Attributes, Attributes]
    targets: tuple[Attributes, Attributes]


def _attributes(histories: Histories, truth: WorldTruth, sample: Sample) -> _PairAttributes:
    def of(rows: Sequence[int]) -> Attributes:
        return truth.attributes_of([histories.images[row] for row in rows])

    def both(pairs: Sequence[Pair]) -> tuple[Attributes, Attributes]:
        return of([pair.liked for pair in pairs]), of([pair.disliked for pair in pairs])

    return _PairAttributes(both(sample.references), both(sample.targets))


def evaluate(
    scorer: PreferenceScorer,
    store: HistoryStore,
    *,
    console: Console,
    num_users: int | None = None,
    num_targets: int = 8,
    seed: int = 0,
) -> Report:
    """Judge a scorer on users in storage; none of them may have been trained on.

    Args:
        scorer: to be judged.
        store: the users' choices.
        console: where progress is shown.
        num_users: so many users, drawn by the seed; all by default.
        num_targets: target pairs asked of each user.
        seed: decides users, references, targets and whose history stands in.

    Raises:
        ValueError: if fewer than two users have enough pairs.
    """
    rng = np.random.default_rng([seed, 5])
    histories = read_histories(store)
    count = scorer.config.num_references
    samples = draw_users(histories, rng, num_references=count, num_targets=num_targets)
    users = list(samples) if num_users is None else list(samples)[:num_users]
    if len(users) < 2:
        raise ValueError(
            f"at least two users must have {count} references and a target, got {len(users)}: "
            "import more choices"
        )
    features = encode_images(scorer, store, histories.images, console=console)
    strangers = {user: samples[other].references for user, other in _strangers(users, rng).items()}
    own, other = [], []
    for user in track(users, "scoring users", console=console):
        both = [samples[user], Sample(strangers[user], samples[user].targets)]
        margins = pair_margins(scorer, both, features)
        own.append(accuracy(margins[0]))
        other.append(accuracy(margins[1]))
    n_pairs = sum(len(samples[user].targets) for user in users)
    difference = [a - b for a, b in zip(own, other, strict=True)]
    return Report(
        model_version=scorer.model_version,
        num_references=count,
        top1=over_users(own, n_pairs=n_pairs),
        shuffled_history=over_users(other, n_pairs=n_pairs),
        personal=over_users(difference, n_pairs=n_pairs),
        own=tuple(own),
        samples={user: samples[user] for user in users},
        histories=histories,
    )


def draw_users(
    histories: Histories, rng: np.random.Generator, *, num_references: int, num_targets: int
) -> dict[str, Sample]:
    """A sample of each user who has all references and at least one target, in random order."""
    users = sorted(histories.pairs)
    samples = {
        users[index]: draw_sample(
            histories.pairs[users[index]],
            rng,
            num_references=num_references,
            num_targets=num_targets,
        )
        for index in rng.permutation(len(users))
    }
    return {
        user: sample
        for user, sample in samples.items()
        if len(sample.references) == num_references and sample.targets
    }


@torch.no_grad()
def pair_margins(
    scorer: PreferenceScorer, samples: Sequence[Sample], features: Float[Tensor, "N T D"]
) -> list[npt.NDArray[np.float64]]:
    """Q of each liked target less Q of its disliked twin, by sample."""
    packed, order = pack_samples(
        scorer.template, samples, num_preference_tokens=scorer.config.num_preference_tokens
    )
    scores = preference_score(scorer.logits(packed, features[order])).double().cpu().numpy()
    return [
        row[0 : 2 * len(sample.targets) : 2] - row[1 : 2 * len(sample.targets) : 2]
        for row, sample in zip(scores, samples, strict=True)
    ]


def _strangers(users: Sequence[str], rng: np.random.Generator) -> dict[str, str]:
    """For each user another one, at random; nobody stands in for themselves."""
    order = [users[index] for index in rng.permutation(len(users))]
    return dict(zip(order, [*order[1:], order[0]], strict=True))
