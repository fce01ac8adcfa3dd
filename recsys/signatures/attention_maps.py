"""How images attend to the preference tokens behind a user's references (paper, Fig. 3).

Read as signatures are: where the image's score is read, as a log-ratio, head by head. The paper's
own way, a softmax averaged over the image's tokens, stays beside it, to be compared.

How far P_v are from an image depends on how many tokens the references take, and rotary positions
turn attention by that, whoever the person is. What the person's choices change is left when the map
behind the same references with their choices exchanged is taken off: as many tokens, the same
images and words.

Axes: O orders of the references, R references, C images that attend (candidates), A heads,
K preference tokens, T tokens of an image, D hidden width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recsys.scorer.attention import record_preference_attention
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from recsys.signatures.definition import Head
from recsys.signatures.files import named_heads
from recsys.signatures.orders import reorderings
from recsys.signatures.probes import Probes, all_heads, packed_probes, read_packed

NUM_ORDERS = 5

MapReading = Literal["log_ratio", "printed"]
"""How a map is read: "log_ratio" where the score is read, a centred log-ratio for each head;
"printed" as Eq. 6 has it, a softmax over the K tokens, averaged over the image's tokens, heads and
layers: one row that sums to 1."""
MAP_READINGS: tuple[MapReading, ...] = get_args(MapReading)


def heads_of_maps(scorer: PreferenceScorer, checkpoint: Path) -> tuple[Head, ...]:
    """Whose attention maps show: the heads that the checkpoint's signatures name, or the last
    layer's where they name none.

    Args:
        scorer: loaded from the checkpoint.
        checkpoint: its folder.

    Raises:
        CheckpointRefused: if the checkpoint's signature part is damaged.
    """
    last = scorer.backbone.num_layers - 1
    named = sorted(named_heads(checkpoint))
    return tuple(named) or tuple(head for head in all_heads(scorer) if head[0] == last)


def attention_maps(
    scorer: PreferenceScorer,
    references: Sequence[Reference],
    candidate: CandidateImage,
    *,
    heads: Sequence[Head],
    reading: MapReading = "log_ratio",
    of_choices: bool = True,
    num_orders: int = NUM_ORDERS,
    seed: int = 0,
) -> Float[np.ndarray, "O A K"]:
    """How a candidate attends to the preference tokens, for re-orderings of a user's references.

    Args:
        scorer: with at least one preference token.
        references: oldest first; none for a new user.
        candidate: the image that attends.
        heads: whose attention is read as a log-ratio, at least one.
        reading: as a log-ratio, or as printed.
        of_choices: what the choices change (`choice_effects`), or else the attention as it is.
        num_orders: at least 1; the first is as given.
        seed: decides the others.

    Raises:
        ValueError: if the scorer has no preference tokens, or `num_orders` is less than 1.
    """
    images = [image for each in references for image in (each.liked, each.disliked)]
    with torch.no_grad():
        features = scorer.image_features([*images, candidate.image])
        read = choice_effects if of_choices else ordered_attention
        maps = read(
            scorer,
            features[:-1],
            Probes((candidate.prompt,), features[-1:]),
            prompts=[each.prompt for each in references],
            orders=reorderings(len(references), num_orders=num_orders, seed=seed),
            heads=heads,
            reading=reading,
        )
    return maps[:, 0].float().cpu().numpy()


def ordered_attention(
    scorer: PreferenceScorer,
    features: Float[Tensor, "N T D"],
    candidates: Probes,
    *,
    prompts: Sequence[str],
    orders: Sequence[Sequence[int]],
    heads: Sequence[Head],
    reading: MapReading = "log_ratio",
) -> Float[Tensor, "O C A K"]:
    """The same of images that are encoded already, all orders in one packed pass.

    Args:
        scorer: with at least one preference token.
        features: of each reference's liked and disliked image: N = 2R.
        candidates: the images that attend.
        prompts: of the R references.
        orders: O permutations of the references.
        heads: whose attention is read as a log-ratio, at least one.
        reading: as a log-ratio, or as printed, where A is 1.

    Raises:
        ValueError: if the scorer has no preference tokens, or there is no order or no head.
    """
    if not orders:
        raise ValueError("there must be at least 1 order of the references, got none: pass one")
    if not heads:
        raise ValueError("there must be at least 1 head to read, got none: pass `heads_of_maps`")
    rows = [2 * place + side for order in orders for place in order for side in (0, 1)]
    ordered = [[prompts[place] for place in order] for order in orders]
    packed, tokens = packed_probes(scorer, ordered, features[rows], candidates)
    if reading == "log_ratio":
        return read_packed(scorer, packed, tokens, heads=heads).attention
    count = scorer.config.num_preference_tokens
    with record_preference_attention(count) as record:
        scorer.logits(packed, tokens)
    weights = record.stacked()[:, :, :, count:].mean(dim=(0, 2))  # (O, L, K)
    # Every order has the same tokens, only elsewhere: a candidate's stand in the same places.
    segments = packed.segments[0].to(weights.device)
    of_each = [weights[:, segments == number + 1] for number in range(len(candidates.prompts))]
    return torch.stack([each.mean(dim=1) for each in of_each], dim=1)[:, :, None]


def choice_effects(
    scorer: PreferenceScorer,
    features: Float[Tensor, "N T D"],
    candidates: Probes,
    *,
    prompts: Sequence[str],
    orders: Sequence[Sequence[int]],
    heads: Sequence[Head],
    reading: MapReading = "log_ratio",
) -> Float[Tensor, "O C A K"]:
    """What a user's choices change in `ordered_attention`, whose arguments these are.

    The maps less those behind the same references with the two images of each exchanged, as if
    what was liked had been passed over. All zeros without references.
    """
    exchanged = features.unflatten(0, (-1, 2)).flip(1).flatten(0, 1) if len(prompts) else features
    own, other = (
        ordered_attention(
            scorer,
            images,
            candidates,
            prompts=prompts,
            orders=orders,
            heads=heads,
            reading=reading,
        )
        for images in (features, exchanged)
    )
    return own - other
