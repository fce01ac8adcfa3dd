"""The pool of pairs, and the first questions that are chosen from it."""

import numpy as np
import pytest
import torch

from recsys.coldstart.information import expected_information
from recsys.coldstart.latent_classes import LatentClasses
from recsys.coldstart.pool import MAX_IMAGES, choose_first_questions, differences_of, draw_pool
from recsys.coldstart.population import ColdStart
from recsys.history import Pair


def histories_of(num_prompts: int, images_each: int, *, people: int = 2) -> list[list]:
    """Everybody is shown everything: images n * each ... of prompt n."""
    shown = [
        Pair(n * images_each + a, n * images_each + a + 1, f"prompt {n}")
        for n in range(num_prompts)
        for a in range(images_each - 1)
    ]
    return [shown for _ in range(people)]


def test_a_pool_pairs_images_of_one_prompt_and_of_many_prompts() -> None:
    pool = draw_pool(histories_of(300, 6))
    assert len(np.unique(pool.images)) == MAX_IMAGES
    assert len(set(pool.prompts)) == 50
    assert (pool.images // 6 == pool.images[:, :1] // 6).all()
    assert [f"prompt {first // 6}" for first in pool.images[:, 0]] == list(pool.prompts)


def test_what_several_people_chose_from_comes_first() -> None:
    own = [[Pair(1000 + n, 2000 + n, f"own {n}")] for n in range(300)]
    pool = draw_pool(histories_of(60, 4) + own)
    assert set(pool.images.ravel()) < set(range(240))


def test_few_images_of_each_prompt_are_paired_with_any() -> None:
    pool = draw_pool([[Pair(0, 1, "a hill"), Pair(2, 3, "a cat")]])
    prompts = {
        frozenset(images): prompt
        for images, prompt in zip(pool.images.tolist(), pool.prompts, strict=True)
    }
    assert prompts.pop(frozenset({0, 1})) == "a hill"
    assert prompts.pop(frozenset({2, 3})) == "a cat"
    assert len(prompts) == 4
    assert set(prompts.values()) == {""}


def test_only_what_may_be_shown_is_drawn() -> None:
    histories = histories_of(60, 4)
    shown = set(range(0, 240, 3))
    pool = draw_pool(histories, shown=shown)
    assert len(pool.images) > 0
    assert set(pool.images.ravel()) <= shown
    assert len(draw_pool(histories, shown=()).images) == 0


def test_one_prompt_for_all_is_room_enough() -> None:
    pool = draw_pool(histories_of(1, 300))
    assert len(np.unique(pool.images)) == MAX_IMAGES
    assert set(pool.prompts) == {"prompt 0"}


def test_a_pool_is_the_same_again_and_another_with_another_seed() -> None:
    histories = histories_of(300, 4)
    first, again, other = (draw_pool(histories, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.images, again.images)
    assert first.prompts == again.prompts
    assert not np.array_equal(first.images, other.images)


def test_the_chosen_pairs_carry_digests_prompts_and_bits() -> None:
    rng = np.random.default_rng(0)
    some = np.ones(4)
    classes = LatentClasses(rng.normal(0, 2, (4, 3)), np.full(4, 0.25), some, some)
    cold_start = ColdStart(np.zeros(6), rng.normal(0, 1, (6, 3)), classes, np.zeros((1, 3)))
    tokens = torch.from_numpy(rng.normal(0, 1, (200, 2, 3))).float()
    reads: list[list[int]] = []

    def features(rows) -> torch.Tensor:
        reads.append(list(rows))
        return tokens[list(rows)]

    histories = histories_of(50, 4)
    questions = choose_first_questions(
        cold_start, histories, [f"{n:064x}" for n in range(200)], features
    )
    assert sorted(row for rows in reads for row in rows) == list(range(200))
    assert questions.population_version == cold_start.version
    rows = [(int(p.first_sha256, 16), int(p.second_sha256, 16)) for p in questions.pairs]
    assert len(set(np.ravel(rows))) == 16
    assert all(
        p.prompt == f"prompt {a // 4}" for p, (a, _) in zip(questions.pairs, rows, strict=True)
    )
    read = cold_start.features(tokens)
    differences = np.array([read[a] - read[b] for a, b in rows])
    for count, each in enumerate(questions.pairs, start=1):
        expected = expected_information(classes, differences[:count])
        assert each.information_bits == pytest.approx(expected)
    pool = draw_pool(histories)
    best = max(
        expected_information(classes, each[None])
        for each in differences_of(pool, cold_start, lambda rows: tokens[list(rows)])
    )
    assert questions.pairs[0].information_bits == pytest.approx(best)
