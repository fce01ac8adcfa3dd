"""Small random weights in the true architecture and the true files, one folder a baseline."""

import json

import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from recsys.history import Pair
from recsys.images.preprocess import ImageGeometry
from recsys.scorer.adapter import LoraShape, add_adapter, save_adapter
from recsys.scorer.idefics2 import ADAPTER_TARGETS
from training.baselines._pixels import CLIP_SCALE
from training.data.features import ImageFeatures
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer
from training.predictors.predictor import CandidateRow

SIDE_PX = 16
WIDTH = 32
SHAPE = TinyShape(
    image_px=16,
    patch_px=8,
    vision_width=16,
    vision_layers=1,
    vision_heads=2,
    num_latents=2,
    width=32,
    layers=2,
    heads=4,
    mlp_width=32,
    vocabulary=400,
)


class ImageTable:
    """Random images of several sizes, and how often each was read."""

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        sizes = [(16, 16), (16, 16), (20, 33), (40, 17), (16, 24), (9, 9), (31, 16), (16, 16)]
        # Coarse squares: noise alone would look alike after a resize.
        self.images = [
            torch.randint(0, 256, (3, h // 4 + 1, w // 4 + 1), generator=generator)
            .repeat_interleave(4, 1)
            .repeat_interleave(4, 2)[:, :h, :w]
            .to(torch.uint8)
            .contiguous()
            for h, w in sizes
        ]
        self.reads: list[int] = []

    def __call__(self, row):
        self.reads.append(row)
        return self.images[row]

    def features(self, scorer):
        """Image tokens by row, as a scorer makes them."""
        return ImageFeatures(scorer, self)


@pytest.fixture
def images():
    return ImageTable()


@pytest.fixture
def candidates():
    prompts = ["a red house", "", "Three fish, at sea " * 30, "a red house"]
    return [CandidateRow(row, prompt) for row, prompt in zip([2, 3, 0, 5], prompts, strict=True)]


@pytest.fixture
def references():
    return [Pair(1, 4, "a blue house"), Pair(6, 7, "fish")]


@pytest.fixture(scope="session")
def geometry():
    """How the tiny Idefics2 sees; the published one's size would take minutes here."""
    return ImageGeometry(square_px=SHAPE.image_px)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """The folder of all baselines' folders."""
    root = tmp_path_factory.mktemp("weights")
    for name in ("clip_score", "pick_score", "laion_aesthetic"):
        save_clip(root / name, seed=len(name))
    save_clip_tokenizer(root / "hps_v2")
    save_head(root / "laion_aesthetic" / "sac+logos+ava1-l14-linearMSE.pth")
    state = {"state_dict": open_clip_state(), "epoch": 3}
    torch.save(state, root / "hps_v2" / "HPS_v2.1_compressed.pt")
    save_image_reward(root / "image_reward")
    save_idefics2(root / "idefics2")
    save_viper(root / "viper")
    return root


@torch.no_grad()
def scatter(model, seed, std=0.2):
    """Weights large enough for scores to differ."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim:
            parameter += std * torch.randn(parameter.shape, generator=generator)


def save_clip(folder, seed):
    tokenizer = save_clip_tokenizer(folder)
    tower = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2}
    tower |= {"num_attention_heads": 4, "projection_dim": WIDTH}
    text = {"vocab_size": len(tokenizer), "bos_token_id": 512, "eos_token_id": 513}
    vision = {"image_size": SIDE_PX, "patch_size": 8}
    model = CLIPModel(
        CLIPConfig(text_config=tower | text, vision_config=tower | vision, projection_dim=WIDTH)
    )
    scatter(model, seed)
    model.save_pretrained(folder)
    prepared = {"image_mean": CLIP_SCALE.mean, "image_std": CLIP_SCALE.std}
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))


def save_clip_tokenizer(folder):
    """CLIP's bytes, inside a word and at its end, and no merges: 514 tokens."""
    letters = sorted(ByteLevel.alphabet())
    names = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[])
    tokenizer.save_pretrained(folder)
    return tokenizer


def head_state():
    """The published heads' shape and names, at our width."""
    widths = {0: (WIDTH, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}
    torch.manual_seed(4)
    return {
        f"layers.{place}.{kind}": tensor
        for place, (wide, narrow) in widths.items()
        for kind, tensor in nn.Linear(wide, narrow).state_dict().items()
    }


def save_head(path):
    torch.save(head_state(), path)


def randoms(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: 0.2 * torch.randn(*shape, generator=generator)


def open_clip_state():
    """By OpenCLIP's names: heads of 80 in the vision tower and of 64 in the other."""
    random = randoms(7)
    vision, text, embedding = 160, 128, 24
    state = {
        "logit_scale": torch.tensor(4.0),
        "positional_embedding": random(77, text),
        "token_embedding.weight": random(514, text),
        "text_projection": random(text, embedding),
        "visual.class_embedding": random(vision),
        "visual.positional_embedding": random(5, vision),
        "visual.conv1.weight": random(vision, 3, 8, 8),
        "visual.proj": random(vision, embedding),
    }
    for name, width in (
        ("ln_final", text),
        ("visual.ln_pre", vision),
        ("visual.ln_post", vision),
    ):
        state |= {f"{name}.weight": 1 + random(width), f"{name}.bias": random(width)}
    for prefix, width in (("", text), ("visual.", vision)):
        for layer in range(2):
            block = f"{prefix}transformer.resblocks.{layer}"
            state |= open_clip_block(block, width, random)
    return state


def open_clip_block(block, width, random):
    matrices = {
        "attn.in_proj_": (3 * width, width),
        "attn.out_proj.": (width, width),
        "mlp.c_fc.": (2 * width, width),
        "mlp.c_proj.": (width, 2 * width),
    }
    state = {f"{block}.{name}weight": random(*shape) for name, shape in matrices.items()}
    state |= {f"{block}.{name}bias": random(shape[0]) for name, shape in matrices.items()}
    for norm in ("ln_1", "ln_2"):
        state |= {
            f"{block}.{norm}.weight": 1 + random(width),
            f"{block}.{norm}.bias": random(width),
        }
    return state


MED = {
    "hidden_act": "gelu",
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 30,
    "add_cross_attention": True,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "house", "fish", "##s", ","]


def save_image_reward(folder):
    folder.mkdir()
    (folder / "med_config.json").write_text(json.dumps(MED))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    state = {f"mlp.{name}": tensor for name, tensor in head_state().items()}
    torch.save(state | blip_state(), folder / "ImageReward.pt")


def linear(name, wide, narrow, random):
    return {f"{name}.weight": random(narrow, wide), f"{name}.bias": random(narrow)}


def norm(name, width, random):
    return {f"{name}.weight": 1 + random(width), f"{name}.bias": random(width)}


def blip_state():
    """By BLIP's names, with what training left beside the two towers."""
    random = randoms(9)
    vision, text = 128, WIDTH
    eye, reader = "blip.visual_encoder", "blip.text_encoder"
    state = {
        f"{eye}.cls_token": random(1, 1, vision),
        f"{eye}.pos_embed": random(1, 5, vision),
        f"{eye}.patch_embed.proj.weight": random(vision, 3, 8, 8),
        f"{eye}.patch_embed.proj.bias": random(vision),
        f"{reader}.embeddings.word_embeddings.weight": random(32, text),
        f"{reader}.embeddings.position_embeddings.weight": random(40, text),
        f"{reader}.embeddings.position_ids": torch.arange(40)[None],
        **norm(f"{eye}.norm", vision, random),
        **norm(f"{reader}.embeddings.LayerNorm", text, random),
        **linear("blip.vision_proj", vision, 16, random),
        **linear("blip.text_proj", text, 16, random),
    }
    for i in range(2):
        block, layer = f"{eye}.blocks.{i}", f"{reader}.encoder.layer.{i}"
        state |= norm(f"{block}.norm1", vision, random) | norm(f"{block}.norm2", vision, random)
        state |= linear(f"{block}.attn.qkv", vision, 3 * vision, random)
        state |= linear(f"{block}.attn.proj", vision, vision, random)
        state |= linear(f"{block}.mlp.fc1", vision, 256, random)
        state |= linear(f"{block}.mlp.fc2", 256, vision, random)
        for attention, seen in (("attention", text), ("crossattention", vision)):
            state |= linear(f"{layer}.{attention}.self.query", text, text, random)
            state |= linear(f"{layer}.{attention}.self.key", seen, text, random)
            state |= linear(f"{layer}.{attention}.self.value", seen, text, random)
            state |= linear(f"{layer}.{attention}.output.dense", text, text, random)
            state |= norm(f"{layer}.{attention}.output.LayerNorm", text, random)
        state |= linear(f"{layer}.intermediate.dense", text, 64, random)
        state |= linear(f"{layer}.output.dense", 64, text, random)
        state |= norm(f"{layer}.output.LayerNorm", text, random)
    return state


def tiny_idefics2():
    tokenizer = train_tokenizer(["a red house", "three fish"], vocabulary=SHAPE.vocabulary)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=3)
    # The output matrix starts so small that all would look equal.
    scatter(model.lm_head, seed=6)
    return model, tokenizer


def save_idefics2(folder):
    model, tokenizer = tiny_idefics2()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_viper(folder):
    adapted = add_adapter(
        tiny_idefics2()[0], LoraShape(rank=2, dropout=0.0), family_targets=ADAPTER_TARGETS
    )
    scatter(adapted, seed=8, std=0.1)
    save_adapter(adapted, folder)
