"""Teach the tiny base model to see and to read a labelled history.

Two parts, as larger models are pretrained: captions (what does an image show?) and interleaved
sequences (images with labels that follow a rule; does the rule hold for the next image?). The rules
are drawn at random over all attributes, without the communities of any world: who likes what is
learned later, from choices alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from transformers import Idefics2ForConditionalGeneration, PreTrainedTokenizerFast

from recsys.scorer.backbone import Backbone
from recsys.scorer.model import PreferenceScorer, ScorerConfig, preference_score
from recsys.scorer.packing import PADDING, SHARED, Packed, attention_mask
from recsys.scorer.template import Template, TemplateConfig
from training.fit import Plan, StepLoss, fit
from training.losses import preference_loss
from training.render import render
from training.samples import Pair, Sample, pack_samples, split_pairs
from training.scenes import (
    ATTRIBUTES,
    attributes,
    caption,
    prompt_text,
    sample_prompt,
    sample_scene,
)
from training.tiny_base import TINY, TinyShape, build_model, train_tokenizer


@dataclass(frozen=True)
class PretrainRecipe:
    """All that decides a tiny base model.

    Attributes:
        shape: dimensions.
        seed: decides images, weights and order.
        num_prompts, images_per_prompt: size of the pool of rendered images.
        captions: schedule of the first part.
        caption_batch: images a step.
        caption_weight: of the caption's cross entropy beside the attributes' squared error.
        interleaved: schedule of the second part.
        interleaved_batch: sequences a step.
        num_references, num_pairs: references and target pairs of a sequence.
        readout_weight: of two readings that a small model does not come upon by itself: an
            image's own attributes behind the first block, and behind the second what the liked
            images had more of than the disliked ones. Without them it ignores the labels.
    """

    shape: TinyShape = TINY
    seed: int = 0
    num_prompts: int = 3000
    images_per_prompt: int = 6
    captions: Plan = field(
        default_factory=lambda: Plan("captions", num_steps=2500, learning_rate=1e-3)
    )
    caption_batch: int = 64
    caption_weight: float = 0.1
    interleaved: Plan = field(
        default_factory=lambda: Plan("interleaved", num_steps=2500, learning_rate=2e-3)
    )
    interleaved_batch: int = 32
    num_references: int = 8
    num_pairs: int = 8
    readout_weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Pool:
    """Rendered images, grouped by prompt, with what is true of them.

    Attributes:
        pixels: shape (N, 3, S, S).
        attributes: shape (N, A), each in [-1, 1].
        prompts: of each group of `images_per_prompt` images in a row.
        captions: of each image.
        images_per_prompt: group size.
    """

    pixels: UInt8[Tensor, "N 3 S S"]
    attributes: Float[Tensor, "N A"]
    prompts: tuple[str, ...]
    captions: tuple[str, ...]
    images_per_prompt: int


def render_pool(recipe: PretrainRecipe, *, console: Console) -> Pool:
    """Draw the pool's prompts and images from the recipe's seed."""
    rng = np.random.default_rng([recipe.seed, 1])
    pixels, values, prompts, captions = [], [], [], []
    for _ in track(range(recipe.num_prompts), "drawing images", console=console):
        prompt = sample_prompt(rng)
        prompts.append(prompt_text(prompt))
        for _ in range(recipe.images_per_prompt):
            scene = sample_scene(prompt, rng)
            pixels.append(torch.tensor(render(scene, recipe.shape.image_px)).permute(2, 0, 1))
            values.append(torch.from_numpy(attributes(scene)))
            captions.append(caption(scene))
    return Pool(
        torch.stack(pixels),
        torch.stack(values),
        tuple(prompts),
        tuple(captions),
        recipe.images_per_prompt,
    )


def pretrain(recipe: PretrainRecipe, folder: Path, *, console: Console) -> Path:
    """Make the tiny base model in `folder`/base, resuming whatever part was begun.

    Returns:
        The folder that `recsys.scorer.backbone.load_model` and `load_tokenizer` read.
    """
    pool = render_pool(recipe, console=console)
    tokenizer = train_tokenizer([*pool.captions, *pool.prompts], vocabulary=recipe.shape.vocabulary)
    image_token = cast(int, tokenizer.convert_tokens_to_ids("<image>"))
    model = build_model(
        recipe.shape, vocabulary=len(tokenizer), image_token=image_token, seed=recipe.seed
    )
    learn_to_see(model, tokenizer, pool, recipe, folder, console=console)
    learn_in_context(model, tokenizer, pool, recipe, folder, console=console)
    base = folder / "base"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    return base


def learn_to_see(
    model: Idefics2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pool: Pool,
    recipe: PretrainRecipe,
    folder: Path,
    *,
    console: Console,
) -> None:
    """Captions: read an image's attributes from its tokens, and continue it with its caption."""
    backbone = Backbone(model)
    head = _readout(backbone.num_image_tokens * backbone.hidden_size, recipe.seed)
    captions = _caption_ids(tokenizer, pool.captions)
    fence = torch.tensor([tokenizer.convert_tokens_to_ids("<fake_token_around_image>")])

    def step_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([recipe.captions.seed, 2, step])
        chosen = torch.from_numpy(rng.choice(len(pool.pixels), recipe.caption_batch))
        tokens = backbone.image_tokens(normalise(pool.pixels[chosen]))
        truth = pool.attributes[chosen]
        error = F.mse_loss(head(tokens.flatten(1)), truth)
        words = caption_loss(backbone, tokens, captions[chosen], fence)
        return error + recipe.caption_weight * words, {
            "error": error.item(),
            "words": words.item(),
        }

    trained = {**dict(model.named_parameters()), **_named("head", head)}
    fit(step_loss, trained, recipe.captions, folder=folder, console=console)


def caption_loss(
    backbone: Backbone,
    image_tokens: Float[Tensor, "B T D"],
    captions: Tensor,
    fence: Tensor,
) -> Float[Tensor, ""]:
    """Cross entropy of each caption token behind its image; -1 in `captions` (B, W) is padding."""
    ids = captions.clamp(min=0)
    around = backbone.embed(fence).expand(len(ids), 1, -1)
    embeddings = torch.cat([around, image_tokens, around, backbone.embed(ids)], dim=1)
    segments = torch.full(embeddings.shape[:2], SHARED)
    segments[:, -ids.shape[1] :][captions < 0] = PADDING
    hidden = backbone.decode(
        embeddings,
        mask=attention_mask(segments, segments, dtype=embeddings.dtype),
        positions=torch.arange(embeddings.shape[1])[None].expand(len(ids), -1),
    )
    predicted = backbone.idefics2.lm_head(hidden[:, -ids.shape[1] - 1 : -1])
    return F.cross_entropy(predicted.flatten(0, 1), captions.flatten(), ignore_index=-1)


def learn_in_context(
    model: Idefics2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pool: Pool,
    recipe: PretrainRecipe,
    folder: Path,
    *,
    console: Console,
) -> None:
    """Interleaved sequences: labels follow a random rule; say whether it holds for more images."""
    backbone = Backbone(model)
    template = Template(tokenizer, TemplateConfig(), num_image_tokens=backbone.num_image_tokens)
    scorer = PreferenceScorer(
        backbone,
        template,
        geometry=recipe.shape.geometry,
        config=ScorerConfig(recipe.num_references, num_preference_tokens=0),
    )
    features = encode_pool(backbone, pool.pixels, console=console)
    heads = nn.ModuleDict(
        {
            name: _readout(backbone.hidden_size, recipe.seed + 1 + place)
            for place, name in enumerate(("image", "history"))
        }
    )
    step_loss = _interleaved_loss(scorer, pool, features, heads, recipe)
    trained = {
        **{f"text.{n}": p for n, p in model.model.text_model.named_parameters()},
        "lm_head": model.lm_head.weight,
        **_named("head", heads),
    }
    fit(step_loss, trained, recipe.interleaved, folder=folder, console=console)


def _interleaved_loss(
    scorer: PreferenceScorer,
    pool: Pool,
    features: Float[Tensor, "N T D"],
    heads: nn.ModuleDict,
    recipe: PretrainRecipe,
) -> StepLoss:
    blocks: dict[int, Tensor] = {}
    layers = scorer.backbone.idefics2.model.text_model.layers
    layers[0].register_forward_hook(lambda module, inputs, output: blocks.update({0: output}))
    layers[1].register_forward_hook(lambda module, inputs, output: blocks.update({1: output}))

    def step_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([recipe.interleaved.seed, 3, step])
        samples = [draw_rule_sample(pool, recipe, rng) for _ in range(recipe.interleaved_batch)]
        packed, order = pack_samples(scorer.template, samples, num_preference_tokens=0)
        logits = scorer.logits(packed, features[order])
        liked, disliked = split_pairs(packed, logits)
        loss = preference_loss(liked, disliked)
        seen = heads["image"](blocks[0][_whole_image_seen(packed, scorer.template)])
        image_error = F.mse_loss(seen, pool.attributes[order])
        read = heads["history"](blocks[1][_readout_places(packed)])
        history_error = F.mse_loss(read, _leanings(pool, samples))
        right = preference_score(liked) > preference_score(disliked)
        return loss + recipe.readout_weight * (image_error + history_error), {
            "preference": loss.item(),
            "image": image_error.item(),
            "history": history_error.item(),
            "top1": right.float().mean().item(),
        }

    return step_loss


def _leanings(pool: Pool, samples: Sequence[Sample]) -> Float[Tensor, "N A"]:
    """For each target, what its user's liked images have more of than the disliked ones."""
    rows = []
    for sample in samples:
        liked = pool.attributes[[pair.liked for pair in sample.references]]
        disliked = pool.attributes[[pair.disliked for pair in sample.references]]
        leaning = (liked - disliked).sum(dim=0) / max(len(sample.references), 1)
        rows.append(leaning.expand(2 * len(sample.targets), -1))
    return torch.cat(rows)


def draw_rule_sample(pool: Pool, recipe: PretrainRecipe, rng: np.random.Generator) -> Sample:
    """Pairs of images of one prompt each, labelled by a random linear rule over the attributes.

    A rule weighs one to all of the attributes, at random and with a fixed length of 2; the labels
    follow it by Bradley-Terry at temperature 0.25. One sequence in four has fewer references.
    """
    weights = rng.normal(size=len(ATTRIBUTES))
    weights[rng.permutation(len(ATTRIBUTES))[rng.integers(1, len(ATTRIBUTES) + 1) :]] = 0.0
    utility = pool.attributes.numpy() @ (2.0 * weights / np.linalg.norm(weights))
    few = rng.random() < 0.25
    num_references = int(rng.integers(0, recipe.num_references)) if few else recipe.num_references
    groups = rng.choice(len(pool.prompts), num_references + recipe.num_pairs, replace=False)
    pairs = [_labelled_pair(pool, int(group), utility, rng) for group in groups]
    return Sample(tuple(pairs[:num_references]), tuple(pairs[num_references:]))


def _labelled_pair(
    pool: Pool,
    group: int,
    utility: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    rng: np.random.Generator,
) -> Pair:
    size = pool.images_per_prompt
    first, second = (group * size + rng.choice(size, 2, replace=False)).tolist()
    likes_first = 1 / (1 + np.exp(-(utility[first] - utility[second]) / 0.25))
    if rng.random() >= likes_first:
        first, second = second, first
    return Pair(first, second, pool.prompts[group])


def _whole_image_seen(packed: Packed, template: Template) -> Tensor:
    """The one place of each image from which its attributes are read: its label, or its end."""
    is_label = (packed.ids == template.like_id) | (packed.ids == template.dislike_id)
    return (is_label & (packed.segments == SHARED)) | _readout_places(packed)


def _readout_places(packed: Packed) -> Tensor:
    """Where targets end, as a mask over the rows."""
    places = torch.zeros_like(packed.is_image)
    rows = torch.arange(len(places))[:, None].expand_as(packed.readouts)
    real = packed.readouts >= 0
    places[rows[real], packed.readouts[real]] = True
    return places


@torch.no_grad()
def encode_pool(
    backbone: Backbone, pixels: UInt8[Tensor, "N 3 S S"], *, console: Console
) -> Float[Tensor, "N T D"]:
    """Image tokens of every image, once."""
    batches = track(pixels.split(256), "encoding images", console=console)
    return torch.cat([backbone.image_tokens(normalise(batch)) for batch in batches])


def normalise(pixels: UInt8[Tensor, "N 3 S S"]) -> Float[Tensor, "N 3 S S"]:
    """Bytes -> the model's input range [-1, 1]; images are drawn at the model's size."""
    return pixels.float() / 127.5 - 1


def _caption_ids(tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]) -> Tensor:
    """Caption tokens and an end, padded with -1: shape (N, W)."""
    end = tokenizer.eos_token_id
    ids = [[*tokenizer.encode(text, add_special_tokens=False), end] for text in captions]
    width = max(map(len, ids))
    return torch.tensor([[*row, *[-1] * (width - len(row))] for row in ids])


def _readout(width: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(width, len(ATTRIBUTES))


def _named(prefix: str, module: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{prefix}.{name}": parameter for name, parameter in module.named_parameters()}
