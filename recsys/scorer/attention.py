"""Attention from input tokens to the preference tokens, layer by layer (paper, Eq. 6).

Read from the queries and keys of an ordinary pass, so the model keeps its fast attention and only
the asked tokens' weights are ever formed. Differentiable, for objectives on the attention.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Normalisation = Literal["preference", "full", "log_ratio"]


@dataclass(frozen=True)
class AttentionHook:
    """What is shown queries and keys, in two halves.

    A layer whose activations are computed again in the backward pass is looked at again, by the
    same operations, but nothing is kept of it: what is kept would hold on to these activations.

    Attributes:
        look: of layer, query (B,H,q,d), key (B,G,k,d), mask (B,1,q,k) and scale; pure.
        keep: takes the layer and what `look` returned.
    """

    look: Callable[[int, Tensor, Tensor, Tensor, float], Any]
    keep: Callable[[int, Any], None]


_hook: ContextVar[AttentionHook | None] = ContextVar("recsys_attention_hook", default=None)


@contextmanager
def attention_hook(hook: AttentionHook | None) -> Iterator[None]:
    """Let `hook`, or nobody, see queries and keys of every decoder layer in the context."""
    token = _hook.set(hook)
    try:
        yield
    finally:
        _hook.reset(token)


def carry_hook() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a layer's pass and of its recomputation, for `torch.utils.checkpoint`.

    By the time of the backward pass the hook's own context is closed, and on a GPU another thread
    computes; the recomputation has to do the same operations all the same.
    """
    hook = _hook.get()
    again = None if hook is None else replace(hook, keep=lambda layer, seen: None)
    return nullcontext(), attention_hook(again)


def show(layer: int, query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> None:
    """Let the open hook, if any, see a decoder layer; each backbone's attention calls this.

    Args:
        layer: from 0.
        query: (B, H, q, d), rotated to its positions.
        key: (B, G, k, d), likewise, those of the prefix included.
        mask: (B, 1, q, k), additive.
        scale: of the dot products.
    """
    hook = _hook.get()
    if hook is not None:
        assert mask is not None
        assert scale is not None
        hook.keep(layer, hook.look(layer, query, key, mask, scale))


class AttentionRecord:
    """What one pass showed, by layer.

    Attributes:
        layers: for each decoder layer (B, H, q, K): weight of each of q queries on each of K
            preference tokens.
    """

    def __init__(self) -> None:
        self.layers: list[Tensor] = []

    def stacked(self) -> Float[Tensor, "layers B H q K"]:
        """All layers in one tensor."""
        return torch.stack(self.layers)


@contextmanager
def record_preference_attention(
    num_preference_tokens: int,
    *,
    normalisation: Normalisation = "preference",
    queries: Int[Tensor, "B P"] | None = None,
) -> Iterator[AttentionRecord]:
    """Record the decoder's passes inside the context; the record holds the latest of them.

    Args:
        num_preference_tokens: K; P_v are the first K keys.
        normalisation: "preference" is Eq. 6 as printed, a softmax over the K tokens alone, so a
            query's weights sum to 1; "full" is the weight of the model's own softmax over all
            keys, sliced to the K, so they sum to at most 1; "log_ratio" is the logarithm of
            "preference" less its mean over the K tokens, so that it sums to 0 (centred log-ratio;
            Aitchison, 1982): averages of it still differ where the softmax has saturated.
        queries: places in each row, P_v counted, of the P queries that are recorded; None: all.

    Yields:
        The record, filled as passes run.

    Raises:
        ValueError: if there are no preference tokens to attend to.
    """
    if num_preference_tokens < 1:
        raise ValueError(
            f"there must be preference tokens to attend to, got {num_preference_tokens}: "
            "use a scorer with at least one"
        )
    record = AttentionRecord()

    def look(layer: int, query: Tensor, key: Tensor, mask: Tensor, scale: float) -> Tensor:
        if queries is not None:
            places = queries.to(query.device)[:, None, :, None]
            query, mask = (each.take_along_dim(places, dim=2) for each in (query, mask))
        keys = key if normalisation == "full" else key[:, :, :num_preference_tokens]
        scores = attention_scores(query, keys, scale).float()
        if normalisation == "log_ratio":  # no mask: every token sees P_v, but for the first K
            return scores - scores.mean(dim=-1, keepdim=True)
        weights = (scores + mask[..., : keys.shape[2]]).softmax(dim=-1)
        return weights[..., :num_preference_tokens]

    def keep(layer: int, weights: Tensor) -> None:
        if layer == 0:
            record.layers.clear()
        record.layers.append(weights)

    with attention_hook(AttentionHook(look, keep)):
        yield record


def attention_scores(
    query: Float[Tensor, "B H q d"], key: Float[Tensor, "B G k d"], scale: float
) -> Float[Tensor, "B H q k"]:
    """Scaled dot products where each of G key heads serves H / G query heads in a row.

    The query is scaled, and not the product, which could be beyond the range of float16.
    """
    batch, heads, num_queries, width = query.shape
    groups = key.shape[1]
    grouped = query.reshape(batch, groups, heads // groups * num_queries, width)
    return (grouped * scale @ key.transpose(2, 3)).reshape(batch, heads, num_queries, -1)
