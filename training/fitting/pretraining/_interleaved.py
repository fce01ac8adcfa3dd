"""The second part of pretraining: infer a rule from labelled images, and apply it to more."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from rich.console import Console
from scipy.special import expit
from torch import Tensor, nn

from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer, preference_score
from recsys.scorer.packing import SHARED, Packed
from recsys.scorer.template import Template
from training.data.samples import Sample, in_random_order, pack_samples, split_pairs
from training.fitting.losses import preference_loss
from training.fitting.pretraining._rendered import RenderedImages, encode_images, named, readout
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.run_state import recipe_digest
from training.fitting.trainer import Run, StepLoss, fit
from training.world.scenes import ATTRIBUTES


def learn_in_context(
    scorer: PreferenceScorer,
    images: RenderedImages,
    recipe: PretrainRecipe,
    folder: Path,
    *,
    console: Console,
) -> None:
    """Interleaved sequences: labels follow a random rule; predict the labels of more images.

    Args:
        scorer: without preference tokens; its decoder is trained on frozen image tokens.
        images: that sequences are drawn from.
        recipe: plan and sizes.
        folder: receives state and log.
        console: where progress is shown.
    """
    backbone = scorer.backbone
    features = encode_images(backbone, images.pixels, console=console)
    heads = nn.ModuleDict(
        {
            name: readout(backbone.hidden_size, recipe.seed + 1 + place)
            for place, name in enumerate(("image", "history"))
        }
    )
    step_loss = _interleaved_loss(scorer, images, features, heads, recipe)
    trained = {
        **{f"text.{n}": p for n, p in backbone.decoder.named_parameters()},
        "lm_head": cast(nn.Parameter, backbone.output_matrix.weight),
        **named("head", heads),
    }
    fit(
        step_loss,
        trained,
        recipe.interleaved,
        run=Run(folder, console, recipe_digest(recipe.to_json())),
    )


def _interleaved_loss(
    scorer: PreferenceScorer,
    images: RenderedImages,
    features: Float[Tensor, "N T D"],
    heads: nn.ModuleDict,
    recipe: PretrainRecipe,
) -> StepLoss:
    blocks: dict[int, Tensor] = {}
    layers = scorer.backbone.layers
    layers[0].register_forward_hook(lambda module, inputs, output: blocks.update({0: output}))
    layers[1].register_forward_hook(lambda module, inputs, output: blocks.update({1: output}))

    def step_loss(step: int, part: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([recipe.interleaved.seed, 3, step])
        samples = [draw_rule_sample(images, recipe, rng) for _ in range(recipe.interleaved_batch)]
        packed, order = pack_samples(scorer.template, samples, num_preference_tokens=0)
        logits = scorer.logits(packed, features[order])
        liked, disliked = split_pairs(packed, logits)
        loss = preference_loss(liked, disliked)
        seen = heads["image"](blocks[0][_whole_image_seen(packed, scorer.template)])
        image_error = F.mse_loss(seen, images.attributes[order])
        read = heads["history"](blocks[1][_readout_places(packed)])
        history_error = F.mse_loss(read, _leanings(images, samples))
        right = preference_score(liked) > preference_score(disliked)
        return loss + recipe.readout_weight * (image_error + history_error), {
            "preference": loss.item(),
            "image": image_error.item(),
            "history": history_error.item(),
            "top1": right.float().mean().item(),
        }

    return step_loss


def _leanings(images: RenderedImages, samples: Sequence[Sample]) -> Float[Tensor, "N A"]:
    """For each image to be told apart, what the liked references have more of than the disliked."""
    rows = []
    for sample in samples:
        liked = images.attributes[[pair.liked for pair in sample.references]]
        disliked = images.attributes[[pair.disliked for pair in sample.references]]
        leaning = (liked - disliked).sum(dim=0) / max(len(sample.references), 1)
        rows.append(leaning.expand(2 * len(sample.pairs), -1))
    return torch.cat(rows)


def draw_rule_sample(
    images: RenderedImages, recipe: PretrainRecipe, rng: np.random.Generator
) -> Sample:
    """Pairs of images, each pair of one prompt, labelled by a random linear rule over attributes.

    The rule's weights are normal, on a random subset of the attributes, scaled to norm 2; labels
    follow the rule by Bradley-Terry at temperature 0.25. One sequence in four has fewer references.

    Args:
        images: that pairs are drawn from; at least num_references + num_pairs prompts.
        recipe: number of references and of pairs to be told apart, and the order within pairs.
        rng: draws rule, pairs, labels and order.
    """
    weights = rng.normal(size=len(ATTRIBUTES))
    weights[rng.permutation(len(ATTRIBUTES))[rng.integers(1, len(ATTRIBUTES) + 1) :]] = 0.0
    utility = images.attributes.numpy() @ (2.0 * weights / np.linalg.norm(weights))
    few = rng.random() < 0.25
    num_references = int(rng.integers(0, recipe.num_references)) if few else recipe.num_references
    groups = rng.choice(len(images.prompts), num_references + recipe.num_pairs, replace=False)
    pairs = [_labelled_pair(images, int(group), utility, rng) for group in groups]
    sample = Sample(tuple(pairs[:num_references]), tuple(pairs[num_references:]))
    return in_random_order(sample, rng) if recipe.random_pair_order else sample


def _labelled_pair(
    images: RenderedImages,
    group: int,
    utility: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    rng: np.random.Generator,
) -> Pair:
    size = images.images_per_prompt
    first, second = (group * size + rng.choice(size, 2, replace=False)).tolist()
    likes_first = expit((utility[first] - utility[second]) / 0.25)
    if rng.random() >= likes_first:
        first, second = second, first
    return Pair(first, second, images.prompts[group])


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
