"""A recipe's scorer: base model, adapter and preference tokens put together."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recsys.scorer.adapter import add_adapter, load_adapter
from recsys.scorer.base_model import CARRIED, BaseFiles, BaseModel
from recsys.scorer.checkpoint import read_preference_tokens
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.pretrained import load_tokenizer
from recsys.scorer.registry import family_of
from recsys.scorer.template import Template
from training.fitting.recipes.recipe import Precision, Recipe

WHOLE = "modules_to_save."
"""What names of parameters have in them that an adapter trains whole."""


def build_scorer(
    recipe: Recipe,
    base: str | Path,
    *,
    device: str = "cpu",
    precision: Precision | None = None,
    adapter: Path | None = None,
) -> PreferenceScorer:
    """The recipe's scorer before training.

    Args:
        recipe: what to build.
        base: folder or hub id of the base model.
        device: where it goes.
        precision: of the base; that of stage 1 by default. Its type must not be "auto".
        adapter: folder of a saved adapter; by default the recipe's, else a fresh one.

    Raises:
        CheckpointRefused: if the base or the adapter cannot be loaded.
    """
    precision = precision or recipe.base.first
    torch.manual_seed(recipe.first.plan.seed)
    family = family_of(base, revision=recipe.base.revision)
    model = family.load(
        base,
        revision=recipe.base.revision,
        dtype=getattr(torch, precision.dtype),
        quantization=precision.quantization,
        unquantized=recipe.lora.whole,
        device=device,
    )
    saved = adapter or (Path(recipe.base.adapter) if recipe.base.adapter else None)
    if saved is None:
        adapted = add_adapter(model, recipe.lora, family_targets=family.adapter_targets)
    else:
        adapted = load_adapter(model, saved, trainable=True)
    backbone = family.wrap(adapted)
    if recipe.base.checkpointing:
        backbone.keep_no_activations()
    tokenizer = load_tokenizer(base, revision=recipe.base.revision)
    template = Template(tokenizer, recipe.template, image=backbone.image_markup)
    scorer = PreferenceScorer(
        backbone, template, geometry=recipe.base.geometry, config=recipe.scorer
    )
    if recipe.token_start == "vocabulary":
        words = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
        start_from_words(scorer, words, seed=recipe.first.plan.seed)
    elif recipe.token_start == "base" and has_tokens(Path(base)):
        load_tokens(Path(base), scorer)
    return scorer


def has_tokens(folder: Path) -> bool:
    """Whether preference tokens lie in a folder."""
    return (folder / "preference_tokens.safetensors").is_file()


def load_tokens(folder: Path, scorer: PreferenceScorer) -> None:
    """Copy the preference tokens of a checkpoint, or of a base that has some, into a scorer.

    Raises:
        CheckpointRefused: if their file is missing or damaged.
        ValueError: if they are of another shape.
    """
    tokens, shape = read_preference_tokens(folder), scorer.preference_tokens.shape
    if tokens.shape != shape:
        raise ValueError(
            f"{folder} must have preference tokens of the recipe's shape {tuple(shape)},"
            f" has {tuple(tokens.shape)}: give another one, or another number of tokens"
        )
    with torch.no_grad():
        scorer.preference_tokens.copy_(tokens)


@torch.no_grad()
def start_from_words(scorer: PreferenceScorer, words: Sequence[int], *, seed: int) -> None:
    """Set the preference tokens to embeddings of words drawn at random, each at most once.

    So they begin where the decoder's inputs are, in direction and in length. Lester et al. 2021
    (The Power of Scale for Parameter-Efficient Prompt Tuning), section 2.1, sampled vocabulary.

    Args:
        scorer: whose tokens.
        words: token ids to draw from, at least as many as there are preference tokens.
        seed: decides; other random draws are left alone.
    """
    device = scorer.backbone.device
    drawn = np.random.default_rng([seed, 15]).choice(
        list(words), scorer.config.num_preference_tokens, replace=False
    )
    scorer.preference_tokens.copy_(scorer.backbone.embed(torch.as_tensor(drawn, device=device)))


def first_parameters(scorer: PreferenceScorer) -> dict[str, nn.Parameter]:
    """Parameters of stage 1: the adapter, with the modules it trains whole, and P_v.

    Raises:
        ValueError: if the adapter was merged, or rounded, when the scorer was loaded for inference.
    """
    if not scorer.has_own_adapter:
        raise ValueError(
            "a scorer must have its adapter to be trained, and this one was loaded for inference:"
            " load it with merges_adapter=False"
        )
    marks = ("lora_", WHOLE)
    adapter = {n: p for n, p in scorer.named_parameters() if any(mark in n for mark in marks)}
    return adapter | second_parameters(scorer)


def second_parameters(scorer: PreferenceScorer) -> dict[str, nn.Parameter]:
    """Parameters of stage 2: P_v alone (paper, section 4.1); none if the scorer has no P_v."""
    if scorer.config.num_preference_tokens == 0:
        return {}
    return {"preference_tokens": scorer.preference_tokens}


def train_only(scorer: PreferenceScorer, trained: dict[str, nn.Parameter]) -> None:
    """Freeze all parameters but these, and hold these in float32 whatever the base is held in.

    AdamW's eps is 0 in float16, and an update of 1e-5 is lost on most weights in bfloat16.
    """
    for parameter in scorer.parameters():
        parameter.requires_grad_(False)
    for parameter in trained.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)


def free_weights(scorer: PreferenceScorer) -> None:
    """Give back the memory of a scorer's weights and gradients; it computes no more.

    Whoever still refers to it, as layers that compute their activations again refer to themselves.
    """
    for tensor in (*scorer.parameters(), *scorer.buffers()):
        tensor.grad = None
        tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)


def base_of(recipe: Recipe, base: str | Path, files: BaseFiles) -> BaseModel:
    """The base as a checkpoint names it: carried, or by place and digest of its weights.

    A folder travels along where the recipe names no base: it is small, and the run's own.

    Args:
        recipe: of the run.
        base: folder or hub id that the run was given.
        files: where it was found; all are read unless they are carried.

    Raises:
        CheckpointRefused: if a file is missing or damaged.
    """
    held = asdict(recipe.base.second)
    if files.revision is None and recipe.base.source is None:
        return BaseModel(CARRIED, **held)
    source = str(files.folder) if files.revision is None else str(base)
    return BaseModel(source, files.revision, **held).known_by(files.folder)


@contextmanager
def inference(scorer: PreferenceScorer) -> Iterator[None]:
    """A context in which a scorer in training computes as its checkpoint will serve.

    Without dropout and gradients, and with what is trained whole rounded to the base's type. All is
    restored afterwards.
    """
    was_training = scorer.training
    whole = [p for name, p in scorer.named_parameters() if WHOLE in name]
    masters = [parameter.data for parameter in whole]
    scorer.eval()
    try:
        for parameter in whole:
            parameter.data = parameter.data.to(scorer.backbone.dtype)
        with torch.no_grad():
            yield
    finally:
        for parameter, master in zip(whole, masters, strict=True):
            parameter.data = master
        scorer.train(was_training)
