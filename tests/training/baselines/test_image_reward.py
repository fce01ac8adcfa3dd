"""ImageReward against a naive pass over BLIP's own weights, written from its architecture."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import BertTokenizer

from recsys.errors import CheckpointRefused
from training.baselines._blip_names import text_config, under, vision_config
from training.baselines._pixels import CLIP_SCALE, crop_middle
from training.baselines.image_reward import load_image_reward
from training.predictors.predictor import CandidateRow


@pytest.fixture
def state(weights):
    return torch.load(weights / "image_reward" / "ImageReward.pt", weights_only=True)


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def normed(x, state, name, eps):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def attend(query, key, value, num_heads, mask=None):
    """Plain softmax attention of (q, width) to (k, width)."""
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(0, 1) for x in (query, key, value))
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def naive_vision(image, state):
    pixels = CLIP_SCALE(crop_middle(image, 16))[None]
    patches = F.conv2d(
        pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=8
    )
    x = torch.cat([state["cls_token"][0], patches.flatten(2)[0].T]) + state["pos_embed"][0]
    for i in range(2):
        block = f"blocks.{i}"
        y = normed(x, state, f"{block}.norm1", 1e-6)
        query, key, value = linear(y, state, f"{block}.attn.qkv").chunk(3, dim=-1)
        x = x + linear(attend(query, key, value, 2), state, f"{block}.attn.proj")
        y = linear(normed(x, state, f"{block}.norm2", 1e-6), state, f"{block}.mlp.fc1")
        x = x + linear(F.gelu(y), state, f"{block}.mlp.fc2")
    return normed(x, state, "norm", 1e-6)


def naive_attention(x, seen, state, name, mask=None):
    """BERT's: query from x, key and value from what is seen, added to x and normed."""
    query = linear(x, state, f"{name}.self.query")
    key, value = linear(seen, state, f"{name}.self.key"), linear(seen, state, f"{name}.self.value")
    y = linear(attend(query, key, value, 4, mask), state, f"{name}.output.dense")
    return normed(x + y, state, f"{name}.output.LayerNorm", 1e-12)


def naive_text(prompt, seen, state, tokenizer):
    """Padded to 35 tokens, as the authors do; every layer looks at the image."""
    tokens = tokenizer(prompt, padding="max_length", truncation=True, max_length=35)
    ids, mask = torch.tensor(tokens["input_ids"]), torch.tensor(tokens["attention_mask"]).bool()
    x = state["embeddings.word_embeddings.weight"][ids]
    x = x + state["embeddings.position_embeddings.weight"][:35]
    x = normed(x, state, "embeddings.LayerNorm", 1e-12)
    for i in range(2):
        layer = f"encoder.layer.{i}"
        x = naive_attention(x, x, state, f"{layer}.attention", mask)
        x = naive_attention(x, seen, state, f"{layer}.crossattention")
        y = linear(F.gelu(linear(x, state, f"{layer}.intermediate.dense")), state,
                   f"{layer}.output.dense")  # fmt: skip
        x = normed(x + y, state, f"{layer}.output.LayerNorm", 1e-12)
    return x[0]


def test_is_the_authors_architecture(weights, images, candidates, state):
    folder = weights / "image_reward"
    tokenizer = BertTokenizer.from_pretrained(folder)

    scores = load_image_reward(folder, images=images).scores("ann", [], candidates)

    for score, one in zip(scores, candidates, strict=True):
        seen = naive_vision(images.images[one.row], under(state, "blip.visual_encoder."))
        x = naive_text(one.prompt, seen, under(state, "blip.text_encoder."), tokenizer)
        for place in (0, 2, 4, 6, 7):
            x = linear(x, state, f"mlp.layers.{place}")
        expected = (x.item() - 0.16717) / 1.03334
        assert score == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_prompt_is_cut_at_35_tokens(weights, images):
    predictor = load_image_reward(weights / "image_reward", images=images)
    asked = [CandidateRow(0, "red " * count) for count in (33, 34, 500, 32)]

    full, over, far_over, short = predictor.scores("ann", [], asked)

    # Begin, 33 words, end.
    np.testing.assert_allclose([over, far_over], full, rtol=1e-6)
    assert short != pytest.approx(full, rel=1e-6)


def test_the_published_dimensions_are_read_off_the_weights():
    with torch.device("meta"):
        vision = {
            "patch_embed.proj.weight": torch.empty(1024, 3, 16, 16),
            "pos_embed": torch.empty(1, 197, 1024),
            "blocks.0.mlp.fc1.weight": torch.empty(4096, 1024),
            **{f"blocks.{i}.norm1.weight": torch.empty(1024) for i in range(24)},
        }
        text = {
            "encoder.layer.0.crossattention.self.key.weight": torch.empty(768, 1024),
            "embeddings.word_embeddings.weight": torch.empty(30524, 768),
        }
    med = {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "max_position_embeddings": 512, "hidden_act": "gelu",
        "layer_norm_eps": 1e-12, "encoder_width": 768,
    }  # fmt: skip

    config, read = vision_config(vision), text_config(med, text)

    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (
        1024,
        24,
        16,
    )
    assert config.layer_norm_eps == 1e-6
    assert (config.image_size, config.patch_size, config.intermediate_size) == (224, 16, 4096)
    assert (read.encoder_hidden_size, read.vocab_size, read.num_attention_heads) == (
        1024,
        30524,
        12,
    )


@pytest.mark.parametrize(
    "lost",
    [
        "blip.visual_encoder.norm.bias",
        "blip.text_encoder.encoder.layer.1.crossattention.self.key.bias",
        "mlp.layers.6.weight",
    ],
)
def test_a_lost_weight_is_refused(lost, weights, images, tmp_path, state):
    copy_small_files(weights / "image_reward", tmp_path)
    torch.save({n: t for n, t in state.items() if n != lost}, tmp_path / "ImageReward.pt")

    with pytest.raises(CheckpointRefused, match=r"ImageReward\.pt"):
        load_image_reward(tmp_path, images=images)


def test_a_config_without_a_value_is_refused(weights, images, tmp_path, state):
    copy_small_files(weights / "image_reward", tmp_path)
    torch.save(state, tmp_path / "ImageReward.pt")
    med = json.loads((tmp_path / "med_config.json").read_text())
    del med["num_attention_heads"]
    (tmp_path / "med_config.json").write_text(json.dumps(med))

    with pytest.raises(CheckpointRefused, match="num_attention_heads"):
        load_image_reward(tmp_path, images=images)


def copy_small_files(folder, target):
    for name in ("vocab.txt", "med_config.json"):
        (target / name).write_text((folder / name).read_text())
