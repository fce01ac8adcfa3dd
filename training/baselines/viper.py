"""ViPer's proxy for a person: Idefics2 with an adapter that reads liked and disliked images.

Salehi et al., 2024. Personal as our scorer is, but blind to prompts and with its own template.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from recsys.history import Pair
from recsys.images.preprocess import ImageGeometry
from recsys.scorer.adapter import ADAPTER_FILES, load_adapter
from recsys.scorer.idefics2 import (
    END_TOKEN,
    FENCE_TOKEN,
    IMAGE_TOKEN,
    Idefics2Backbone,
    load_model,
)
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.packing import Packed, Tokens, pack
from recsys.scorer.pretrained import load_tokenizer
from recsys.scorer.template import Tokenizer
from training.baselines._weights import require
from training.baselines.idefics2 import (
    DISLIKE,
    GEOMETRY,
    LIKE,
    bare_scorer,
    require_idefics2,
)
from training.data.features import OpenFeatures
from training.predictors.predictor import CandidateRow, Scores, at_most

_QUESTION = f"User:{IMAGE_TOKEN}Score for this image?{END_TOKEN}\nAssistant: "


class ViperProxy:
    """Softmax of the two labels' logits behind what the user disliked and liked.

    Args:
        scorer: Idefics2 with ViPer's adapter, without preference tokens.
        tokenizer: of the base.
        features: image tokens by row, as a scorer makes them.
    """

    def __init__(
        self, scorer: PreferenceScorer, tokenizer: Tokenizer, *, features: OpenFeatures
    ) -> None:
        self.name = "viper"
        self._scorer = scorer
        self._tokenizer = tokenizer
        self._features = features(scorer)

    @torch.no_grad()
    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """Q of each candidate, in [0, 1], behind the newest 8 references; prompts are not read."""
        config = self._scorer.config
        read = at_most(references, config.num_references)
        context = [row for pair in read for row in (pair.disliked, pair.liked)]
        margins = [np.zeros(0)]
        for start in range(0, len(candidates), config.max_packed_candidates):
            chunk = candidates[start : start + config.max_packed_candidates]
            packed = self._packed(len(read), len(chunk))
            rows = [*context, *(candidate.row for candidate in chunk)]
            logits: Tensor = self._scorer.logits(packed, self._features(rows))[0].double()
            margins.append((logits[:, 0] - logits[:, 1]).cpu().numpy())
        return np.asarray(expit(np.concatenate(margins)))

    def _packed(self, num_references: int, num_candidates: int) -> Packed:
        """ViPer scores one image a call; here many are packed behind one context."""
        text = "".join(
            _QUESTION + f"{label}{END_TOKEN}\n" for label in (DISLIKE, LIKE) * num_references
        )
        tokens = self._tokens(text + _QUESTION)
        # All but the last image is shared; the text is tokenised in one piece, as ViPer does.
        asked = _last_image_at(tokens)
        prefix = Tokens(tokens.ids[:asked], tokens.is_image[:asked])
        query = Tokens(tokens.ids[asked:], tokens.is_image[asked:])
        return pack([prefix], [[query] * num_candidates])

    def _tokens(self, text: str) -> Tokens:
        """Each `<image>` becomes the tokens of one image between two fences, as in Idefics2."""
        num = self._scorer.backbone.num_image_tokens
        text = text.replace(IMAGE_TOKEN, f"{FENCE_TOKEN}{IMAGE_TOKEN * num}{FENCE_TOKEN}")
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        begin = self._tokenizer.bos_token_id
        ids = ids if begin is None else [begin, *ids]
        image = self._tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        return Tokens(tuple(ids), tuple(token == image for token in ids))


def _last_image_at(tokens: Tokens) -> int:
    """Where the fence before the last image stands."""
    last = max(place for place, is_image in enumerate(tokens.is_image) if is_image)
    while tokens.is_image[last]:
        last -= 1
    return last


def load_viper(
    folder: Path,
    *,
    features: OpenFeatures,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    base: Path | None = None,
    geometry: ImageGeometry = GEOMETRY,
) -> ViperProxy:
    """Read the published adapter and put it on the published base.

    Args:
        folder: a copy of EPFL-VILAB/Metric-ViPer.
        features: image tokens by row, as a scorer makes them.
        device: where the model goes.
        dtype: what the base is held and computes in.
        base: a copy of HuggingFaceM4/idefics2-8b; the folder `idefics2` beside `folder` by default,
            which the zero-shot base is read from too.
        geometry: how images are resized.

    Raises:
        WeightsMissing: naming the files that are not there.
        CheckpointRefused: if a file is damaged, or the adapter is none for this base.
    """
    base = folder.parent / "idefics2" if base is None else base
    require(folder, ADAPTER_FILES, source="the hub's EPFL-VILAB/Metric-ViPer")
    require_idefics2(base)
    model = load_model(base, dtype=dtype, device=device)
    with warnings.catch_warnings():
        # Weights that an adapter lacks, peft initialises at random with no more than a warning.
        warnings.filterwarnings("error", "Found missing adapter keys")
        adapted = load_adapter(model, folder)
    scorer = bare_scorer(Idefics2Backbone(adapted.eval()), base, geometry=geometry)
    return ViperProxy(scorer, load_tokenizer(base), features=features)
