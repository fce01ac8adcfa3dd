"""Losses as pure functions: logits -> scalar (paper, Eq. 1 to 5).

N pairs; `liked` and `disliked` hold (M+, M-) of a liked image and of its disliked twin.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def base_loss(
    liked: Float[Tensor, "N 2"],
    disliked: Float[Tensor, "N 2"],
    *,
    weights: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    """Classify each image on its own: L_base of Eq. 1.

    The classification loss is cross entropy over the two labels, so for one image it is
    -log Q (liked) or -log(1 - Q) (disliked); half of both, averaged over pairs. Equal logits give
    log 2. The authors' code takes the cross entropy over the whole vocabulary, which also teaches
    the model to answer with a label at all; with the two logits read directly it need not learn it.

    Args:
        liked: (M+, M-) of the liked images, any real numbers.
        disliked: (M+, M-) of the disliked images, paired with `liked` by position.
        weights: of the pairs, at least 0; 1 by default.

    Raises:
        ValueError: if the two differ in length or are empty.
    """
    _check(liked, disliked)
    like = F.softplus(liked[:, 1] - liked[:, 0])  # -log softmax at the like label
    dislike = F.softplus(disliked[:, 0] - disliked[:, 1])
    return _mean((like + dislike) / 2, weights)


def like_ranking_loss(
    liked: Float[Tensor, "N 2"],
    disliked: Float[Tensor, "N 2"],
    *,
    weights: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    """Push the like logit of each liked image above that of its disliked twin.

    L+ = -mean(log sigmoid(M+(liked) - M+(disliked))); equal logits give log 2.  Paper, Eq. 3.

    Args:
        liked: (M+, M-) of the liked images, any real numbers.
        disliked: (M+, M-) of the disliked images, paired with `liked` by position.
        weights: of the pairs, at least 0; 1 by default.

    Raises:
        ValueError: if the two differ in length or are empty.
    """
    _check(liked, disliked)
    return _mean(F.softplus(disliked[:, 0] - liked[:, 0]), weights)


def dislike_ranking_loss(
    liked: Float[Tensor, "N 2"],
    disliked: Float[Tensor, "N 2"],
    *,
    weights: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    """Push the dislike logit of each disliked image above that of its liked twin.

    L- = -mean(log sigmoid(M-(disliked) - M-(liked))); equal logits give log 2.  Paper, Eq. 4.

    Args:
        liked: (M+, M-) of the liked images, any real numbers.
        disliked: (M+, M-) of the disliked images, paired with `liked` by position.
        weights: of the pairs, at least 0; 1 by default.

    Raises:
        ValueError: if the two differ in length or are empty.
    """
    _check(liked, disliked)
    return _mean(F.softplus(liked[:, 1] - disliked[:, 1]), weights)


def preference_loss(
    liked: Float[Tensor, "N 2"],
    disliked: Float[Tensor, "N 2"],
    *,
    contrastive_weight: float = 1.0,
    weights: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    """L_all = L_base + L+ + L-; equal logits give 3 log 2.  Paper, Eq. 5.

    Args:
        liked: (M+, M-) of the liked images.
        disliked: (M+, M-) of the disliked images, paired with `liked` by position.
        contrastive_weight: factor of L+ + L-, at least 0; the paper's is 1, its ablation 0.
        weights: of the pairs, at least 0; 1 by default.

    Raises:
        ValueError: if the two differ in length or are empty.
    """
    like = like_ranking_loss(liked, disliked, weights=weights)
    dislike = dislike_ranking_loss(liked, disliked, weights=weights)
    return base_loss(liked, disliked, weights=weights) + contrastive_weight * (like + dislike)


def _mean(losses: Float[Tensor, " N"], weights: Float[Tensor, " N"] | None) -> Float[Tensor, ""]:
    return losses.mean() if weights is None else (losses * weights).mean()


def _check(liked: Tensor, disliked: Tensor) -> None:
    if len(liked) != len(disliked) or len(liked) == 0:
        raise ValueError(
            "liked and disliked must pair up and not be empty, "
            f"got {len(liked)} and {len(disliked)}"
        )
