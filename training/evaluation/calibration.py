"""Is an image that scores Q = 70 % liked in 70 % of cases?  Reliability, ECE and a temperature."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize_scalar
from scipy.special import expit

NUM_BINS = 15
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.01, 100.0


@dataclass(frozen=True)
class Bin:
    """Images of similar scores.

    Attributes:
        score: their mean score, in [0, 1].
        liked: share of them that were liked, in [0, 1].
        count: how many, at least 1.
    """

    score: float
    liked: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """How far scores are probabilities, as trained and at the checkpoint's temperature.

    Attributes:
        ece: expected calibration error of Q as in Eq. 2, in [0, 1].
        ece_scaled: the same at the temperature.
        temperature: the checkpoint's, above 0.
        bins, bins_scaled: reliability of both.
    """

    ece: float
    ece_scaled: float
    temperature: float
    bins: tuple[Bin, ...]
    bins_scaled: tuple[Bin, ...]


def reliability(
    scores: Float[np.ndarray, " N"], liked: Bool[np.ndarray, " N"], *, num_bins: int = NUM_BINS
) -> list[Bin]:
    """Bins of equal width over [0, 1], those without an image left out.

    Args:
        scores: Q of each image, in [0, 1].
        liked: whether it was the liked one of its pair.
        num_bins: at least 1.

    Raises:
        ValueError: if there is no image, no bin, or a score outside [0, 1].
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    if scores.size == 0 or scores.size != liked.size:
        raise ValueError(f"every score needs a label, got {scores.size} and {liked.size}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must lie in [0, 1]: pass Q, not its logit")
    place = np.minimum((scores * num_bins).astype(int), num_bins - 1)
    return [
        Bin(
            float(scores[place == number].mean()),
            float(liked[place == number].mean()),
            int((place == number).sum()),
        )
        for number in range(num_bins)
        if (place == number).any()
    ]


def expected_calibration_error(bins: list[Bin]) -> float:
    """ECE = Σ count / N · |liked - score|, in [0, 1].  Guo et al. 2017, Eq. 3.

    Raises:
        ValueError: if there is no bin: an error of 0 would call nothing perfect.
    """
    if not bins:
        raise ValueError("a calibration error needs at least one bin, got none")
    total = sum(each.count for each in bins)
    return sum(each.count / total * abs(each.liked - each.score) for each in bins)


def negative_log_likelihood(
    logits: Float[np.ndarray, " N"], liked: Bool[np.ndarray, " N"], temperature: float
) -> float:
    """Mean of -log Q (liked) or -log(1 - Q) (not), Q = sigmoid(logit / temperature).

    Args:
        logits: M+ - M- of each image, any real number.
        liked: whether it was liked.
        temperature: above 0.

    Raises:
        ValueError: if there is no image, a logit that is not finite, or no such temperature.
    """
    _check(logits, liked)
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    signed = np.where(liked, logits, -logits) / temperature
    return float(np.logaddexp(0.0, -signed).mean())


def fit_temperature(logits: Float[np.ndarray, " N"], liked: Bool[np.ndarray, " N"]) -> float:
    """The temperature under which the labels are most likely.  Guo et al. 2017, section 4.2.

    The likelihood is concave in 1/T.  Within 0.01 to 100, because labels that scores separate
    without an error, or not at all, have no finite optimum, and neither have labels all alike.

    Args:
        logits: M+ - M- of each image, any real number.
        liked: whether it was liked.

    Raises:
        ValueError: if there is no image, or a logit that is not finite.
    """
    _check(logits, liked)
    best = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, liked, float(np.exp(log_t))),
        bounds=(np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE)),
        method="bounded",
    )
    return float(np.exp(best.x))


def calibrate(
    liked: Float[np.ndarray, " L"], disliked: Float[np.ndarray, " D"], *, temperature: float
) -> Calibration:
    """Compare scores with what was liked, as trained and at a temperature.

    Args:
        liked, disliked: M+ - M- of liked and of disliked images.
        temperature: the checkpoint's.
    """
    logits = np.concatenate([liked, disliked])
    labels = np.repeat([True, False], [len(liked), len(disliked)])
    plain = reliability(expit(logits), labels)
    scaled = reliability(expit(logits / temperature), labels)
    return Calibration(
        ece=expected_calibration_error(plain),
        ece_scaled=expected_calibration_error(scaled),
        temperature=temperature,
        bins=tuple(plain),
        bins_scaled=tuple(scaled),
    )


def _check(logits: Float[np.ndarray, " N"], liked: Bool[np.ndarray, " M"]) -> None:
    if logits.size == 0 or logits.size != liked.size:
        raise ValueError(f"every logit needs a label, got {logits.size} and {liked.size}")
    if not np.isfinite(logits).all():
        odd = int((~np.isfinite(logits)).sum())
        raise ValueError(f"logits must be finite numbers, {odd} of {logits.size} are not")
