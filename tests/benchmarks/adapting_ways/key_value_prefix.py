"""A low-rank prefix of keys and values in each decoder layer, at the places of P_v.

Prefix-tuning (Li & Liang, 2021) learns keys and values of every layer where preference tokens learn
the inputs of the first one alone. Here they are terms of low rank, added to the keys (before their
rotation) and values that P_v have in a layer. So the prefix begins as the scorer is, and is kept
with a user's cached prefix.

Axes: B users, q tokens of a row, K preference tokens, W width of all keys of a layer, r rank.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recsys.scorer.model import PreferenceScorer


class KeyValuePrefix(nn.Module):
    """Terms of keys and values; those of layer l are A_l B_l.

    Attributes:
        left: A, shape (layers, K, r), random at first.
        right: B, shape (layers, 2, r, W), of keys and of values; zero at first.

    Args:
        scorer: whose decoder adds the terms in each pass from now on.
        rank: r, at least 1.
    """

    def __init__(self, scorer: PreferenceScorer, *, rank: int) -> None:
        super().__init__()
        backbone, num_tokens = scorer.backbone, scorer.config.num_preference_tokens
        projections = [
            (layer.self_attn.k_proj, layer.self_attn.v_proj) for layer in backbone.layers
        ]
        shape, width = (len(projections), num_tokens, rank), projections[0][0].out_features
        self.left = nn.Parameter(torch.randn(shape, device=backbone.device) / rank**0.5)
        zeros = torch.zeros(len(projections), 2, rank, width, device=backbone.device)
        self.right = nn.Parameter(zeros)
        self._positions = torch.zeros(1, 0, dtype=torch.long)
        backbone.decoder.register_forward_pre_hook(self._begin, with_kwargs=True)
        for layer, both in enumerate(projections):
            for part, projection in enumerate(both):
                projection.register_forward_hook(partial(self._add, layer, part))

    def _begin(self, decoder: nn.Module, args: Any, keywords: Mapping[str, Any]) -> None:
        self._positions = keywords["position_ids"]

    def _add(
        self, layer: int, part: int, projection: nn.Module, args: Any, output: Tensor
    ) -> Float[Tensor, "B q W"]:
        """Add the terms where P_v stand: nowhere in a pass that continues a cached prefix.

        Padding stands at position 0, too; what it gets, nobody looks at.
        """
        terms = self.left[layer] @ self.right[layer, part]  # (K, W)
        is_preference = self._positions < len(terms)  # (B, q)
        added = terms[self._positions.clamp(max=len(terms) - 1)]  # (B, q, W)
        return output + (added * is_preference[..., None]).to(output.dtype)
