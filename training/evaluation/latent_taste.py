"""A person's latent taste beside their signature, joined when neighbours are searched.

Cold start's classes know a person's taste from what everybody chose. They are fitted anew from week
to week, so that nothing of theirs is in a stored signature: the taste is a second vector, which has
a meaning within one fit.

Axes: N users, E signature, F features of the classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from recsys.coldstart.fit import ENOUGH_USERS, fit_cold_start
from recsys.coldstart.population import ColdStart
from training.data.features import Features
from training.data.samples import PairTable
from training.evaluation.history_cuts import Cut, Pairs, cut_histories
from training.evaluation.retrieval import reciprocal_ranks, unit
from training.evaluation.signature_figures import NotMeasured
from training.evaluation.signature_judge import Both, SignatureJudge

WEIGHTS = (0.0, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
CHOOSERS = 1 / 3
FEWEST_CHOOSERS = 20
MOST_CHOOSERS = 400


@dataclass(frozen=True, eq=False)
class LatentTaste:
    """What is joined to signatures, learned from people who are not judged.

    Attributes:
        cold_start: its classes tell of a taste.
        weight: the length of a taste's vector beside a signature of length 1.
        num_lenders: people whom the classes were learned from.
        num_choosers: others, who decided the weight.
    """

    cold_start: ColdStart
    weight: float
    num_lenders: int
    num_choosers: int

    @property
    def dimension(self) -> int:
        """F: so many numbers are a person's taste."""
        return int(self.cold_start.classes.tastes.shape[1])

    def vectors(self, judge: SignatureJudge, shipped: Both) -> tuple[Both, Both]:
        """Of both halves of the judged users: the tastes, and the signatures with them.

        Args:
            judge: of the users.
            shipped: their signatures.
        """
        judge.progress("latent taste: judged users")
        halves = zip(*((cut.first, cut.second) for cut in judge.cuts.values()), strict=True)
        first, second = (tastes_of(self.cold_start, each, judge.features) for each in halves)
        both = joined(shipped[0], first, self.weight), joined(shipped[1], second, self.weight)
        return (first, second), both


def learn_latent_taste(
    judge: SignatureJudge,
    table: PairTable,
    others: Mapping[str, Pairs],
    *,
    may_choose: Sequence[bool] | None,
    seed: int,
) -> LatentTaste | NotMeasured:
    """Learn classes from some people, and choose the weight on others.

    A third, at most `MOST_CHOOSERS`, choose. Their choices are kept from the classes, which would
    know them too well.

    Args:
        judge: reads signatures.
        table: all pairs.
        others: of everybody who is not judged, the pairs that cold start reads.
        may_choose: of each of these, whether the model did not learn from them: it knows the others
            too well. None, or fewer than `FEWEST_CHOOSERS` who may: everybody may.
        seed: of halves and classes.
    """
    cuts = _choosers(judge, table, others, may_choose, seed=seed)
    if len(others) < ENOUGH_USERS or len(cuts) < FEWEST_CHOOSERS:
        return NotMeasured(
            f"the classes of taste need at least {ENOUGH_USERS} people who are not judged, and"
            f" {FEWEST_CHOOSERS} of them with four choices that pass something over, got"
            f" {len(others)} and {len(cuts)}"
        )
    lenders = [pairs for user, pairs in others.items() if user not in cuts]
    judge.progress(f"latent taste: classes of {len(lenders)} people")
    cold_start, _ = fit_cold_start(None, lenders, judge.features, seed=seed)
    halves = [[getattr(cut, name) for cut in cuts.values()] for name in ("first", "second")]
    signatures = [judge.signatures(users, "of people who choose the weight") for users in halves]
    tastes = [tastes_of(cold_start, users, judge.features) for users in halves]
    weight = best_weight((signatures[0], signatures[1]), (tastes[0], tastes[1]))
    return LatentTaste(cold_start, weight, len(lenders), len(cuts))


def tastes_of(
    cold_start: ColdStart, users: Sequence[Pairs], features: Features
) -> Float[np.ndarray, "N F"]:
    """The mean taste of the classes that each user may belong to, as the blend has it.

    Args:
        cold_start: of other people.
        users: the references of each.
        features: image tokens of their rows.
    """
    rows = [[row for pair in pairs for row in (pair.liked, pair.disliked)] for pairs in users]
    return np.stack(
        [cold_start.belonging(features(each)) @ cold_start.classes.tastes for each in rows]
    )


def joined(
    signatures: Float[np.ndarray, "N E"], tastes: Float[np.ndarray, "N F"], weight: float
) -> Float[np.ndarray, "N _"]:
    """Signatures and tastes side by side, for one search.

    The cosine of two is (c_s + w^2 c_t) / (1 + w^2), of the cosines of signatures and of tastes.

    Args:
        signatures: of any length.
        tastes: of any length, paired by position.
        weight: w, at least 0.
    """
    return np.concatenate([unit(signatures), weight * unit(tastes)], axis=1)


def best_weight(signatures: Both, tastes: Both) -> float:
    """The weight of `WEIGHTS` by which halves of histories find each other best.

    By the mean logarithm of the other half's rank, in which each user counts alike: the mean
    reciprocal rank depends on the few who come first.

    Args:
        signatures: of both halves of some users' histories, paired by position.
        tastes: likewise.
    """

    def found(weight: float) -> float:
        first, second = (
            joined(own, taste, weight) for own, taste in zip(signatures, tastes, strict=True)
        )
        ranks = np.concatenate([reciprocal_ranks(first, second), reciprocal_ranks(second, first)])
        return float(np.log(ranks).mean())

    return max(WEIGHTS, key=found)


def _choosers(
    judge: SignatureJudge,
    table: PairTable,
    others: Mapping[str, Pairs],
    may_choose: Sequence[bool] | None,
    *,
    seed: int,
) -> dict[str, Cut]:
    """Halves of those who choose the weight, no longer than of those who are judged.

    They are fewer than are needed where there are no more.
    """
    able = [user for user, may in zip(others, may_choose or (), strict=False) if may]
    wanted = min(MOST_CHOOSERS, int(CHOOSERS * len(others)))
    most = max(len(cut.first) for cut in judge.cuts.values())
    cuts = dict[str, Cut]()
    for users in (able, list(others)):
        whole = cut_histories(table, users, num_references=most, seed=seed)
        cuts = dict(list(whole.items())[:wanted])
        if len(cuts) >= FEWEST_CHOOSERS:
            break
    return cuts
