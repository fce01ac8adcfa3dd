"""Our scorer behind the protocol that its baselines answer to."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from recsys.history import Pair
from recsys.scorer.devices import free_memory_bytes
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.prefix import ReferenceTokens
from training.data.features import Features
from training.data.samples import Sample
from training.predictors.predictor import CandidateRow, Question, Scores, at_most

MOST_BATCH_USERS = 16
_GPU_SHARE = 1 / 4  # of free memory, for prefixes; activations need about as much again


def batch_size(scorer: PreferenceScorer, batch_users: int | None = None) -> int:
    """Decide how many users share a pass.

    Args:
        scorer: loaded, where it computes.
        batch_users: as asked, at least 1; None: one on the CPU, where more in a pass save nothing,
            and on a GPU as many of the longest prefixes as a quarter of its free memory takes, up
            to `MOST_BATCH_USERS`.
    """
    if batch_users is not None:
        return batch_users
    device = scorer.backbone.device
    if device.type == "cpu":
        return 1
    fitting = int(_GPU_SHARE * free_memory_bytes(str(device))) // max(scorer.max_prefix_bytes, 1)
    return min(max(fitting, 1), MOST_BATCH_USERS)


class ScorerPredictor:
    """M+ - M- of each candidate: the logit of Q (Eq. 2), which never saturates into a tie.

    Args:
        scorer: to be judged.
        features: image tokens of the image table.
        name: as it stands in reports.
        batch_users: users who share a pass, at least 1; for each the pass keeps a prefix.
    """

    def __init__(
        self,
        scorer: PreferenceScorer,
        features: Features,
        *,
        name: str = "ours",
        batch_users: int = 1,
    ) -> None:
        self.name = name
        self._scorer = scorer
        self._features = features
        self._batch_users = batch_users

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """As served: the references are read once, and the candidates are scored behind them."""
        (scores,) = self.scores_of([Question(user_id, references, candidates)])
        return scores

    def scores_of(self, questions: Sequence[Question]) -> list[Scores]:
        """The same of many questions, `batch_users` of them in each pass."""
        return [
            scores
            for start in range(0, len(questions), self._batch_users)
            for scores in self._pass(questions[start : start + self._batch_users])
        ]

    def _pass(self, questions: Sequence[Question]) -> list[Scores]:
        most = self._scorer.config.num_references
        read = [at_most(each.references, most) for each in questions]
        shown = [[row for pair in pairs for row in pair.in_reading_order] for pairs in read]
        asked = [[each.row for each in question.candidates] for question in questions]
        tokens = self._features([row for rows in (*shown, *asked) for row in rows])
        parts = tokens.split([len(rows) for rows in (*shown, *asked)])
        prefixes = self._scorer.prefixes_of(
            [
                ReferenceTokens(
                    [pair.prompt for pair in pairs], own, [pair.liked_first for pair in pairs]
                )
                for pairs, own in zip(read, parts, strict=False)
            ]
        )
        prompts = [[each.prompt for each in question.candidates] for question in questions]
        margins = self._scorer.margins_of_each(prefixes, prompts, parts[len(questions) :])
        return [own.numpy() for own in margins]


class Averaged:
    """The mean of a predictor's numbers over several orders of the references.

    Args:
        predictor: asked once for each order.
        num_orders: at least 1; the first is the order given.
        seed: decides the others.
    """

    def __init__(self, predictor: ScorerPredictor, *, num_orders: int, seed: int) -> None:
        self.name = f"{predictor.name}_averaged"
        self._predictor = predictor
        self._num_orders = num_orders
        self._seed = seed

    def of_pairs(self, user_id: str, sample: Sample) -> Float[np.ndarray, "O N"]:
        """The numbers of a sample's images behind every order: liked, disliked, liked, ..."""
        candidates = [
            CandidateRow(row, pair.prompt)
            for pair in sample.pairs
            for row in (pair.liked, pair.disliked)
        ]
        return self.each_order(user_id, sample.references, candidates)

    def each_order(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Float[np.ndarray, "O C"]:
        """The numbers behind every order."""
        rng = np.random.default_rng([self._seed, 10, *user_id.encode()])
        orders = [np.arange(len(references))]
        orders += [rng.permutation(len(references)) for _ in range(self._num_orders - 1)]
        turned = [[references[int(i)] for i in order] for order in orders]
        return np.stack(
            self._predictor.scores_of([Question(user_id, each, candidates) for each in turned])
        )

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """Their mean."""
        return np.asarray(self.each_order(user_id, references, candidates).mean(axis=0))
