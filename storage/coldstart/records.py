"""First questions to a new user: pairs of images.

Plain frozen dataclasses: no SQLAlchemy, no tensors, no protobuf.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FirstQuestion:
    """A pair of images for a new user to choose between.

    Attributes:
        first_sha256: of one image.
        second_sha256: of the other.
        prompt: what both were made from; empty where they have none in common.
        information_bits: expected information of the answers to this pair and all before it about
            the user's class of taste, at least 0; never less than that of the pair before. It is of
            the list as it was learned: a pair that is left out since still counts in those after.
    """

    first_sha256: str
    second_sha256: str
    prompt: str
    information_bits: float


@dataclass(frozen=True, slots=True)
class FirstQuestions:
    """The first questions to every new user, the most informative first.

    Attributes:
        population_version: digest of the classes that they were chosen for.
        pairs: no image twice; the first few are the best few.
    """

    population_version: str
    pairs: tuple[FirstQuestion, ...] = ()
