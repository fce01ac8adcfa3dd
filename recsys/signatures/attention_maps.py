"""Where one candidate attends among the preference tokens, behind one user's references (Fig. 3).

Axes: O orders of the references, R references, K preference tokens, T tokens of an image,
D hidden width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recsys.scorer.attention import record_preference_attention
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from recsys.scorer.packing import pack
from recsys.signatures.orders import reorderings

NUM_ORDERS = 5


def attention_maps(
    scorer: PreferenceScorer,
    references: Sequence[Reference],
    candidate: CandidateImage,
    *,
    num_orders: int = NUM_ORDERS,
    seed: int = 0,
) -> Float[np.ndarray, "O K"]:
    """How a candidate attends to the preference tokens, for re-orderings of a user's references.

    Eq. 6, averaged over the candidate's tokens, heads and layers; each row sums to 1.

    Args:
        scorer: with at least one preference token.
        references: oldest first; none for a new user.
        candidate: the image that attends.
        num_orders: at least 1; the first is as given.
        seed: decides the others.

    Raises:
        ValueError: if the scorer has no preference tokens, or `num_orders` is less than 1.
    """
    images = [image for each in references for image in (each.liked, each.disliked)]
    with torch.no_grad():
        features = scorer.image_features([*images, candidate.image])
        maps = ordered_attention(
            scorer,
            features,
            prompts=[each.prompt for each in references],
            candidate_prompt=candidate.prompt,
            orders=reorderings(len(references), num_orders=num_orders, seed=seed),
        )
    return maps.float().cpu().numpy()


def ordered_attention(
    scorer: PreferenceScorer,
    features: Float[Tensor, "N T D"],
    *,
    prompts: Sequence[str],
    candidate_prompt: str,
    orders: Sequence[Sequence[int]],
) -> Float[Tensor, "O K"]:
    """The same of images that are encoded already, all orders in one packed pass.

    Args:
        scorer: with at least one preference token.
        features: of each reference's liked and disliked image, then of the candidate: N = 2R + 1.
        prompts: of the R references.
        candidate_prompt: of the candidate.
        orders: O permutations of the references.

    Raises:
        ValueError: if the scorer has no preference tokens, or there is no order.
    """
    if not orders:
        raise ValueError("there must be at least 1 order of the references, got none: pass one")
    count = scorer.config.num_preference_tokens
    packed = pack(
        [scorer.template.prefix([prompts[place] for place in order]) for order in orders],
        [[scorer.template.candidate(candidate_prompt)] for _ in orders],
        first_position=count,
    )
    rows = [
        row
        for order in orders
        for row in (*(2 * place + side for place in order for side in (0, 1)), 2 * len(prompts))
    ]
    with record_preference_attention(count) as record:
        scorer.logits(packed, features[rows])
    weights = record.stacked()[:, :, :, count:]  # (layers, O, H, L, K)
    # Every order has the same tokens, only elsewhere, so the candidate's stand in the same places.
    of_candidate = (packed.segments[0] == 1).to(weights.device)
    return weights[:, :, :, of_candidate].mean(dim=(0, 2, 3))
