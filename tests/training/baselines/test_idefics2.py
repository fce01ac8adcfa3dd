"""The zero-shot base and ViPer's proxy against the library's own forward pass, one image a call."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Idefics2ForConditionalGeneration

from recsys.errors import CheckpointRefused
from recsys.history import Pair
from recsys.images.preprocess import resize
from recsys.scorer.adapter import load_adapter
from recsys.scorer.idefics2 import image_markup, normalise
from recsys.scorer.template import Template, TemplateConfig
from training.baselines.idefics2 import load_idefics2
from training.baselines.viper import load_viper
from training.predictors.predictor import CandidateRow

NUM_IMAGE_TOKENS = 2
IMAGE = "<fake_token_around_image>" + "<image>" * NUM_IMAGE_TOKENS + "<fake_token_around_image>"


@pytest.fixture(scope="session")
def tokenizer(weights):
    return AutoTokenizer.from_pretrained(weights / "idefics2")


@torch.no_grad()
def naive(model, ids, images, labels):
    """Softmax over two labels' logits behind a whole sequence with its images."""
    output = model(input_ids=torch.tensor([ids]), pixel_values=torch.stack(images)[None])
    like, dislike = output.logits[0, -1, list(labels)].double().exp()
    return float(like / (like + dislike))


def test_zero_shot_is_q_on_the_papers_template(
    weights, images, candidates, references, geometry, tokenizer
):
    model = Idefics2ForConditionalGeneration.from_pretrained(weights / "idefics2").eval()
    template = Template(
        tokenizer, TemplateConfig(like="+", dislike="-"), image=image_markup(NUM_IMAGE_TOKENS)
    )
    context = template.prefix([pair.prompt for pair in references])
    rows = [row for pair in references for row in (pair.liked, pair.disliked)]

    predictor = load_idefics2(weights / "idefics2", features=images.features, geometry=geometry)
    scores = predictor.scores("ann", references, candidates)

    for score, one in zip(scores, candidates, strict=True):
        ids = [*context.ids, *template.candidate(one.prompt).ids]
        seen = [prepared(images, row, geometry) for row in [*rows, one.row]]
        expected = naive(model, ids, seen, labels_of(tokenizer))
        assert score == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("num_references", [0, 2])
def test_viper_is_q_behind_its_own_template(
    num_references, weights, images, candidates, references, geometry, tokenizer
):
    base = Idefics2ForConditionalGeneration.from_pretrained(weights / "idefics2")
    model = load_adapter(base, weights / "viper").eval()
    read = references[:num_references]
    text = "".join(
        f"User:{IMAGE}Score for this image?<end_of_utterance>\n"
        f"Assistant: {label}<end_of_utterance>\n"
        for _ in read
        for label in ("-", "+")
    )
    text += f"User:{IMAGE}Score for this image?<end_of_utterance>\nAssistant: "
    ids = [tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]
    rows = [row for pair in read for row in (pair.disliked, pair.liked)]

    predictor = load_viper(weights / "viper", features=images.features, geometry=geometry)
    scores = predictor.scores("ann", read, candidates)

    for score, one in zip(scores, candidates, strict=True):
        seen = [prepared(images, row, geometry) for row in [*rows, one.row]]
        assert score == pytest.approx(naive(model, ids, seen, labels_of(tokenizer)), rel=1e-4)


@pytest.mark.parametrize("load", [load_idefics2, load_viper])
def test_the_newest_eight_references_are_read(load, weights, images, geometry):
    name = "idefics2" if load is load_idefics2 else "viper"
    predictor = load(weights / name, features=images.features, geometry=geometry)
    pairs = [Pair(i % 8, (i + 1) % 8, f"fish {i}") for i in range(11)]
    asked = [CandidateRow(0, "a red house"), CandidateRow(2, "fish")]

    scores = predictor.scores("ann", pairs, asked)

    np.testing.assert_allclose(scores, predictor.scores("ann", pairs[-8:], asked), rtol=1e-6)
    assert not np.allclose(scores, predictor.scores("ann", pairs[-7:], asked), rtol=1e-6)


@pytest.mark.parametrize("load", [load_idefics2, load_viper])
def test_liked_and_disliked_are_not_the_same(
    load, weights, images, candidates, references, geometry
):
    name = "idefics2" if load is load_idefics2 else "viper"
    predictor = load(weights / name, features=images.features, geometry=geometry)
    swapped = [Pair(pair.disliked, pair.liked, pair.prompt) for pair in references]

    scores = predictor.scores("ann", references, candidates)

    assert not np.allclose(scores, predictor.scores("ann", swapped, candidates), rtol=1e-5)


def test_the_adapter_changes_the_base(weights, images, candidates, references, geometry, tmp_path):
    scores = load_viper(weights / "viper", features=images.features, geometry=geometry)
    with_it = scores.scores("ann", references, candidates)
    for path in (weights / "viper").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config["lora_alpha"] = 1e-9
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))

    without = load_viper(
        tmp_path, features=images.features, geometry=geometry, base=weights / "idefics2"
    ).scores("ann", references, candidates)

    assert not np.allclose(with_it, without, rtol=1e-4)


def test_an_adapter_for_other_layers_is_refused(weights, images, geometry, tmp_path):
    (tmp_path / "adapter_model.safetensors").symlink_to(
        weights / "viper" / "adapter_model.safetensors"
    )
    config = json.loads((weights / "viper" / "adapter_config.json").read_text())
    config["target_modules"] = r".*vision_model.*(q_proj|k_proj)"
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))

    with pytest.raises(CheckpointRefused, match="cannot be put on this base"):
        load_viper(tmp_path, features=images.features, geometry=geometry, base=weights / "idefics2")


def test_vipers_base_is_named_where_it_is_missing(weights, images, geometry, tmp_path):
    (tmp_path / "viper").symlink_to(weights / "viper")

    with pytest.raises(LookupError) as raised:
        load_viper(tmp_path / "viper", features=images.features, geometry=geometry)

    assert str(tmp_path / "idefics2" / "model.safetensors") in str(raised.value)


def prepared(images, row, geometry):
    return normalise(resize(images.images[row].float() / 255, geometry))


def labels_of(tokenizer):
    return [tokenizer.encode(label, add_special_tokens=False)[0] for label in ("+", "-")]
