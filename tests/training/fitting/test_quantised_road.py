"""The paper's road at toy size, in the precision of its recipe: 4-bit base and LoRA beside a vision
tower trained whole, then an unquantised base, both in bfloat16 or both in float16.
"""

import contextlib
import json
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from rich.console import Console

from recsys.runtime import Runtime
from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import load_scorer, save_scorer
from recsys.scorer.digests import weights_digest
from recsys.scorer.idefics2 import Idefics2Backbone, load_model
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from recsys.scorer.pretrained import load_tokenizer
from recsys.settings import Settings
from training.data.splits import SplitRule
from training.fitting import stages
from training.fitting.assembly import (
    build_scorer,
    first_parameters,
    inference,
    second_parameters,
    train_only,
)
from training.fitting.parallel import Processes, launched
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer
from training.fitting.recipes.idefics2_8b import idefics2_8b
from training.fitting.recipes.recipe import Recipe
from training.fitting.run_state import read_tensors
from training.fitting.stages import Training
from training.fitting.trainer import ONE

QUIET = Console(quiet=True)
SHAPE = TinyShape(
    image_px=16,
    vision_width=64,
    vision_layers=1,
    num_latents=2,
    width=128,
    layers=2,
    key_value_heads=2,
    mlp_width=128,
    vocabulary=400,
)


def toy(*, dtype: str = "auto", num_steps: int = 2, rate: float = 1e-2, **plan) -> Recipe:
    """The paper's recipe with fewer steps, on a toy base; what it trains, how and in what stays.

    Args:
        dtype: in place of the recipe's; "float32" is what others are compared with.
        num_steps: of either stage.
        rate: of learning.
        plan: more of it.
    """
    whole = idefics2_8b()
    assert (whole.base.dtype, whole.base.second_dtype) == ("auto", "auto")

    def short(stage):
        every = num_steps // 2 if num_steps > 2 else 2
        return replace(
            stage,
            plan=replace(
                stage.plan,
                num_steps=num_steps,
                num_parts=2,
                validate_every=every,
                learning_rate=rate,
                **plan,
            ),
        )

    return replace(
        whole,
        base=replace(whole.base, dtype=dtype, second_dtype=dtype, geometry=SHAPE.geometry),
        split=SplitRule(held_prompts=0.2, validation_users=0.2),
        scorer=replace(whole.scorer, num_references=2, num_preference_tokens=3),
        first=short(whole.first),
        second=short(whole.second),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, draw_world) -> Path:
    """A folder with a base and choices."""
    folder = draw_world(tmp_path_factory.mktemp("quantised"), {1: 8})
    tokenizer = train_tokenizer(["three small fish"], vocabulary=SHAPE.vocabulary)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=0)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    return folder


@pytest.fixture(scope="module")
def road(world: Path) -> Path:
    """The same with a run in it, in what the recipe chooses on this machine."""
    run(toy(), world, world / "run")
    return world


def run(recipe: Recipe, world: Path, folder: Path, processes: Processes = ONE) -> None:
    """In this process or another one, which has no fixture."""
    settings = Settings(
        database_url=f"sqlite:///{world / 'recsys.db'}",
        blob_url=f"file://{world / 'blobs'}",
        identity_key="a key for the tests",
    )
    with Runtime(settings) as runtime:
        base, store = world / "base", runtime.store
        Training(recipe, base, store, folder, console=QUIET, processes=processes).run()


def test_a_checkpoint_names_the_base_it_was_trained_on(road, tmp_path) -> None:
    """Not the one of the hub that the recipe names; it loads offline, and from elsewhere."""
    for name in ("stage1", "final"):
        named = json.loads((road / "run" / name / "scorer.json").read_text())["base"]
        assert named["source"] == str(road / "base")
        assert named["revision"] is None
        assert named["weights_sha256"] == weights_digest(road / "base")
    assert json.loads((road / "run/run.json").read_text())["base"] == named
    moved = shutil.copytree(road / "base", tmp_path / "moved")
    here, there = load_scorer(road / "run/final"), load_scorer(road / "run/final", base=moved)
    assert torch.equal(scores(here), scores(there))


def scores(scorer: PreferenceScorer) -> torch.Tensor:
    images = torch.rand(6, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    references = [Reference(images[0], images[1], "a"), Reference(images[2], images[3], "b")]
    candidates = [CandidateImage(images[4], "c"), CandidateImage(images[5], "")]
    return scorer.score(scorer.prefix(references), candidates)


def test_stage_1_is_held_in_4_bits_but_for_what_is_trained_whole(road) -> None:
    model = build_scorer(toy(dtype="float16"), road / "base").backbone.model
    kinds = {n: type(m).__name__ for n, m in model.named_modules()}
    assert any(kind == "Linear4bit" for name, kind in kinds.items() if "text_model" in name)
    vision = [kind for name, kind in kinds.items() if "vision_model" in name and "proj" in name]
    assert vision
    assert "Linear4bit" not in vision


def test_the_base_of_stage_1_is_gone_before_that_of_stage_2_is_read(
    world, tmp_path, monkeypatch
) -> None:
    built: list[PreferenceScorer] = []
    num_bytes: list[int] = []
    build = stages.build_scorer

    def recorded(*arguments, **options) -> PreferenceScorer:
        weights = [each for one in built for each in (*one.parameters(), *one.buffers())]
        held = [each for weight in weights for each in (weight, weight.grad) if each is not None]
        num_bytes.append(sum(each.untyped_storage().nbytes() for each in held))
        built.append(build(*arguments, **options))
        return built[-1]

    monkeypatch.setattr(stages, "build_scorer", recorded)
    run(toy(num_steps=1), world, tmp_path)
    assert num_bytes == [0, 0]


def test_both_stages_reload(road) -> None:
    first, final = (load_scorer(road / "run" / name) for name in ("stage1", "final"))
    assert scores(first).isfinite().all()
    assert torch.equal(scores(final), scores(load_scorer(road / "run/final")))
    moved = first.preference_tokens - final.preference_tokens
    assert moved.abs().max() > 0


def test_the_vision_tower_was_trained_and_travels_with_the_adapter(road) -> None:
    final = load_scorer(road / "run/final")
    fresh = build_scorer(toy(dtype="bfloat16"), road / "base")
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    trained, before = (s.backbone.image_tokens(image) for s in (final, fresh))
    assert not torch.allclose(trained, before, atol=1e-4)


def test_a_merged_adapter_scores_alike(road) -> None:
    merged = load_scorer(road / "run/final")
    assert not any("lora_" in name for name, _ in merged.named_parameters())
    expected = scores(load_scorer(road / "run/final", merges_adapter=False))
    # The sum is rounded to bfloat16: 8 bits.
    torch.testing.assert_close(scores(merged), expected, rtol=0, atol=2**-6)


def test_an_adapter_can_be_what_a_run_begins_with(road) -> None:
    begun = toy(dtype="bfloat16")
    begun = replace(begun, base=replace(begun.base, quantization="none"))
    adapter = road / "run/final/adapter"
    scorer = build_scorer(
        replace(begun, base=replace(begun.base, adapter=str(adapter))), road / "base"
    )
    saved = dict(load_scorer(road / "run/final", merges_adapter=False).named_parameters())
    for name, parameter in scorer.named_parameters():
        if "lora_" in name:
            torch.testing.assert_close(parameter, saved[name])
            assert parameter.requires_grad


def test_what_the_device_has_is_held_trained_and_served(road) -> None:
    served = json.loads((road / "run/final/scorer.json").read_text())["base"]
    assert (served["dtype"], served["quantization"]) == ("bfloat16", "none")
    assert load_scorer(road / "run/final").backbone.dtype == torch.bfloat16
    recipe = json.loads((road / "run/run.json").read_text())["recipe"]
    assert (recipe["base"]["dtype"], recipe["base"]["second_dtype"]) == ("bfloat16", "bfloat16")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_is_trained_is_float32_and_the_rest_is_not(world, dtype) -> None:
    scorer = build_scorer(toy(dtype=dtype), world / "base")
    trained = first_parameters(scorer)
    train_only(scorer, trained)
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert any("vision_model" in name for name in trained)
    others = {p.dtype for p in scorer.parameters() if not p.requires_grad}
    assert others == {getattr(torch, dtype), torch.uint8}


@pytest.mark.parametrize(
    ("dtype", "quantization"), [("bfloat16", "none"), ("float16", "none"), ("bfloat16", "nf4")]
)
def test_validation_and_calibration_score_as_the_checkpoint_serves(
    world, tmp_path, dtype, quantization
) -> None:
    recipe = toy(dtype=dtype)
    recipe = replace(recipe, base=replace(recipe.base, second_quantization=quantization))
    scorer = build_scorer(recipe, world / "base", precision=recipe.base.second)
    trained = first_parameters(scorer)
    train_only(scorer, trained)
    with torch.no_grad():  # by less than the type's own steps, and by more
        for parameter in trained.values():
            parameter += 0.05 * torch.randn_like(parameter)
    masters = {name: parameter.clone() for name, parameter in trained.items()}
    scorer.train()
    with inference(scorer):
        validated = scores(scorer)
    assert scorer.training
    assert all(torch.equal(masters[name], parameter) for name, parameter in trained.items())
    base = BaseModel(str(world / "base"), dtype=dtype, quantization=quantization)
    save_scorer(scorer, tmp_path / "saved", base=base, tokenizer=load_tokenizer(world / "base"))
    adapted = load_scorer(tmp_path / "saved", merges_adapter=False)
    assert torch.equal(scores(adapted), validated)
    # Served with the adapter merged, or in the base's type on 4 bits, which rounds once more.
    merged = load_scorer(tmp_path / "saved")
    torch.testing.assert_close(scores(merged), validated, rtol=0, atol=2**-6)


def test_gradients_pass_4_bit_layers_after_a_validation_too(world) -> None:
    model = load_model(world / "base", dtype=torch.float16, quantization="nf4")
    backbone = Idefics2Backbone(model)
    embeddings = torch.randn(1, 3, SHAPE.width, dtype=torch.float16).requires_grad_()
    mask, positions = torch.zeros(1, 1, 3, 3, dtype=torch.float16), torch.arange(3)[None]

    def gradient() -> torch.Tensor:
        model.train()
        hidden = backbone.decode(embeddings, mask=mask, positions=positions)
        return torch.autograd.grad(hidden.float().square().sum(), embeddings)[0]

    before = gradient()
    with torch.no_grad():
        model.eval()
        backbone.decode(embeddings.detach(), mask=mask, positions=positions)
    assert torch.equal(gradient(), before)
    assert before.abs().sum() > 0


FIFTY = {"num_steps": 50, "rate": 2e-4}
GROUPS = ("lora_A", "lora_B", "vision_model", "preference_tokens")


def run_to_the_last(recipe: Recipe, world: Path, folder: Path) -> None:
    """Run with validation, but keep the last weights: which are best is too near a thing here."""
    whole = stages.validation_top1

    def rising(*arguments):
        figure, validations = whole(*arguments), count()
        return lambda: figure() + next(validations)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "validation_top1", rising)
        run(recipe, world, folder)


@pytest.fixture(scope="module")
def curves_in_float32(world: Path) -> Path:
    run_to_the_last(toy(dtype="float32", **FIFTY), world, world / "float32")
    return world / "float32"


def curve(folder: Path, stage: str, name: str = "loss") -> torch.Tensor:
    """A figure by step, of the steps that have it."""
    lines = (folder / f"{stage}.log.jsonl").read_text().splitlines()
    return torch.tensor([line[name] for line in map(json.loads, lines) if name in line])


def moved(world: Path, folder: Path, stage: str, *, dtype: str) -> dict[str, torch.Tensor]:
    """How far a stage took each parameter."""
    recipe = toy(dtype=dtype)
    if stage == "stage1":
        begun = first_parameters(build_scorer(recipe, world / "base"))
    else:
        begun = second_parameters(load_scorer(folder / "stage1"))
    after, _ = read_tensors(folder / f"{stage}.state.safetensors")
    return {name: after[f"weight.{name}"] - value.detach().float() for name, value in begun.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bits"), [("bfloat16", 32), ("float16", 32), ("bfloat16", 8)])
def test_fifty_steps_of_either_stage_learn_what_float32_learns(
    world, tmp_path, curves_in_float32, dtype, bits
) -> None:
    run_to_the_last(toy(dtype=dtype, optimizer_bits=bits, **FIFTY), world, tmp_path)
    for stage in ("stage1", "stage2"):
        expected, found = curve(curves_in_float32, stage), curve(tmp_path, stage)
        assert len(found) == 50
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0)
        exact = moved(world, curves_in_float32, stage, dtype="float32")
        ways = moved(world, tmp_path, stage, dtype=dtype)
        for name, way in ways.items():
            assert way.isfinite().all(), name
            assert way.abs().max() > 1e-3, name
        for group in GROUPS if stage == "stage1" else GROUPS[-1:]:
            pairs = [(ways[n].flatten(), exact[n].flatten()) for n in ways if group in n]
            one, other = (torch.cat(each) for each in zip(*pairs, strict=True))
            assert one.norm().item() == pytest.approx(other.norm().item(), rel=0.05), group
            assert torch.cosine_similarity(one, other, dim=0) > 0.95, group
    log = (tmp_path / "stage1.log.jsonl").read_text()
    assert ("loss_scale" in log) == (dtype == "float16")


def train(folder: str, base: str, stop_at: str) -> None:
    """What another process runs: the toy recipe in float32, interrupted at a step of stage 1."""
    whole = stages.step_loss

    def interrupted(*arguments, **options):
        loss = whole(*arguments, **options)

        def until(step: int, part: int):
            if step == int(stop_at):
                raise InterruptedError
            return loss(step, part)

        return until

    stages.step_loss = interrupted
    recipe = toy(dtype="float32", num_steps=4, rate=1e-3, save_every_s=0.0)
    with contextlib.suppress(InterruptedError):
        run(recipe, Path(base).parent, Path(folder), processes=launched())


@pytest.mark.slow
def test_both_stages_of_an_interrupted_run_go_on_with_twice_the_processes(
    launch, world, tmp_path
) -> None:
    base, whole, cut = str(world / "base"), tmp_path / "whole", tmp_path / "cut"
    launch(__file__, 1, str(whole), base, "-1")
    launch(__file__, 1, str(cut), base, "2")
    assert len(curve(cut, "stage1", "loss")) == 2
    launch(__file__, 2, str(cut), base, "-1")
    for stage in ("stage1", "stage2"):
        for name in ("loss", "validation"):
            expected = curve(whole, stage, name)
            torch.testing.assert_close(curve(cut, stage, name), expected, rtol=1e-3, atol=0)
        assert len(curve(cut, stage, "loss")) == 4
    one, other = (load_scorer(folder / "final") for folder in (whole, cut))
    torch.testing.assert_close(one.preference_tokens, other.preference_tokens, rtol=1e-3, atol=1e-3)
