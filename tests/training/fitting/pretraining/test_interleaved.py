"""Interleaved sequences: what is read where, whose labels they have, and who is told of whom."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from recsys.scorer.model import PreferenceScorer
from training.data.samples import pack_samples
from training.fitting.pretraining import _interleaved
from training.fitting.pretraining._interleaved import Batch, draw_batch, learn_in_context
from training.fitting.pretraining._rendered import RenderedImages
from training.fitting.pretraining._rules import Anybody, Populations, Rule
from training.fitting.pretraining.recipe import PretrainRecipe, RuleRecipe
from training.world.scenes import ATTRIBUTES

NUM_PROMPTS, IMAGES_A_PROMPT = 30, 4
NUM_ATTRIBUTES = len(ATTRIBUTES)
RECIPE = replace(
    PretrainRecipe(),
    rules=RuleRecipe(num_populations=2, num_sets=20, num_tastes=80, told=0.5),
    num_preference_tokens=3,
    interleaved_pairs=64,
    num_references=5,
    few_references=5,
    num_pairs=3,
)


@pytest.fixture(scope="module")
def images() -> RenderedImages:
    """Of known attributes, which nothing in the pixels shows."""
    rng = np.random.default_rng(0)
    number = NUM_PROMPTS * IMAGES_A_PROMPT
    names = tuple(f"two fish number {n}" for n in range(NUM_PROMPTS))
    pixels = torch.from_numpy(rng.integers(0, 256, (number, 3, 16, 16), dtype=np.uint8))
    attributes = torch.from_numpy(rng.uniform(-1, 1, (number, NUM_ATTRIBUTES))).float()
    return RenderedImages(pixels, attributes, names, ("a fish",) * number, IMAGES_A_PROMPT)


@pytest.fixture(scope="module")
def anybody() -> Anybody:
    return Anybody(RECIPE.rules, np.random.default_rng(1))


@pytest.fixture
def scorer(make_scorer) -> PreferenceScorer:
    made = make_scorer(num_references=5, num_preference_tokens=3)
    return made.train().requires_grad_(True)


def drawn(images: RenderedImages, anybody: Anybody, **changes: object) -> Batch:
    """A batch with references, of which each has a liked and a disliked image of one prompt."""
    recipe = replace(RECIPE, **changes)
    batches = (
        draw_batch(images, anybody, recipe, np.random.default_rng(seed), is_sure=False)
        for seed in range(20)
    )
    return next(batch for batch in batches if batch.leaning.shape[1] > 3)


@pytest.mark.parametrize("random_pair_order", [False, True])
def test_each_head_reads_where_its_value_is_known(
    images, anybody, make_scorer, random_pair_order: bool
) -> None:
    batch = drawn(images, anybody, random_pair_order=random_pair_order)
    scorer = make_scorer(num_references=5, num_preference_tokens=3)
    template, num_tokens = scorer.template, scorer.backbone.num_image_tokens
    packed, order = pack_samples(template, batch.samples, num_preference_tokens=3)
    places = _interleaved._places(packed, template)
    num_before = packed.is_image.flatten().cumsum(dim=0) // num_tokens

    # The image that is read at a place is the last one that stands before it.
    assert num_before[places["image"]].tolist() == list(range(1, len(order) + 1))
    references = [pair for sample in batch.samples for pair in sample.references]
    firsts = [pair.liked_first for pair in references]
    assert (set(firsts) == {True, False}) == random_pair_order
    labels = iter(packed.ids.flatten()[places["image"]].tolist())
    for sample in batch.samples:
        for pair in sample.references:
            expected = [template.like_id, template.dislike_id]
            shown = [next(labels), next(labels)]
            assert shown == (expected if pair.liked_first else expected[::-1])
        for _ in range(2 * len(sample.pairs)):
            next(labels)  # an image that is asked about has none

    # What the first r references tell is read behind the second image of the r-th.
    length = packed.ids.shape[1]
    told = _interleaved._at_places(batch.leaning, RECIPE.num_pairs)
    assert len(told) == len(places["history"])
    assert torch.equal(places["history"], places["taste"])
    in_row = packed.is_image.cumsum(dim=1).flatten() // num_tokens
    for place, value in zip(places["history"].tolist(), told, strict=True):
        own = batch.samples[place // length].references
        read = own[: int(in_row[place]) // 2]
        more = [images.attributes[p.liked] - images.attributes[p.disliked] for p in read]
        torch.testing.assert_close(value, torch.stack(more).mean(dim=0))


def test_without_chance_labels_follow_the_rule(images) -> None:
    """At a temperature near 0: a taste a million times as strong."""
    rng = np.random.default_rng(2)
    taste = rng.normal(0, 1, NUM_ATTRIBUTES)
    rule = Rule(1e6 * taste, None, False)
    pairs = _interleaved._labelled(images, rule, 12, 12, rng)
    utility = images.attributes.numpy() @ taste
    gains = np.array([utility[pair.liked] - utility[pair.disliked] for pair in pairs])
    assert (gains[:12] > 0).all()
    assert (gains[12:] < 0).any(), "pairs to be told apart stand as they were drawn"
    assert (gains[12:] > 0).any()
    assert len({pair.prompt for pair in pairs}) == len(pairs)
    prompts = np.array([(pair.liked, pair.disliked) for pair in pairs]) // IMAGES_A_PROMPT
    assert [images.prompts[at] for at in prompts[:, 0]] == [pair.prompt for pair in pairs]
    assert (prompts[:, 0] == prompts[:, 1]).all()


def test_whoever_is_told_of_nobody_reads_the_scorers_own_tokens(scorer) -> None:
    prototype = torch.nn.Linear(NUM_ATTRIBUTES, scorer.backbone.hidden_size)
    centers = torch.randn(2, 3, NUM_ATTRIBUTES)
    centers[1] = torch.nan
    tokens = _interleaved._preference(scorer, prototype, centers)
    torch.testing.assert_close(tokens[0], prototype(centers[0]))
    torch.testing.assert_close(tokens[1], scorer.preference_tokens)
    tokens.sum().backward()
    for parameter in (*prototype.parameters(), scorer.preference_tokens):
        assert parameter.grad.isfinite().all(), "NaN is not multiplied by zero"


def test_a_batch_tells_of_populations_as_its_rules_say(images, anybody) -> None:
    batch = drawn(images, anybody)
    is_told = ~batch.prototypes.isnan()
    assert (is_told.all(dim=(1, 2)) | ~is_told.any(dim=2).any(dim=1)).all()
    assert is_told.any()
    assert not is_told.all()
    sure = draw_batch(images, anybody, RECIPE, np.random.default_rng(3), is_sure=True)
    assert not sure.prototypes.isnan().any()


def test_without_places_nobody_is_told_of_anything(images) -> None:
    recipe = replace(RECIPE, num_preference_tokens=0)
    assert (recipe.rules_told.told, recipe.rules_told.sure) == (0, 0)
    assert RECIPE.rules_told == RECIPE.rules
    anybody = Anybody(recipe.rules_told, np.random.default_rng(1))
    assert all(
        rule.told_of is None
        for rule in Populations(anybody, np.random.default_rng(2)).draw(
            20, np.random.default_rng(3)
        )
    )
    assert drawn(images, anybody, num_preference_tokens=0).prototypes.shape[1] == 0


@pytest.mark.parametrize("num_tokens", [0, 3])
def test_all_that_is_trained_gets_a_gradient_and_no_hook_stays(
    images, make_scorer, num_tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = make_scorer(num_references=5, num_preference_tokens=num_tokens)
    scorer.train().requires_grad_(True)
    recipe = replace(RECIPE, num_preference_tokens=num_tokens)
    trained_names = []

    def one_step(step_loss, parameters, plan, *, run) -> None:
        loss, figures = step_loss(plan.num_steps - 1, 0)
        assert np.isfinite(list(figures.values())).all()
        loss.backward()
        for name, parameter in parameters.items():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        trained_names.extend(parameters)

    monkeypatch.setattr(_interleaved, "fit", one_step)
    learn_in_context(scorer, images, recipe, tmp_path, console=Console(quiet=True))
    assert {name.split(".")[0] for name in trained_names} == {
        *("text", "lm_head", "head"),
        *(["preference_tokens"] if num_tokens else []),
    }
    for module in scorer.backbone.image_modules:
        assert all(parameter.grad is None for parameter in module.parameters())
    assert not any(layer._forward_hooks for layer in scorer.backbone.layers)
