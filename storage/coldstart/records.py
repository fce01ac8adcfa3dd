"""What to show a new user first: pairs of images, as they were chosen.

Plain frozen dataclasses: no SQLAlchemy, no tensors, no protobuf.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OnboardingPair:
    """Two images between which a new user may choose.

    Attributes:
        first_sha256: of one image.
        second_sha256: of the other.
        prompt: what both were made from; empty where they have none in common.
        information_bits: what the answers to this pair and to all before it are expected to tell of
            the class of taste, at least 0; never less than that of the pair before.
    """

    first_sha256: str
    second_sha256: str
    prompt: str
    information_bits: float


@dataclass(frozen=True, slots=True)
class Onboarding:
    """Pairs to begin with, those that tell most first.

    Attributes:
        population_version: digest of the classes that they tell of.
        pairs: no image twice; the first few are the best few.
    """

    population_version: str
    pairs: tuple[OnboardingPair, ...] = ()
