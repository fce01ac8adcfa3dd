"""Our scorer behind the protocol that its baselines answer to."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer
from training.data.features import Features
from training.data.samples import Sample
from training.predictors.predictor import CandidateRow, Scores, at_most


class ScorerPredictor:
    """M+ - M- of each candidate: the logit of Q (Eq. 2), which never saturates into a tie.

    Args:
        scorer: to be judged.
        features: image tokens of the image table.
        name: as it stands in reports.
    """

    def __init__(self, scorer: PreferenceScorer, features: Features, *, name: str = "ours") -> None:
        self.name = name
        self._scorer = scorer
        self._features = features

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """As served: the references are read once, and the candidates are scored behind them."""
        read = at_most(references, self._scorer.config.num_references)
        prefix = self._scorer.prefix_of(
            [pair.prompt for pair in read],
            self._features([row for pair in read for row in pair.in_reading_order]),
            liked_first=[pair.liked_first for pair in read],
        )
        prompts = [candidate.prompt for candidate in candidates]
        tokens = self._features([candidate.row for candidate in candidates])
        return self._scorer.margins_of(prefix, prompts, tokens).numpy()


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
        return np.stack(
            [
                self._predictor.scores(user_id, [references[int(i)] for i in order], candidates)
                for order in orders
            ]
        )

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """Their mean."""
        return np.asarray(self.each_order(user_id, references, candidates).mean(axis=0))
