"""CLIP score and PickScore against the library's own forward pass of the same weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTokenizer

from recsys.errors import CheckpointRefused
from training.baselines._pixels import crop_middle
from training.baselines.clip_score import load_clip_score, load_pick_score
from training.predictors.predictor import CandidateRow


@torch.no_grad()
def naive(folder, image, prompt):
    """Temperature times cosine, and the temperature, of one image and one padded prompt."""
    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokens = tokenizer(
        [prompt], padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    pixels = (crop_middle(image, 16) / 255 - mean) / std
    output = model(pixel_values=pixels[None], **tokens)
    return output.logits_per_image.item(), model.logit_scale.exp().item()


def test_pick_score_is_the_librarys_logit(weights, images, candidates):
    predictor = load_pick_score(weights / "pick_score", images=images)

    scores = predictor.scores("ann", [], candidates)

    for score, one in zip(scores, candidates, strict=True):
        expected, _ = naive(weights / "pick_score", images.images[one.row], one.prompt)
        assert score == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_clip_score_is_a_hundred_times_the_cosine(weights, images, candidates):
    predictor = load_clip_score(weights / "clip_score", images=images)

    scores = predictor.scores("ann", [], candidates)

    for score, one in zip(scores, candidates, strict=True):
        logit, temperature = naive(weights / "clip_score", images.images[one.row], one.prompt)
        assert score == pytest.approx(100 * logit / temperature, rel=1e-4, abs=1e-3)
    assert np.abs(scores).max() <= 100


def test_a_prompt_is_cut_where_the_tower_ends(weights, images):
    predictor = load_clip_score(weights / "clip_score", images=images)
    # One token a letter: begin, 75 letters, end.
    asked = [
        CandidateRow(0, "a" * 75),
        CandidateRow(0, "a" * 76 + "b" * 200),
        CandidateRow(0, "a" * 70),
    ]

    cut, long, short = predictor.scores("ann", [], asked)

    # The 75th letter of the first ends its word, and has a token of its own for that.
    assert long == pytest.approx(predictor.scores("ann", [], [CandidateRow(0, "a" * 90)])[0])
    assert cut != pytest.approx(short, abs=1e-3)


def test_weights_that_lack_one_are_refused(weights, images, tmp_path):
    folder = copied(weights / "clip_score", tmp_path)
    state = load_file(folder / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointRefused, match=r"lacks \['visual_projection.weight'\]"):
        load_clip_score(folder, images=images)


def test_another_models_tokenizer_is_refused(weights, images, tmp_path):
    folder = copied(weights / "clip_score", tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder)

    with pytest.raises(CheckpointRefused, match="514 tokens, got 515"):
        load_clip_score(folder, images=images)


def test_shards_are_read_and_a_missing_one_is_named(weights, images, candidates, tmp_path):
    folder = copied(weights / "pick_score", tmp_path)
    (folder / "model.safetensors").unlink()
    model = CLIPModel.from_pretrained(weights / "pick_score")
    model.save_pretrained(folder, max_shard_size="40KB")
    shards = sorted(folder.glob("model-*.safetensors"))

    scores = load_pick_score(folder, images=images).scores("ann", [], candidates)

    whole = load_pick_score(weights / "pick_score", images=images)
    assert len(shards) > 1
    np.testing.assert_allclose(scores, whole.scores("ann", [], candidates), rtol=1e-5)
    shards[1].unlink()
    with pytest.raises(LookupError, match=shards[1].name):
        load_pick_score(folder, images=images)


def copied(folder, tmp_path):
    target = tmp_path / folder.name
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target
