"""What answers to pairs of images reveal about taste, and the pairs that reveal most.

What answers reveal about a user's class is their mutual information (Lindley, 1956),

    I(class; answers) = H(answers) - sum_k pi_k H(answers | class k),

over all joint answers. Given the class, answers are independent, and the first image of a pair is
preferred with probability sigmoid(w_k d). Pairs are chosen greedily: each adds most to those before
it, so the first few of a longer choice are also the choice of that few.

Axes: P pairs, K classes, F features, J joint answers.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from recsys.coldstart.latent_classes import LatentClasses

MAX_PAIRS = 8
"""The number of joint answers doubles with each pair, and all are enumerated."""

_DIGITS = 12
"""Bits are compared to this many digits: rounding must not decide ties."""
_AT_ONCE = 500


def expected_information(classes: LatentClasses, differences: Float[np.ndarray, "P F"]) -> float:
    """Return how much the answers to some pairs together reveal about the class, in bits.

    Args:
        differences: features of the first image less those of the second, of at most 8 pairs.

    Returns:
        From 0 (also for no pair) to the entropy of the shares.

    Raises:
        ValueError: if there are more than 8 pairs.
    """
    if len(differences) > MAX_PAIRS:
        raise ValueError(f"at most {MAX_PAIRS} pairs can be judged at once, got {len(differences)}")
    if len(differences) == 0:
        return 0.0
    preferred = _preferred(classes, differences)
    so_far = _NOTHING_ASKED
    for row in preferred[:-1]:
        so_far = so_far.asked(row)
    return float(so_far.information(preferred[-1:], classes)[0])


def choose_pairs(
    classes: LatentClasses,
    differences: Float[np.ndarray, "P F"],
    images: Int[np.ndarray, "P 2"],
    *,
    num_pairs: int,
) -> tuple[list[int], list[float]]:
    """Choose pairs greedily; ties go to the pair given first.

    Args:
        differences: features of the first image less those of the second.
        images: a number for each image of each pair; no image is shown twice.
        num_pairs: 1 to 8.

    Returns:
        The index of each, as many as asked for, or fewer if an image would be shown twice; and what
        the answers to it and to all before it reveal together, in bits.

    Raises:
        ValueError: if the number is out of range.
    """
    if not 1 <= num_pairs <= MAX_PAIRS:
        raise ValueError(f"num_pairs must be 1 to {MAX_PAIRS}, got {num_pairs}")
    preferred = _preferred(classes, differences)
    chosen, information = list[int](), [0.0]
    so_far, is_free = _NOTHING_ASKED, np.ones(len(images), dtype=bool)
    while len(chosen) < num_pairs and is_free.any():
        free = np.flatnonzero(is_free)
        bits = so_far.information(preferred[free], classes)
        best = int(np.argmax(np.round(bits, _DIGITS)))
        index = int(free[best])
        chosen.append(index)
        information.append(max(information[-1], float(bits[best])))
        so_far = so_far.asked(preferred[index])
        is_free &= ~np.isin(images, images[index]).any(axis=1)
    return chosen, information[1:]


@dataclass(frozen=True, eq=False)
class _Answers:
    """The answers to the pairs chosen so far.

    Attributes:
        joint: shape (J, K), the probability of each joint answer given the class.
        entropy: shape (K,), of the answers given the class, in bits.
    """

    joint: Float[np.ndarray, "J _"]
    entropy: Float[np.ndarray, " _"]

    def asked(self, preferred: Float[np.ndarray, " K"]) -> "_Answers":
        """Add a pair."""
        joint = np.concatenate([self.joint * preferred, self.joint * (1 - preferred)])
        return _Answers(
            joint, self.entropy + _entropy(np.stack([preferred, 1 - preferred]), axis=0)
        )

    def information(
        self, preferred: Float[np.ndarray, "P K"], classes: LatentClasses
    ) -> Float[np.ndarray, " P"]:
        """Return what all answers would reveal if each of these pairs came next, in bits."""
        starts = range(0, len(preferred), _AT_ONCE)
        return np.concatenate(
            [self._information(preferred[at : at + _AT_ONCE], classes.shares) for at in starts]
        )

    def _information(
        self, preferred: Float[np.ndarray, "P K"], shares: Float[np.ndarray, " K"]
    ) -> Float[np.ndarray, " P"]:
        weighted = self.joint * shares  # (J, K)
        first, second = preferred @ weighted.T, (1 - preferred) @ weighted.T  # (P, J) each
        revealed = _entropy(np.concatenate([first, second], axis=1), axis=1)
        own = _entropy(np.stack([preferred, 1 - preferred]), axis=0) + self.entropy  # (P, K)
        # Rounding alone could make it negative.
        return np.asarray(np.maximum(revealed - own @ shares, 0.0))


_NOTHING_ASKED = _Answers(np.ones((1, 1)), np.zeros(1))


def _preferred(
    classes: LatentClasses, differences: Float[np.ndarray, "P F"]
) -> Float[np.ndarray, "P K"]:
    """The probability that each class prefers the first image of each pair."""
    return np.asarray(expit(differences @ classes.tastes.T))


def _entropy(likely: np.ndarray, *, axis: int) -> np.ndarray:
    """- sum p log2 p along an axis, with 0 log 0 = 0."""
    logs = np.log2(likely, out=np.zeros_like(likely), where=likely > 0)
    return np.asarray(-(likely * logs).sum(axis=axis))
