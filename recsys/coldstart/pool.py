"""The pool that first questions are chosen from: pairs drawn from what others were shown.

Axes: P pairs, F features.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from recsys.coldstart.fit import AT_ONCE, ReadTokens
from recsys.coldstart.information import MAX_PAIRS, choose_pairs
from recsys.coldstart.population import ColdStart
from recsys.history import Pair
from storage.coldstart.records import FirstQuestion, FirstQuestions

MAX_IMAGES = 200
IMAGES_A_PROMPT = 4
MAX_POOL = 2000


@dataclass(frozen=True, eq=False)
class PairPool:
    """Pairs to choose from.

    Attributes:
        images: shape (P, 2), rows of an image table.
        prompts: of each pair; empty if its images have none in common.
    """

    images: Int[np.ndarray, "P 2"]
    prompts: tuple[str, ...]


def draw_pool(
    histories: Sequence[Sequence[Pair]], *, shown: Collection[int] | None = None, seed: int = 0
) -> PairPool:
    """Draw images of different prompts, and pair those of one prompt.

    Prompts of several users come first, so that one user's words are not shown to others without
    need. If the prompts do not give enough pairs without repeating an image, any two images form a
    pair.

    Args:
        histories: each user's pairs.
        shown: rows of the images that may be drawn; None for all.
        seed: of the draw.
    """
    rng = np.random.default_rng([seed, 43])
    drawn = _drawn(_prompts_in_order(histories, shown, rng), rng)
    pairs = [(a, b, prompt) for prompt, rows in drawn for a, b in combinations(rows, 2)]
    if sum(len(rows) // 2 for _, rows in drawn) < MAX_PAIRS:
        known = {pair[:2] for pair in pairs}
        any_two = combinations([row for _, rows in drawn for row in rows], 2)
        pairs += [(*both, "") for both in any_two if both not in known]
    kept = sorted(rng.permutation(len(pairs))[:MAX_POOL])
    images = np.array([pairs[index][:2] for index in kept], dtype=np.int64).reshape(-1, 2)
    return PairPool(images, tuple(pairs[index][2] for index in kept))


def differences_of(
    pool: PairPool, cold_start: ColdStart, read_tokens: ReadTokens
) -> Float[np.ndarray, "P F"]:
    """Return features of the first image of each pair less those of the second."""
    rows = np.unique(pool.images)
    starts = range(0, len(rows), AT_ONCE)
    chunks = [cold_start.features(read_tokens(rows[at : at + AT_ONCE].tolist())) for at in starts]
    features = np.concatenate([np.zeros((0, cold_start.components.shape[1])), *chunks])
    first, second = (features[np.searchsorted(rows, pool.images[:, side])] for side in (0, 1))
    return np.asarray(first - second)


def choose_first_questions(
    cold_start: ColdStart,
    histories: Sequence[Sequence[Pair]],
    images: Sequence[str],
    read_tokens: ReadTokens,
    *,
    shown: Collection[str] | None = None,
    seed: int = 0,
) -> FirstQuestions:
    """Choose up to 8 first questions to a new user, the most informative first.

    Args:
        cold_start: its classes are what the answers are to reveal.
        histories: each user's pairs.
        images: SHA-256 of each row.
        read_tokens: rows -> image tokens.
        shown: SHA-256 of the images that other users may be shown; None for all.
        seed: of the pool's draw.

    Returns:
        No pairs where too few images may be shown.
    """
    rows = None if shown is None else {row for row, name in enumerate(images) if name in shown}
    pool = draw_pool(histories, shown=rows, seed=seed)
    differences = differences_of(pool, cold_start, read_tokens)
    chosen, bits = choose_pairs(cold_start.classes, differences, pool.images, num_pairs=MAX_PAIRS)
    pairs = []
    for index, information_bits in zip(chosen, bits, strict=True):
        first, second = (images[row] for row in pool.images[index])
        pairs.append(FirstQuestion(first, second, pool.prompts[index], information_bits))
    return FirstQuestions(cold_start.version, tuple(pairs))


def _prompts_in_order(
    histories: Sequence[Sequence[Pair]], shown: Collection[int] | None, rng: np.random.Generator
) -> list[tuple[str, list[int]]]:
    """Prompts with their images, those of several users first, otherwise at random."""
    rows: dict[str, dict[int, None]] = {}
    people: dict[str, set[int]] = {}
    for person, pairs in enumerate(histories):
        for pair in pairs:
            both = (pair.liked, pair.disliked)
            drawable = [row for row in both if shown is None or row in shown]
            rows.setdefault(pair.prompt, {}).update(dict.fromkeys(drawable))
            people.setdefault(pair.prompt, set()).add(person)
    prompts = list(rows)
    order = [prompts[index] for index in rng.permutation(len(prompts))]
    order.sort(key=lambda prompt: len(people[prompt]) < 2)
    return [(prompt, list(rows[prompt])) for prompt in order]


def _drawn(
    prompts: Sequence[tuple[str, list[int]]], rng: np.random.Generator
) -> list[tuple[str, list[int]]]:
    """At most `MAX_IMAGES`: a few of each prompt, and more while there is room."""
    shuffled = [
        (prompt, [rows[at] for at in rng.permutation(len(rows))]) for prompt, rows in prompts
    ]
    taken: dict[str, list[int]] = {prompt: [] for prompt, _ in shuffled}
    seen: set[int] = set()
    deepest = max((len(rows) for _, rows in shuffled), default=0)
    for start in range(0, deepest, IMAGES_A_PROMPT):
        for prompt, rows in shuffled:
            fresh = [row for row in rows[start : start + IMAGES_A_PROMPT] if row not in seen]
            fresh = fresh[: MAX_IMAGES - len(seen)]
            taken[prompt] += fresh
            seen.update(fresh)
        if len(seen) >= MAX_IMAGES:
            break
    return [(prompt, rows) for prompt, rows in taken.items() if rows]
