"""Orders in which a user's references are read, so that what is read hangs less on any one of them.

Axes: N users, O orders of each.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float

T = TypeVar("T")


def reorderings(num_references: int, *, num_orders: int, seed: int) -> list[list[int]]:
    """Orders of references: the first as given, the others drawn."""
    rng = np.random.default_rng(seed)
    drawn = (rng.permutation(num_references).tolist() for _ in range(num_orders - 1))
    return [list(range(num_references)), *drawn] if num_orders > 0 else []


def in_orders(users: Sequence[Sequence[T]], num_orders: int) -> list[list[T]]:
    """Each user's references in the orders that a signature reads, user by user: N O lists.

    Args:
        users: each one's references, oldest first.
        num_orders: O, at least 1.
    """
    return [
        [references[place] for place in order]
        for references in users
        for order in reorderings(len(references), num_orders=num_orders, seed=0)
    ]


def mean_over_orders(
    readings: Float[np.ndarray, "NO *rest"], num_orders: int
) -> Float[np.ndarray, "N *rest"]:
    """Average what was read of `in_orders`, user by user.

    Args:
        readings: of N O lists, in their order.
        num_orders: O, at least 1.
    """
    rows = readings.reshape(len(readings) // num_orders, num_orders, *readings.shape[1:])
    return np.asarray(rows.mean(axis=1))
