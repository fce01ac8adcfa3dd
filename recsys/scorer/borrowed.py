"""What of a score is based on other users' choices. No tensors here: clients import it too."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Borrowed:
    """What of a ranking is based on other users; never whose it is.

    Attributes:
        num_references: other users' references that it is based on.
        num_neighbours: how many users they are of.
        population_version: digest of what was learned from them; scores of two are not comparable.
    """

    num_references: int
    num_neighbours: int
    population_version: str


NOTHING_BORROWED = Borrowed(0, 0, "")
