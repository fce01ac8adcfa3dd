"""Which images everybody's signature is read from, and how a history is cut into two halves."""

from collections.abc import Sequence

import numpy as np

from training.data.samples import Histories, Pair, apart
from training.evaluation.predictors import Candidate


def choose_probes(histories: Histories, *, num_probes: int, seed: int) -> tuple[Candidate, ...]:
    """Images that training users were shown, at random, each of another prompt while there are.

    Args:
        histories: what is learned from.
        num_probes: at most, at least 1.
        seed: decides.

    Raises:
        ValueError: if there is no image.
    """
    shown = sorted(
        {
            (row, pair.prompt)
            for pairs in histories.pairs.values()
            for pair in pairs
            for row in (pair.liked, pair.disliked)
        }
    )
    if not shown:
        raise ValueError("probes are chosen among training images, got none: import more choices")
    order = np.random.default_rng([seed, 31]).permutation(len(shown))
    fresh: list[Candidate] = []
    again: list[Candidate] = []
    prompts: set[str] = set()
    for index in order:
        row, prompt = shown[index]
        (again if prompt in prompts else fresh).append(Candidate(row, prompt))
        prompts.add(prompt)
    return tuple((fresh + again)[:num_probes])


def halves(
    pairs: Sequence[Pair], rng: np.random.Generator, *, num_references: int
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]] | None:
    """Two sets of references of one user that share no choice, equal in number.

    Args:
        pairs: of one user.
        rng: decides.
        num_references: of each half at most.

    Returns:
        None for a user who has not two of each.
    """
    shuffled = [pairs[index] for index in rng.permutation(len(pairs))]
    found = apart(shuffled, 2 * num_references)
    size = len(found) // 2
    return None if size < 2 else (found[:size], found[size : 2 * size])
