"""What an adaptation with differential privacy promises, and the noise that keeps the promise.

Each step is the Gaussian mechanism on people drawn by Poisson sampling (Abadi et al., 2016, Deep
Learning with Differential Privacy; McMahan et al., 2018, of people in place of examples). Opacus
accounts for the steps, and it alone; it is imported here alone.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from recsys.errors import PreconditionFailed

NEIGHBOURS = "one person more or less, with all their choices"
"""Which two stores the promise cannot tell apart."""

_ACCOUNTANT = "prv"  # Gopi et al. 2021: an upper bound, tighter than that of Rényi divergences
_TOLERANCE = 0.01
LEAST_EPSILON, MOST_EPSILON = 0.1, 20.0
"""Below, the accountant's own error counts; above, nothing is promised."""


@dataclass(frozen=True)
class Privacy:
    """What is asked for.

    Attributes:
        epsilon: of the whole run, 0.1 to 20; None: clipping without noise, see `WITHOUT_NOISE`.
        delta: below 1 by the number of people; None: a tenth of that.
        clip: a person's gradient is scaled down to this L2 norm; by default between the middle and
            the upper quartile of the norms that the shipped checkpoint has, on drawn people.
        people_a_step: drawn in the mean; everybody where there are fewer.
    """

    epsilon: float | None
    delta: float | None = None
    clip: float = 0.1
    people_a_step: int = 128

    def __post_init__(self) -> None:
        if self.epsilon is not None and not LEAST_EPSILON <= self.epsilon <= MOST_EPSILON:
            raise ValueError(
                f"epsilon must be {LEAST_EPSILON:g} to {MOST_EPSILON:g}, got {self.epsilon:g}"
            )
        if not self.clip > 0 or self.people_a_step < 1:
            raise ValueError(
                "clip must be above 0 and people_a_step at least 1, got"
                f" {self.clip:g} and {self.people_a_step}"
            )


WITHOUT_NOISE = Privacy(epsilon=None)
"""The mechanism without its noise, at an infinite epsilon: to measure what noise costs.

People are dealt, drawn and clipped as with privacy, and nothing whatever is promised to them.
"""


@dataclass(frozen=True)
class Mechanism:
    """What is done, and what it proves.

    Attributes:
        epsilon: that the library accounts for, at most what was asked for; infinite without noise.
        delta: chance that the bound by epsilon does not hold.
        noise_multiplier: standard deviation of the noise on a sum of gradients, in units of `clip`.
        clip: L2 norm that no person's gradient exceeds.
        sampling_rate: each person's chance to take part in a step.
        num_steps: of the run.
        num_people: who are covered.
        neighbours: what epsilon and delta are about.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    clip: float
    sampling_rate: float
    num_steps: int
    num_people: int
    neighbours: str = NEIGHBOURS

    @property
    def is_private(self) -> bool:
        """Whether there is noise: without it nothing is promised."""
        return self.noise_multiplier > 0

    @property
    def people_a_step(self) -> float:
        """Drawn in the mean: what a sum of gradients is divided by, whoever was drawn."""
        return self.sampling_rate * self.num_people


def mechanism_for(privacy: Privacy, *, num_people: int, num_steps: int) -> Mechanism:
    """Solve for the least noise that keeps what is asked for; none where nothing is.

    Args:
        privacy: what is asked for.
        num_people: who are learned from; counted as public.
        num_steps: at least 1.

    Raises:
        ValueError: if delta is so large that publishing a person whole would be within it.
        PreconditionFailed: if the library is missing.
    """
    delta = 0.1 / num_people if privacy.delta is None else privacy.delta
    if not 0 < delta < 1 / num_people:
        raise ValueError(
            f"delta must be above 0 and below 1 by the number of people, 1/{num_people}, got"
            f" {delta:g}: leave it out for a tenth of that"
        )
    rate = min(1.0, privacy.people_a_step / num_people)
    noise, epsilon = 0.0, math.inf
    if privacy.epsilon is not None:
        noise = noise_multiplier(privacy.epsilon, delta, rate=rate, num_steps=num_steps)
        epsilon = epsilon_of(noise, delta, rate=rate, num_steps=num_steps)
    return Mechanism(
        epsilon=epsilon,
        delta=delta,
        noise_multiplier=noise,
        clip=privacy.clip,
        sampling_rate=rate,
        num_steps=num_steps,
        num_people=num_people,
    )


def noise_multiplier(epsilon: float, delta: float, *, rate: float, num_steps: int) -> float:
    """The least noise, to 0.01 of epsilon, in units of the clipping norm.

    Args:
        epsilon: 0.1 to 20.
        delta: in (0, 1).
        rate: each person's chance to take part in a step.
        num_steps: at least 1.

    Raises:
        PreconditionFailed: if the library is missing.
    """
    with _accounting():
        from opacus.accountants.utils import get_noise_multiplier

        found = get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=delta,
            sample_rate=rate,
            steps=num_steps,
            accountant=_ACCOUNTANT,
            epsilon_tolerance=_TOLERANCE,
        )
    return float(found)


def epsilon_of(noise: float, delta: float, *, rate: float, num_steps: int) -> float:
    """An upper bound of epsilon after so many steps; arguments and errors as of the noise.

    Args:
        noise: in units of the clipping norm.
        delta: in (0, 1).
        rate: each person's chance to take part in a step.
        num_steps: at least 1.
    """
    with _accounting():
        from opacus.accountants import create_accountant

        accountant = create_accountant(_ACCOUNTANT)
        accountant.history = [(noise, rate, num_steps)]
        return float(accountant.get_epsilon(delta=delta))


@contextmanager
def _accounting() -> Iterator[None]:
    """A context that says in a sentence what is missing."""
    try:
        # Where everybody takes part in each step, the logarithm of no chance is meant.
        with warnings.catch_warnings(), np.errstate(divide="ignore"):
            # Of a first, rough bound, which the accountant takes from Rényi divergences.
            warnings.filterwarnings("ignore", "Optimal order is the")
            yield
    except ImportError as error:
        raise PreconditionFailed(
            f"differential privacy needs {error.name}: pip install 'recsys-images[privacy]'"
        ) from error
