"""What else could be a signature, all read from the same references in the same passes.

Axes: N users, B rows of a pass, P probes, K preference tokens, H heads, D hidden width, T tokens of
an image.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from recsys.history import Pair
from recsys.scorer.attention import AttentionHook, Normalisation, attention_hook, attention_scores
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.packing import SHARED, Packed
from recsys.signatures.orders import in_orders, mean_over_orders
from recsys.signatures.probes import Probes, packed_probes
from training.data.features import Features

AT_ONCE = 8
SHIPPED = "shipped"

References = Sequence[Pair]
RivalVectors = Float[np.ndarray, "N _"]
HeadAttention = Float[np.ndarray, "N layers H K"]


@dataclass(frozen=True, eq=False)
class Shown:
    """What passes showed behind N users' references, averaged over re-orderings.

    Attributes:
        scores: shape (N, P), M+ - M- of each probe.
        attention: shape (N, layers, H, K) each, averaged over the probes' tokens, by
            normalisation; empty for a scorer without preference tokens.
        last_hidden: shape (N, D), of the last reference token.
        image_difference: shape (N, T D), mean image tokens of the liked less the disliked.
    """

    scores: RivalVectors
    attention: Mapping[Normalisation, HeadAttention]
    last_hidden: RivalVectors
    image_difference: RivalVectors


def show(
    scorer: PreferenceScorer,
    users: Sequence[References],
    features: Features,
    probes: Probes,
    *,
    num_orders: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Shown:
    """Read all that rivals are made of, some users at a time.

    Args:
        scorer: frozen.
        users: each one's references, at least one user.
        features: image tokens of their rows.
        probes: everybody's.
        num_orders: re-orderings that are averaged; the first is as given.
        progress: called with the users done so far.
    """
    shown: list[Shown] = []
    for start in range(0, len(users), AT_ONCE):
        chunk = users[start : start + AT_ONCE]
        shown.append(_show_some(scorer, chunk, features, probes, num_orders))
        progress(start + len(chunk))
    kinds = shown[0].attention
    return Shown(
        np.concatenate([each.scores for each in shown]),
        {kind: np.concatenate([each.attention[kind] for each in shown]) for kind in kinds},
        np.concatenate([each.last_hidden for each in shown]),
        np.concatenate([each.image_difference for each in shown]),
    )


def raw_rivals(first: Shown, second: Shown) -> dict[str, tuple[RivalVectors, RivalVectors]]:
    """Vectors of both halves by name, as no projection has touched them.

    They are centred on the mean of all of them, which needs no labels.

    Args:
        first, second: of the two halves, paired by position.
    """
    kinds: dict[str, Normalisation] = {
        "attention_eq6": "preference",
        "attention_full": "full",
        "attention_log_ratio": "log_ratio",
    }
    raw = {
        name: (_flat(first.attention[kind]), _flat(second.attention[kind]))
        for name, kind in kinds.items()
        if kind in first.attention
    }
    raw["probe_scores"] = (first.scores, second.scores)
    raw["image_difference"] = (first.image_difference, second.image_difference)
    raw["last_hidden"] = (first.last_hidden, second.last_hidden)
    return {name: _centred(*vectors) for name, vectors in raw.items()}


def _flat(rows: Float[np.ndarray, "N *rest"]) -> RivalVectors:
    return rows.reshape(len(rows), -1)


def _centred(first: RivalVectors, second: RivalVectors) -> tuple[RivalVectors, RivalVectors]:
    mean = np.concatenate([first, second]).mean(axis=0)
    return first - mean, second - mean


@dataclass
class _Pass:
    """What hooks see of one pass.

    Attributes:
        attention: by normalisation, (B, H, K) of each layer.
        hidden: (B, K + L, D), of the last layer.
    """

    attention: dict[Normalisation, list[Tensor]] = field(default_factory=dict)
    hidden: list[Tensor] = field(default_factory=list)


@torch.no_grad()
def _show_some(
    scorer: PreferenceScorer,
    users: Sequence[References],
    features: Features,
    probes: Probes,
    num_orders: int,
) -> Shown:
    ordered = in_orders(users, num_orders)
    images = [features(_rows(each)) for each in ordered]
    prompts = [[pair.prompt for pair in each] for each in ordered]
    packed, tokens = packed_probes(scorer, prompts, torch.cat(images), probes)
    with _recorded(scorer, packed) as record:
        logits = scorer.logits(packed, tokens)
    last = scorer.config.num_preference_tokens + (packed.segments == SHARED).sum(dim=1) - 1
    hidden = record.hidden[0]
    differences = [(each[0::2].mean(dim=0) - each[1::2].mean(dim=0)).flatten() for each in images]
    return Shown(
        _mean(logits[..., 0] - logits[..., 1], num_orders),
        {
            kind: _mean(torch.stack(layers, dim=1), num_orders)
            for kind, layers in record.attention.items()
        },
        _mean(hidden[torch.arange(len(hidden)), last.to(hidden.device)], num_orders),
        # Up to a million numbers a user with a large model.
        _mean(torch.stack(differences), num_orders).astype(np.float32),
    )


def _rows(pairs: Sequence[Pair]) -> list[int]:
    return [row for pair in pairs for row in (pair.liked, pair.disliked)]


@contextmanager
def _recorded(scorer: PreferenceScorer, packed: Packed) -> Iterator[_Pass]:
    """Record a pass: three kinds of attention from the same scores, and hidden states."""
    record, count = _Pass(), scorer.config.num_preference_tokens

    def look(
        layer: int, query: Tensor, key: Tensor, mask: Tensor, scale: float
    ) -> dict[Normalisation, Tensor]:
        asking, looking = query[:, :, count:].float(), mask[:, :, count:].float()
        own = attention_scores(asking, key[:, :, :count].float(), scale)
        return {
            "preference": own.softmax(dim=-1),
            "full": _first_weights(asking, key.float(), looking, scale, count),
            "log_ratio": own - own.mean(dim=-1, keepdim=True),
        }

    def keep_attention(layer: int, kinds: dict[Normalisation, Tensor]) -> None:
        for kind, weights in kinds.items():
            record.attention.setdefault(kind, []).append(mean_over_probes(weights, packed))

    def keep_hidden(module: object, inputs: object, output: object) -> None:
        record.hidden.append(output.last_hidden_state)  # type: ignore[attr-defined]

    handle = scorer.backbone.decoder.register_forward_hook(keep_hidden)
    try:
        if count:
            with attention_hook(AttentionHook(look, keep_attention)):
                yield record
        else:
            yield record
    finally:
        handle.remove()


def mean_over_probes(weights: Float[Tensor, "B H L K"], packed: Packed) -> Float[Tensor, "B H K"]:
    """Average one layer's attention over the tokens of all probes of a row (Eq. 6).

    Args:
        weights: of each token on each preference token, any real number.
        packed: the rows, of `packed_probes`.
    """
    is_probe = (packed.segments > SHARED).to(weights)
    share = is_probe / is_probe.sum(dim=1, keepdim=True)  # (B, L)
    return torch.einsum("bhqk,bq->bhk", weights, share)


def _first_weights(query: Tensor, key: Tensor, mask: Tensor, scale: float, count: int) -> Tensor:
    """Weights of a whole softmax on its first keys.

    Attention to values of which the first are the unit vectors, so that the fast kernel, which
    forms no (q, k) matrix, gives them.
    """
    groups = query.shape[1] // key.shape[1]
    values = torch.eye(key.shape[2], max(count, query.shape[3]), device=key.device)
    weights = functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(groups, dim=1),
        values.expand(*query.shape[:2], -1, -1),
        attn_mask=mask,
        scale=scale,
    )
    return weights[..., :count]


def _mean(rows: Tensor, num_orders: int) -> np.ndarray:
    return mean_over_orders(rows.double().cpu().numpy(), num_orders)
