from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.world.scenes import (
    ATTRIBUTES,
    NATURE,
    SUBJECTS,
    PromptSpec,
    Scene,
    attributes,
    caption,
    level,
    prompt_text,
    sample_prompt,
    sample_scene,
)

LOW = Scene("house", 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
HIGH = Scene("fish", 5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_attributes_span_minus_one_to_one():
    assert attributes(LOW).tolist() == [-1.0] * 9
    assert attributes(HIGH).tolist() == [1.0] * 9
    assert attributes(LOW).dtype == np.float32


@pytest.mark.parametrize("name", [n for n in ATTRIBUTES if n not in ("nature", "count")])
def test_each_attribute_is_the_field_of_its_name(name):
    moved = attributes(replace(LOW, **{name: 0.75}))
    expected = attributes(LOW)
    expected[ATTRIBUTES.index(name)] = 0.5
    assert moved.tolist() == expected.tolist()


def test_counts_lie_evenly_and_half_of_the_subjects_are_nature():
    counts = [attributes(replace(LOW, count=n))[ATTRIBUTES.index("count")] for n in range(1, 6)]
    assert counts == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert 2 * len(NATURE) == len(SUBJECTS)


@pytest.mark.parametrize(
    "change", [{"count": 0}, {"count": 6}, {"warmth": 1.01}, {"size": -0.1}, {"height": np.nan}]
)
def test_a_scene_out_of_range_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(LOW, **change)


def test_a_prompt_that_fixes_nothing_is_refused():
    with pytest.raises(ValueError, match="must fix something"):
        PromptSpec()


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_scenes_agree_with_their_prompt(seed):
    rng = np.random.default_rng(seed)
    prompt = sample_prompt(rng)
    scene = sample_scene(prompt, rng)
    assert prompt.subject in (None, scene.subject)
    assert prompt.count in (None, scene.count)
    assert prompt.size in (None, level(scene.size))
    assert prompt.height in (None, level(scene.height))


def test_prompts_name_the_subject_in_sixty_percent_and_every_mix_occurs():
    rng = np.random.default_rng(0)
    prompts = [sample_prompt(rng) for _ in range(4000)]
    share = np.mean([prompt.subject is not None for prompt in prompts])
    assert share == pytest.approx(0.6, abs=4 * np.sqrt(0.24 / 4000))
    mixes = {tuple(v is not None for v in (p.subject, p.count, p.size, p.height)) for p in prompts}
    assert len(mixes) == 15


def test_what_a_prompt_leaves_open_is_uniform_and_independent():
    rng = np.random.default_rng(1)
    prompt = PromptSpec(subject="tree")
    values = np.stack([attributes(sample_scene(prompt, rng)) for _ in range(3000)])
    free = np.delete(values, ATTRIBUTES.index("nature"), axis=1)
    assert np.abs(free.mean(axis=0)).max() < 0.06
    # Variance of a uniform on [-1, 1] is 1/3; that of five even steps is 1/2.
    assert free.var(axis=0) == pytest.approx(
        [1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 3, 1 / 3], abs=0.04
    )
    between = np.corrcoef(free.T) - np.eye(free.shape[1])
    assert np.abs(between).max() < 0.08


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (PromptSpec("fish", 3, 1, 3), {"three", "fish"}),
        (PromptSpec("house", 1, 3), {"house"}),
        (PromptSpec("bird", 2), {"two", "birds"}),
        (PromptSpec(count=5), {"five"}),
        (PromptSpec("tree"), {"tree"}),
    ],
)
def test_a_prompt_says_what_it_fixes_in_every_wording(prompt, words):
    texts = {prompt_text(replace(prompt, wording=wording)) for wording in range(40)}
    for text in texts:
        assert words <= set(text.replace(",", " ").split())
    has_variants = prompt.size is not None or prompt.subject is None or prompt.height is not None
    assert (len(texts) > 1) == has_variants


def test_a_prompt_never_speaks_of_the_surface():
    surface = {"dark", "bright", "warm", "cold", "cool", "vivid", "contrast", "colours", "tones"}
    rng = np.random.default_rng(2)
    spoken = {word for _ in range(500) for word in prompt_text(sample_prompt(rng)).split()}
    assert not spoken & surface
    assert {"something", "three", "fish"} <= spoken


def test_an_open_count_is_not_told():
    numbers = {"a", "an", "one", "single", "two", "three", "four", "five"}
    for subject in (*SUBJECTS, None):
        for wording in range(20):
            text = prompt_text(PromptSpec(subject, None, 3, 2, wording))
            assert not numbers & set(text.split())


def test_captions_tell_every_level_apart_and_repeat_themselves():
    assert caption(LOW) == caption(LOW)
    assert caption(LOW) == caption(replace(LOW, brightness=0.19))
    for name in (n for n in ATTRIBUTES if n not in ("nature", "count")):
        captions = [caption(replace(LOW, **{name: (step + 0.5) / 5})) for step in range(5)]
        assert len(set(captions)) == 5, name
    assert "five" in caption(HIGH)
    assert len({caption(replace(LOW, seed=seed)) for seed in range(30)}) > 5


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0), (0.19, 0), (0.2, 1), (0.99, 4), (1.0, 4)]
)
def test_levels_are_fifths(value, expected):
    assert level(value) == expected
