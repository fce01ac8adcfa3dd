"""HPSv2 against a naive pass over OpenCLIP's own weights, written from its architecture."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPModel, CLIPTokenizer

from recsys.errors import CheckpointRefused
from training.baselines._open_clip_names import config_of, to_transformers
from training.baselines._pixels import CLIP_SCALE, pad_to_square
from training.baselines.hps import load_hps

FILE = "HPS_v2.1_compressed.pt"


@pytest.fixture
def state(weights):
    return torch.load(weights / "hps_v2" / FILE, weights_only=True)["state_dict"]


def normed(x, state, name):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def blocks(x, state, prefix, num_heads, mask=None):
    """Two residual blocks over x (L, 1, width), with query, key and value in one matrix."""
    for layer in range(2):
        block = f"{prefix}transformer.resblocks.{layer}"
        y = normed(x, state, f"{block}.ln_1")
        attended, _ = F.multi_head_attention_forward(
            y, y, y, x.shape[-1], num_heads,
            state[f"{block}.attn.in_proj_weight"], state[f"{block}.attn.in_proj_bias"],
            None, None, False, 0.0,
            state[f"{block}.attn.out_proj.weight"], state[f"{block}.attn.out_proj.bias"],
            training=False, attn_mask=mask,
        )  # fmt: skip
        x = x + attended
        y = normed(x, state, f"{block}.ln_2")
        y = y @ state[f"{block}.mlp.c_fc.weight"].T + state[f"{block}.mlp.c_fc.bias"]
        y = F.gelu(y) @ state[f"{block}.mlp.c_proj.weight"].T + state[f"{block}.mlp.c_proj.bias"]
        x = x + y
    return x


def naive_image(image, state):
    pixels = CLIP_SCALE(pad_to_square(image, 16))[None]
    patches = F.conv2d(pixels, state["visual.conv1.weight"], stride=8).flatten(2)[0].T
    x = torch.cat([state["visual.class_embedding"][None], patches])
    x = normed(x + state["visual.positional_embedding"], state, "visual.ln_pre")
    x = blocks(x[:, None], state, "visual.", num_heads=2)
    return F.normalize(normed(x[0, 0], state, "visual.ln_post") @ state["visual.proj"], dim=-1)


def naive_text(prompt, state, tokenizer):
    ids = tokenizer(prompt, truncation=True, max_length=77)["input_ids"]
    # OpenCLIP fills up with zeros and reads at the highest id.
    ids = torch.tensor(ids + [0] * (77 - len(ids)))
    x = state["token_embedding.weight"][ids] + state["positional_embedding"]
    mask = torch.full((77, 77), float("-inf")).triu(1)
    x = blocks(x[:, None], state, "", num_heads=2, mask=mask)[:, 0]
    x = normed(x, state, "ln_final")[ids.argmax()]
    return F.normalize(x @ state["text_projection"], dim=-1)


def test_is_the_cosine_of_open_clips_towers(weights, images, candidates, state):
    predictor = load_hps(weights / "hps_v2", images=images)
    tokenizer = CLIPTokenizer.from_pretrained(weights / "hps_v2")

    scores = predictor.scores("ann", [], candidates)

    expected = [
        float(naive_image(images.images[one.row], state) @ naive_text(one.prompt, state, tokenizer))
        for one in candidates
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_every_name_has_one_and_every_weight_arrives(state):
    model = CLIPModel(config_of(state))

    renamed = to_transformers(state)

    own = model.state_dict()
    assert set(renamed) == set(own)
    assert {n: t.shape for n, t in renamed.items()} == {n: t.shape for n, t in own.items()}
    assert sum(t.numel() for t in renamed.values()) == sum(t.numel() for t in state.values())


def test_the_published_dimensions_are_read_off_the_weights():
    """ViT-H/14 as it is published, without its numbers."""
    with torch.device("meta"):
        state = published()

    config = config_of(state)

    vision, text = config.vision_config, config.text_config
    assert (vision.num_hidden_layers, vision.num_attention_heads) == (32, 16)
    assert (vision.hidden_size, vision.intermediate_size) == (1280, 5120)
    assert (vision.image_size, vision.patch_size) == (224, 14)
    assert (text.num_hidden_layers, text.num_attention_heads) == (24, 16)
    assert (text.hidden_size, text.intermediate_size) == (1024, 4096)
    assert (text.vocab_size, text.eos_token_id, text.max_position_embeddings) == (49408, 49407, 77)
    assert config.projection_dim == 1024


def published():
    state = {
        "token_embedding.weight": torch.empty(49408, 1024),
        "positional_embedding": torch.empty(77, 1024),
        "visual.conv1.weight": torch.empty(1280, 3, 14, 14),
        "visual.positional_embedding": torch.empty(257, 1280),
        "visual.proj": torch.empty(1280, 1024),
    }
    for prefix, width, layers in (("", 1024, 24), ("visual.", 1280, 32)):
        for layer in range(layers):
            block = f"{prefix}transformer.resblocks.{layer}"
            state[f"{block}.ln_1.weight"] = torch.empty(width)
            state[f"{block}.mlp.c_fc.weight"] = torch.empty(4 * width, width)
    return state


def test_either_version_is_asked_for_by_name(weights, images, tmp_path):
    with pytest.raises(LookupError, match=r"HPS_v2_compressed\.pt"):
        load_hps(weights / "hps_v2", images=images, version="v2.0")


def test_an_unknown_name_or_a_lost_one_is_refused(weights, images, tmp_path, state):
    (tmp_path / "tokenizer.json").symlink_to(weights / "hps_v2" / "tokenizer.json")
    lost = {name: tensor for name, tensor in state.items() if name != "ln_final.bias"}
    for changed in (state | {"visual.attn_pool": torch.zeros(1)}, lost):
        torch.save({"state_dict": changed}, tmp_path / FILE)

        with pytest.raises(CheckpointRefused, match=r"visual.attn_pool|final_layer_norm.bias"):
            load_hps(tmp_path, images=images)


class Trap:
    """Whose unpickling would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_file_that_would_run_something_is_refused_unrun(weights, images, tmp_path):
    (tmp_path / "tokenizer.json").symlink_to(weights / "hps_v2" / "tokenizer.json")
    torch.save({"state_dict": {}, "more": Trap(tmp_path / "sprung")}, tmp_path / FILE)

    with pytest.raises(CheckpointRefused):
        load_hps(tmp_path, images=images)

    assert not (tmp_path / "sprung").exists()
