"""Images that the tiny base model is pretrained on, rendered once and held in memory."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from recsys.scorer.backbone import Backbone
from training.fitting.pretraining.recipe import PretrainRecipe
from training.world.render import render
from training.world.scenes import (
    ATTRIBUTES,
    attributes,
    caption,
    prompt_text,
    sample_prompt,
    sample_scene,
)


@dataclass(frozen=True, eq=False)
class RenderedImages:
    """Rendered images, grouped by prompt, with their true attributes.

    Axis letters: N images, S side in pixels, A attributes.

    Attributes:
        pixels: shape (N, 3, S, S), RGB.
        attributes: shape (N, A), each in [-1, 1].
        prompts: of each group of `images_per_prompt` consecutive images.
        captions: of each image.
        images_per_prompt: group size.
    """

    pixels: UInt8[Tensor, "N 3 S S"]
    attributes: Float[Tensor, "N A"]
    prompts: tuple[str, ...]
    captions: tuple[str, ...]
    images_per_prompt: int


def render_images(recipe: PretrainRecipe, *, console: Console) -> RenderedImages:
    """Render images of random prompts, all drawn from the recipe's seed.

    Args:
        recipe: how many prompts and images, their size, and the seed.
        console: where progress is shown.
    """
    rng = np.random.default_rng([recipe.seed, 1])
    pixels, values, prompts, captions = [], [], [], []
    for _ in track(range(recipe.num_prompts), "rendering images", console=console):
        prompt = sample_prompt(rng)
        prompts.append(prompt_text(prompt))
        for _ in range(recipe.images_per_prompt):
            scene = sample_scene(prompt, rng)
            pixels.append(torch.tensor(render(scene, recipe.shape.image_px)).permute(2, 0, 1))
            values.append(torch.from_numpy(attributes(scene)))
            captions.append(caption(scene))
    return RenderedImages(
        torch.stack(pixels),
        torch.stack(values),
        tuple(prompts),
        tuple(captions),
        recipe.images_per_prompt,
    )


@torch.no_grad()
def encode_images(
    backbone: Backbone, pixels: UInt8[Tensor, "N 3 S S"], *, console: Console
) -> Float[Tensor, "N T D"]:
    """Image tokens of every image, once."""
    batches = track(pixels.split(256), "encoding images", console=console)
    return torch.cat([backbone.image_tokens(unit(batch)) for batch in batches])


def unit(pixels: UInt8[Tensor, "N 3 S S"]) -> Float[Tensor, "N 3 S S"]:
    """Bytes -> [0, 1]; images are rendered at the model's size."""
    return pixels.float() / 255


def readout(width: int, seed: int) -> nn.Linear:
    """A fresh linear layer from `width` numbers to the attributes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(width, len(ATTRIBUTES))


def named(prefix: str, module: nn.Module) -> dict[str, nn.Parameter]:
    """A module's parameters by name, for `training.fitting.trainer`."""
    return {f"{prefix}.{name}": parameter for name, parameter in module.named_parameters()}
