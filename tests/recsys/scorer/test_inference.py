"""What is loaded for inference: one type, the adapter merged where that keeps it, equal margins."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from recsys.scorer.adapter import (
    LEAST_KEPT,
    LoraShape,
    add_adapter,
    kept_by_merging,
    merge_adapter,
)
from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import find_checkpoint, load_scorer, save_scorer
from recsys.scorer.idefics2 import ADAPTER_TARGETS, VISION_TOWER, Idefics2Backbone, load_model
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference, ScorerConfig
from recsys.scorer.template import Template, TemplateConfig
from recsys.signatures.files import load_signature_reader
from recsys.signatures.probes import all_heads, encode_probes, read_probes
from training.fitting.assembly import first_parameters
from training.fitting.pretraining.tiny_base import TinyShape, build_model

# Idefics2's own topology, as wide as 4-bit blocks need.
SHAPE = TinyShape(
    image_px=16,
    vision_width=64,
    vision_layers=2,
    num_latents=2,
    width=128,
    layers=3,
    heads=4,
    key_value_heads=2,
    mlp_width=256,
)
LORA = LoraShape(rank=4, alpha=4, dropout=0.1, targets=ADAPTER_TARGETS, whole=(VISION_TOWER,))

MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="module")
def make_checkpoint(tokenizer, tmp_path_factory) -> MakeCheckpoint:
    """A checkpoint of random weights with an adapter as the paper has it."""
    folder = tmp_path_factory.mktemp("inference")
    image = tokenizer.convert_tokens_to_ids("<image>")
    build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=1).save_pretrained(
        folder / "base"
    )

    def make(name: str, *, update: float, dtype: str = "float32", quantization="none") -> Path:
        """With updates of about this size; on a base in this type."""
        unquantized = (VISION_TOWER,) if quantization == "nf4" else ()
        model = load_model(
            folder / "base",
            dtype=getattr(torch, dtype),
            quantization=quantization,
            unquantized=unquantized,
        )
        torch.manual_seed(2)
        backbone = Idefics2Backbone(add_adapter(model, LORA))
        for each, parameter in backbone.named_parameters():
            if "lora_B" in each:
                # lora_A is of deviation 1 / rank: a sum of so many products is half as large.
                torch.nn.init.normal_(parameter, std=2 * update)
            elif "modules_to_save" in each:
                parameter.data += 0.02 * torch.randn_like(parameter)
        template = Template(tokenizer, TemplateConfig(), image=backbone.image_markup)
        scorer = PreferenceScorer(
            backbone,
            template,
            geometry=SHAPE.geometry,
            config=ScorerConfig(num_references=2, num_preference_tokens=3),
        )
        base = BaseModel(str(folder / "base"), dtype=dtype, quantization=quantization)
        save_scorer(scorer.eval(), folder / name, base=base, tokenizer=tokenizer)
        return folder / name

    return make


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 20, 24, generator=torch.Generator().manual_seed(0))


CANDIDATES = [CandidateImage(each, "word " * i) for i, each in enumerate(images(16)[4:])]
REFERENCES = [Reference(*images(2), "a house"), Reference(*images(4)[2:], "")]


@torch.no_grad()
def margins(scorer: PreferenceScorer) -> Tensor:
    tokens = scorer.image_features([each.image for each in CANDIDATES])
    prompts = [each.prompt for each in CANDIDATES]
    return scorer.margins_of(scorer.prefix(REFERENCES), prompts, tokens)


@torch.no_grad()
def attention(scorer: PreferenceScorer) -> Tensor:
    """Where signatures read it, as Eq. 6."""
    probes = encode_probes(scorer, CANDIDATES[:4])
    shown = [image for each in REFERENCES for image in (each.liked, each.disliked)]
    prompts = [[each.prompt for each in REFERENCES]]
    features = scorer.image_features(shown)
    read = read_probes(scorer, prompts, features, probes, heads=all_heads(scorer))
    return read.attention.softmax(dim=-1)


def types(scorer: PreferenceScorer) -> set[torch.dtype]:
    return {each.dtype for each in scorer.backbone.parameters() if each.is_floating_point()}


def adapter_names(scorer: PreferenceScorer) -> list[str]:
    marks = ("lora_", "modules_to_save", "original_module")
    return [name for name, _ in scorer.named_parameters() if any(mark in name for mark in marks)]


def untrained(folder: Path) -> PreferenceScorer:
    """The checkpoint's scorer as if the adapter had learned nothing."""
    scorer = load_scorer(folder, merges_adapter=False)
    for name, parameter in scorer.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    return scorer


def error(found: Tensor, exact: Tensor) -> float:
    return (found - exact).square().mean().sqrt().item()


def merged_by_hand(folder: Path, **options: str) -> PreferenceScorer:
    """With the adapter merged, whatever rounding does to it."""
    scorer = load_scorer(folder, merges_adapter=False, **options)
    scorer.backbone = Idefics2Backbone(merge_adapter(scorer.backbone.model))
    return scorer


def test_a_merged_adapter_gives_the_margins_and_the_attention_of_an_own_one(
    make_checkpoint,
) -> None:
    folder = make_checkpoint("exact", update=0.02)
    own, merged = load_scorer(folder, merges_adapter=False), load_scorer(folder)
    assert adapter_names(own)
    assert adapter_names(merged) == []
    assert not any(isinstance(each, PeftModel) for each in merged.modules())
    assert merged.model_version == own.model_version
    exact = margins(own)
    assert error(margins(untrained(folder)), exact) > 0.01, "the adapter must matter"
    torch.testing.assert_close(margins(merged), exact, rtol=0, atol=1e-6)
    torch.testing.assert_close(attention(merged), attention(own), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision_a_merged_adapter_errs_as_an_own_one(make_checkpoint, dtype) -> None:
    folder = make_checkpoint(f"in {dtype}", update=0.02)
    whole = load_scorer(folder)
    own = load_scorer(folder, dtype=dtype, merges_adapter=False)
    merged = load_scorer(folder, dtype=dtype)
    assert adapter_names(merged) == []
    effect = error(margins(untrained(folder)), margins(whole))
    for read in (margins, attention):
        exact = read(whole)
        assert 0 < error(read(merged), exact) < 2 * error(read(own), exact)
    assert error(margins(merged), margins(whole)) < 0.15 * effect


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_all_but_the_preference_tokens_have_one_type_and_compute_in_it(
    make_checkpoint, monkeypatch, dtype, quantization
) -> None:
    folder = make_checkpoint(f"{quantization} {dtype}", update=0.02, quantization=quantization)
    own = load_scorer(folder, dtype=dtype, merges_adapter=False)
    assert torch.float32 in types(own)
    expected = margins(own)
    scorer = load_scorer(folder, dtype=dtype)
    assert types(scorer) == {getattr(torch, dtype)}
    assert scorer.preference_tokens.dtype == torch.float32

    def autocast(*arguments: object) -> None:
        raise AssertionError("a model in one type needs no autocast")

    monkeypatch.setattr(torch, "autocast", autocast)
    tolerance = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 2e-3}[dtype]
    torch.testing.assert_close(margins(scorer), expected, rtol=0, atol=tolerance)


def test_an_update_that_rounding_would_lose_is_not_merged(make_checkpoint, caplog) -> None:
    caplog.set_level(logging.INFO)
    small = make_checkpoint("small", update=3e-5)
    kept = {
        dtype: kept_by_merging(load_scorer(small, dtype=dtype, merges_adapter=False).backbone.model)
        for dtype in ("float32", "bfloat16")
    }
    assert kept["float32"] == pytest.approx(1, abs=1e-3)
    assert kept["bfloat16"] < LEAST_KEPT
    scorer = load_scorer(small, dtype="bfloat16")
    assert any("lora_B" in name for name in adapter_names(scorer))
    assert "the adapter is not merged: torch.bfloat16 would keep" in caplog.text
    assert adapter_names(load_scorer(small)) == []


def test_what_was_trained_whole_is_not_held_twice_beside_an_adapter_that_stays(
    make_checkpoint,
) -> None:
    scorer = load_scorer(make_checkpoint("whole", update=0.02, quantization="nf4"))
    assert all("lora_" in name for name in adapter_names(scorer))
    assert any("vision_model" in name for name, _ in scorer.named_parameters())


@pytest.mark.filterwarnings("ignore:Merge lora module to 4-bit")
@pytest.mark.parametrize("update", [0.005, 0.02])
def test_merging_into_4_bits_would_lose_more_than_half_precision_does(
    make_checkpoint, update
) -> None:
    """Why the adapter stays there."""
    folder = make_checkpoint(f"4 bits {update}", update=update, quantization="nf4")
    exact = margins(load_scorer(folder))
    effect = error(margins(untrained(folder)), exact)
    lost = error(margins(merged_by_hand(folder)), exact)
    assert lost > 1.5 * error(margins(load_scorer(folder, dtype="bfloat16")), exact)
    assert lost > 0.25 * effect


@pytest.mark.parametrize(
    ("dtype", "tolerance", "least_cosine"), [("float32", 1e-5, 0.99999), ("bfloat16", 0.1, 0.995)]
)
def test_the_shipped_checkpoint_scores_and_signs_the_same_merged(
    dtype, tolerance, least_cosine
) -> None:
    own = load_scorer("tiny", merges_adapter=False)
    merged = load_scorer("tiny", dtype=dtype)
    torch.testing.assert_close(margins(merged), margins(own), rtol=0, atol=tolerance)
    one, other = (
        load_signature_reader(find_checkpoint("tiny"), scorer).read(REFERENCES)
        for scorer in (own, merged)
    )
    assert one @ other > least_cosine


def test_gradients_reach_the_pixels_of_a_merged_scorer(make_checkpoint) -> None:
    """As guidance of a generator needs them."""
    scorer = load_scorer(make_checkpoint("guiding", update=0.02), dtype="bfloat16")
    image = images(1)[0].requires_grad_()
    tokens = scorer.image_features([image])
    logits = scorer.candidate_logits_of(scorer.prefix(REFERENCES), ["a house"], tokens)
    (logits[0, 0] - logits[0, 1]).backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert image.grad.abs().sum() > 0


def test_what_was_loaded_for_inference_is_neither_trained_nor_saved(
    make_checkpoint, tokenizer, tmp_path
) -> None:
    folder = make_checkpoint("for inference", update=0.02)
    scorer = load_scorer(folder)
    with pytest.raises(ValueError, match="must have its adapter to be trained"):
        first_parameters(scorer)
    base = BaseModel(str(folder.parent / "base"))
    with pytest.raises(ValueError, match="must have its adapter to be saved"):
        save_scorer(scorer, tmp_path / "again", base=base, tokenizer=tokenizer)
    assert not (tmp_path / "again").exists()
    own = load_scorer(folder, merges_adapter=False)
    assert save_scorer(own, tmp_path / "again", base=base, tokenizer=tokenizer) == (
        scorer.model_version
    )
