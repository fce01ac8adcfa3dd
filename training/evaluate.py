"""How often is the liked image of a pair scored above the disliked one, and is it personal?"""

from collections.abc import Sequence
from dataclasses import dataclass

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
from training.samples import Histories, Sample, draw_sample, pack_samples, read_histories
from training.train import encode_images


@dataclass(frozen=True)
class Report:
    """What `recsys evaluate` prints.

    Attributes:
        model_version: of the scorer judged.
        num_references: references read for each user.
        top1: one liked image against one disliked, with the user's own history.
        shuffled_history: the same targets behind another user's history.
        personal: top1 less shuffled_history, paired by user.
        samples: what was asked, by user, for comparison with other predictors.
    """

    model_version: str
    num_references: int
    top1: Figure
    shuffled_history: Figure
    personal: Figure
    samples: dict[str, Sample]
    histories: Histories


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
