"""Idefics2 as it was published, zero-shot on the paper's template."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit

from recsys.history import Pair
from recsys.images.preprocess import ImageGeometry
from recsys.scorer.backbone import Backbone
from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import Idefics2Backbone, load_model
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.pretrained import load_tokenizer
from recsys.scorer.template import Template, TemplateConfig
from training.baselines._weights import require_model
from training.data.features import OpenFeatures
from training.predictors.predictor import CandidateRow, Question, Scores
from training.predictors.scorer import ScorerPredictor, batch_size

# Labels in the authors' code and in ViPer's; each is one token of Idefics2's vocabulary.
LIKE, DISLIKE = "+", "-"

# Longest and shortest edge in the authors' code and in ViPer's.
GEOMETRY = ImageGeometry(shortest_px=378, longest_px=448)

NUM_REFERENCES = 8
SOURCE = "the hub's HuggingFaceM4/idefics2-8b"


class ZeroShotIdefics2:
    """Q of Eq. 2 by the published base: no adapter, no preference tokens.

    Args:
        scorer: with no preference tokens.
        features: image tokens by row, as a scorer makes them.
    """

    def __init__(self, scorer: PreferenceScorer, features: OpenFeatures) -> None:
        self.name = "idefics2"
        self._predictor = ScorerPredictor(
            scorer, features(scorer), name=self.name, batch_users=batch_size(scorer)
        )

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """Q of each candidate, in [0, 1], behind the newest 8 references."""
        (scores,) = self.scores_of([Question(user_id, references, candidates)])
        return scores

    def scores_of(self, questions: Sequence[Question]) -> list[Scores]:
        """The same of many questions, as many users in a pass as `batch_size` decides."""
        return [np.asarray(expit(each)) for each in self._predictor.scores_of(questions)]


def load_idefics2(
    folder: Path,
    *,
    features: OpenFeatures,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    geometry: ImageGeometry = GEOMETRY,
) -> ZeroShotIdefics2:
    """Read the published base.

    Args:
        folder: a copy of HuggingFaceM4/idefics2-8b.
        features: image tokens by row, as a scorer makes them.
        device: where the model goes.
        dtype: what the base is held and computes in.
        geometry: how images are resized.

    Raises:
        WeightsMissing: naming the files that are not there.
        CheckpointRefused: if a file is damaged or of another architecture.
    """
    require_idefics2(folder)
    backbone = Idefics2Backbone(load_model(folder, dtype=dtype, device=device))
    return ZeroShotIdefics2(bare_scorer(backbone, folder, geometry=geometry), features)


def require_idefics2(folder: Path) -> None:
    """Check that the base's files are there.

    Raises:
        WeightsMissing: naming those that are not.
    """
    require_model(folder, ["tokenizer.json"], source=SOURCE)


def bare_scorer(backbone: Backbone, folder: Path, *, geometry: ImageGeometry) -> PreferenceScorer:
    """A scorer without preference tokens, whose labels are those of the authors' code.

    Args:
        backbone: the base, with or without an adapter.
        folder: of the base, for its tokenizer.
        geometry: how images are resized.
    """
    template = Template(
        load_tokenizer(folder),
        TemplateConfig(like=LIKE, dislike=DISLIKE),
        image=backbone.image_markup,
    )
    config = ScorerConfig(num_references=NUM_REFERENCES, num_preference_tokens=0)
    scorer = PreferenceScorer(backbone, template, geometry=geometry, config=config)
    return scorer.eval().requires_grad_(False)
