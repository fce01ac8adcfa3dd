"""Learn from some people and prompts, judge on others, until everybody was judged once.

For few people (a rating study has dozens), where one split would say nothing. Users and prompts
are each dealt into folds; for each pair of folds a copy of the checkpoint is fine-tuned without
either, and asked about that fold's users on that fold's prompts. References are selected as served
(`recsys.history.select`) from what each user chose on other prompts, earlier or later.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recsys.history import Pair, select
from training.data.samples import PairTable, Sample
from training.evaluation.answers import (
    Compared,
    Margins,
    difference,
    margins,
    opposed_accuracy,
    pair_scores,
    top1,
)
from training.evaluation.questions import Opposed, find_opposed
from training.predictors.predictor import Predictor


@dataclass(frozen=True, eq=False)
class Fold:
    """One round: what may be learned from, and what is asked.

    Attributes:
        learned: pairs of the other users on the other prompts.
        known: those, and the asked users' references.
        samples: the asked users' pairs on the fold's prompts, behind their references.
        opposed: pairs among the samples on which two of the fold's users disagree.
    """

    learned: PairTable
    known: PairTable
    samples: dict[str, Sample]
    opposed: list[Opposed]


def deal_folds(
    table: PairTable,
    *,
    num_user_folds: int,
    num_prompt_folds: int,
    num_references: int,
    seed: int = 0,
) -> list[Fold]:
    """Every pairing of a fold of users with a fold of prompts, in a fixed order.

    Args:
        table: all pairs.
        num_user_folds, num_prompt_folds: at least 2 each.
        num_references: read for each user, at most.
        seed: deals.

    Raises:
        ValueError: if there are fewer users or prompts than folds, or fewer than two folds.
    """
    prompts = sorted({pair.prompt for pairs in table.pairs.values() for pair in pairs})
    user_folds = _deal(sorted(table.pairs), num_user_folds, seed, what="users")
    prompt_folds = _deal(prompts, num_prompt_folds, seed + 1, what="prompts")
    return [
        _fold(table, set(users), set(asked), num_references, seed)
        for users in user_folds
        for asked in prompt_folds
    ]


def cross_validate(
    folds: Sequence[Fold],
    learn: Callable[[int, Fold], Sequence[Predictor]],
    *,
    compared_with: str,
    seed: int = 0,
) -> dict[str, Compared]:
    """Judge what is learned on each fold, and pool the answers over users.

    Args:
        folds: of `deal_folds`.
        learn: given a fold and its number, the predictors to be judged.
        compared_with: name of the predictor whose differences to the others are returned.
        seed: of the bootstrap over users.

    Returns:
        By predictor, itself beside the one that is compared with.
    """
    pooled: dict[str, dict[str, list[npt.NDArray[np.float64]]]] = {}
    opposed: list[Opposed] = []
    for number, fold in enumerate(folds):
        opposed += fold.opposed
        for predictor in learn(number, fold):
            answers = margins(pair_scores(predictor, fold.samples))
            own = pooled.setdefault(predictor.name, {})
            for user, values in answers.items():
                own.setdefault(user, []).append(values)
    samples = _pool_samples(folds)
    joined = {
        name: {user: np.concatenate(parts) for user, parts in own.items()}
        for name, own in pooled.items()
    }
    return {
        name: _figures(own, joined[compared_with], opposed, samples, seed=seed)
        for name, own in joined.items()
    }


def _figures(
    own: Margins,
    ours: Margins,
    opposed: Sequence[Opposed],
    samples: Mapping[str, Sample],
    *,
    seed: int,
) -> Compared:
    right = opposed_accuracy(opposed, samples, own, seed=seed) if opposed else None
    return Compared(top1(own), difference(ours, own), right)


def _fold(
    table: PairTable, users: set[str], prompts: set[str], num_references: int, seed: int
) -> Fold:
    learned = {
        user: tuple(pair for pair in pairs if pair.prompt not in prompts)
        for user, pairs in table.pairs.items()
        if user not in users
    }
    samples = {}
    for user in sorted(users):
        asked = [pair for pair in table.pairs[user] if pair.prompt in prompts]
        others = [pair for pair in table.pairs[user] if pair.prompt not in prompts]
        references = select(others, num_references)
        if asked and references:
            samples[user] = Sample(references, tuple(asked))
    asked_pairs = replace(table, pairs={u: s.pairs for u, s in samples.items()})
    return Fold(
        learned=replace(table, pairs=learned),
        known=replace(table, pairs=learned | {u: s.references for u, s in samples.items()}),
        samples=samples,
        opposed=find_opposed(asked_pairs, list(samples), seed=seed, most_a_user=10**9),
    )


def _pool_samples(folds: Sequence[Fold]) -> dict[str, Sample]:
    """Each user's asked pairs of all folds, in the order in which they were asked."""
    asked: dict[str, tuple[Pair, ...]] = {}
    for fold in folds:
        for user, sample in fold.samples.items():
            asked[user] = asked.get(user, ()) + sample.pairs
    return {user: Sample((), pairs) for user, pairs in asked.items()}


def _deal(names: Sequence[str], count: int, seed: int, *, what: str) -> list[list[str]]:
    if count < 2 or len(names) < count:
        raise ValueError(
            f"{what} must fill at least two folds, got {len(names)} for {count}: "
            "ask for fewer folds or import more"
        )
    order = np.random.default_rng([seed, 12]).permutation(len(names))
    return [[names[index] for index in order[start::count]] for start in range(count)]
