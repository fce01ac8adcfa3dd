"""Which images everybody's signature is read from."""

import numpy as np

from training.data.samples import PairTable
from training.predictors.predictor import CandidateRow


def choose_probes(table: PairTable, *, num_probes: int, seed: int) -> tuple[CandidateRow, ...]:
    """Images that training users were shown, at random, each of another prompt while there are.

    Args:
        table: what is learned from.
        num_probes: at most, at least 1.
        seed: decides.

    Raises:
        ValueError: if there is no image.
    """
    shown = sorted(
        {
            (row, pair.prompt)
            for pairs in table.pairs.values()
            for pair in pairs
            for row in (pair.liked, pair.disliked)
        }
    )
    if not shown:
        raise ValueError("probes are chosen among training images, got none: import more choices")
    order = np.random.default_rng([seed, 31]).permutation(len(shown))
    fresh: list[CandidateRow] = []
    again: list[CandidateRow] = []
    prompts: set[str] = set()
    for index in order:
        row, prompt = shown[index]
        (again if prompt in prompts else fresh).append(CandidateRow(row, prompt))
        prompts.add(prompt)
    return tuple((fresh + again)[:num_probes])
