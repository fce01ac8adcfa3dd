"""The blend of cold start: what other users like and what the model says, in one logit.

The model knows the population that it was trained on; the latent classes know the population that
is served. The logit of a candidate z of a user with n references is

    a_n u(z) + b_n M(z | own n references) + c_n M(z | none),     M = (M+ - M-) / temperature,

where u is the mean taste of the classes that the user may belong to. The weights for each n are
fitted on users from whom no class was learned ("stacked generalization", Wolpert, 1992), with a
penalty that pulls them towards the model alone: a = 0, b = 1, c = 0.

Another blend changes this module, and `borrowing` or `fit` if it needs another term.

Axes: C candidates or pairs.
"""

import numpy as np
from jaxtyping import Float

from recsys.coldstart.latent_classes import penalised_weights

TERMS = ("other users", "model", "model without references")
"""What the weights a, b, c are of."""

MODEL_ALONE = (0.0, 1.0, 0.0)

_PENALTY = 20.0


def blended(
    weights: Float[np.ndarray, " 3"],
    taste: Float[np.ndarray, " C"],
    own: Float[np.ndarray, " C"],
    nobody: Float[np.ndarray, " C"],
) -> Float[np.ndarray, " C"]:
    """Return a u + b M(own) + c M(none) of each candidate.

    Args:
        weights: a, b, c.
        taste: u.
        own: M with the user's references.
        nobody: M without references.
    """
    return np.asarray(weights @ np.stack([taste, own, nobody]))


def fit_blend(
    margins: Float[np.ndarray, "C 3"], *, penalty: float = _PENALTY
) -> Float[np.ndarray, " 3"]:
    """Fit the weights under which the liked image of each pair is most likely to be preferred.

    Logistic regression without intercept, pulled towards `MODEL_ALONE`. A negative weight of the
    classes would mean that others' taste misleads; then the model stands alone.

    Args:
        margins: liked less disliked of each pair, by `TERMS`.
        penalty: of the pull, above 0, in pairs.
    """
    alone = np.array(MODEL_ALONE)
    weights = penalised_weights(margins, np.ones(len(margins)), alone, penalty=penalty)
    return weights if weights[0] > 0 else alone
