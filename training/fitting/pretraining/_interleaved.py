"""The second part of pretraining: infer a taste from labelled images, and apply it to more."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from rich.console import Console
from scipy.special import expit
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer, preference_score
from recsys.scorer.packing import SHARED, Packed
from recsys.scorer.template import Template
from training.data.samples import Sample, in_random_order, pack_samples, split_pairs
from training.fitting.assembly import second_parameters
from training.fitting.losses import preference_loss
from training.fitting.parallel import Processes
from training.fitting.pretraining._rendered import RenderedImages, encode_images, named, readout
from training.fitting.pretraining._rules import Anybody, Inferred, Populations, Rule
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.run_state import recipe_digest
from training.fitting.trainer import ONE, Run, StepLoss, fit
from training.world.communities import TEMPERATURE
from training.world.scenes import ATTRIBUTES


def learn_in_context(
    scorer: PreferenceScorer,
    images: RenderedImages,
    recipe: PretrainRecipe,
    folder: Path,
    *,
    console: Console,
    processes: Processes = ONE,
) -> None:
    """Interleaved sequences: labels follow a person's rule; predict those of more images.

    Of some sequences the preference tokens tell what communities there are in a population, one
    token each: the person's own, or another. So the decoder learns to read there what people share,
    and to believe it as far as the references bear it out. Of the others they tell nothing; these
    tokens are the scorer's own afterwards. A scorer without preference tokens is told of nothing.

    Args:
        scorer: its decoder is trained, and its preference tokens if it has any, on frozen image
            tokens.
        images: that sequences are drawn from.
        recipe: plan and sizes.
        folder: receives state and log.
        console: where progress is shown.
        processes: those that share the work.
    """
    backbone = scorer.backbone
    features = encode_images(backbone, images.pixels, console=console)
    heads = nn.ModuleDict(
        {
            name: readout(backbone.hidden_size, recipe.seed + 1 + place)
            for place, name in enumerate(("image", "history", "taste"))
        }
    )
    tokens = second_parameters(scorer)
    if tokens:
        heads["prototype"] = _prototype(scorer, recipe.seed)
    trained = {
        **{f"text.{n}": p for n, p in backbone.decoder.named_parameters()},
        "lm_head": cast(nn.Parameter, backbone.output_matrix.weight),
        **tokens,
        **named("head", heads),
    }
    with _observed(scorer) as blocks:
        fit(
            _interleaved_loss(scorer, blocks, images, features, heads, recipe),
            trained,
            recipe.interleaved,
            run=Run(folder, console, recipe_digest(recipe.to_json()), processes),
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences of one length.

    Attributes:
        samples: references, and pairs to be told apart.
        prototypes: communities that each sequence is told of, by place; NaN where of none. P is 0
            where there are no places.
        told: what the references tell.
        leaning: what liked references have more of than disliked ones, on average; of the first r,
            for r from 0.
    """

    samples: tuple[Sample, ...]
    prototypes: Float[Tensor, "B P A"]
    told: Inferred
    leaning: Float[Tensor, "B r A"]


def _interleaved_loss(
    scorer: PreferenceScorer,
    blocks: Mapping[str, Tensor],
    images: RenderedImages,
    features: Float[Tensor, "N T D"],
    heads: nn.ModuleDict,
    recipe: PretrainRecipe,
) -> StepLoss:
    anybody = Anybody(recipe.rules_told, np.random.default_rng([recipe.seed, 4]))
    num_tokens = scorer.config.num_preference_tokens
    num_sure = round(recipe.rules_told.sure * recipe.interleaved.num_steps)

    def step_loss(step: int, part: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([recipe.interleaved.seed, 3, step, part])
        batch = draw_batch(images, anybody, recipe, rng, is_sure=step < num_sure)
        packed, order = pack_samples(
            scorer.template, batch.samples, num_preference_tokens=num_tokens
        )
        before = _preference(scorer, heads["prototype"], batch.prototypes) if num_tokens else None
        logits = scorer.logits(packed, features[order], preference=before)
        first, second = split_pairs(packed, logits)
        prefers_first = batch.told.prefers_first.flatten()
        loss = expected_loss(
            first, second, prefers_first, contrastive_weight=recipe.contrastive_weight
        )
        values = {
            "image": images.attributes[order],
            "history": _at_places(batch.leaning, recipe.num_pairs),
            "taste": _at_places(batch.told.taste, recipe.num_pairs),
        }
        errors = {
            name: F.mse_loss(heads[name](blocks[name].flatten(0, 1)[places]), values[name])
            for name, places in _places(packed, scorer.template).items()
        }
        ranked_first = preference_score(first) > preference_score(second)
        right = torch.where(ranked_first, prefers_first, 1 - prefers_first)
        best = torch.maximum(prefers_first, 1 - prefers_first)
        return loss + recipe.readout_weight * torch.stack(list(errors.values())).sum(), {
            "preference": loss.item(),
            **{name: error.item() for name, error in errors.items()},
            "top1": right.mean().item(),
            "best": best.mean().item(),
        }

    return step_loss


def _prototype(scorer: PreferenceScorer, seed: int) -> nn.Linear:
    """A community's center -> its preference token; thrown away after pretraining.

    The scorer's own tokens begin as those of communities at random.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        prototype = nn.Linear(len(ATTRIBUTES), scorer.backbone.hidden_size)
        centers = torch.randn(scorer.config.num_preference_tokens, len(ATTRIBUTES))
    with torch.no_grad():
        scorer.preference_tokens.copy_(prototype(centers))
    return prototype


@contextmanager
def _observed(scorer: PreferenceScorer) -> Iterator[dict[str, Tensor]]:
    """What the first, the second and the last block but one put out, behind P_v, pass by pass."""
    blocks: dict[str, Tensor] = {}
    layers, begin = scorer.backbone.layers, scorer.config.num_preference_tokens

    def observe(name: str, layer: nn.Module) -> RemovableHandle:
        return layer.register_forward_hook(
            lambda module, inputs, output: blocks.update({name: output[:, begin:]})
        )

    places = (("image", 0), ("history", 1), ("taste", len(layers) - 2))
    hooks = [observe(name, layers[place]) for name, place in places]
    try:
        yield blocks
    finally:
        for hook in hooks:
            hook.remove()


def _preference(
    scorer: PreferenceScorer, prototype: nn.Module, prototypes: Float[Tensor, "B P A"]
) -> Float[Tensor, "B P D"]:
    """A token for each community, or the scorer's own where a sequence is told of none."""
    is_told = ~prototypes.isnan().any(dim=(1, 2))
    tokens = prototype(prototypes.nan_to_num())
    return torch.where(is_told[:, None, None], tokens, scorer.preference_tokens)


def expected_loss(
    first: Float[Tensor, "N 2"],
    second: Float[Tensor, "N 2"],
    prefers_first: Float[Tensor, " N"],
    *,
    contrastive_weight: float = 1.0,
) -> Float[Tensor, ""]:
    """L_all on average over what a person may choose.

    Args:
        first, second: (M+, M-) of the two images of each pair.
        prefers_first: probability that the first is preferred, in [0, 1].
        contrastive_weight: as of `preference_loss`.
    """
    so, otherwise = (
        preference_loss(liked, other, contrastive_weight=contrastive_weight, weights=weights)
        for liked, other, weights in (
            (first, second, prefers_first),
            (second, first, 1 - prefers_first),
        )
    )
    return so + otherwise


def _at_places(values: Float[Tensor, "B r A"], num_pairs: int) -> Float[Tensor, "N A"]:
    """Values where they are to be read: behind each reference, then in each target."""
    behind_all = values[:, -1].repeat_interleave(2 * num_pairs, dim=0)
    return torch.cat([values[:, 1:].flatten(0, 1), behind_all])


def draw_batch(
    images: RenderedImages,
    anybody: Anybody,
    recipe: PretrainRecipe,
    rng: np.random.Generator,
    *,
    is_sure: bool,
) -> Batch:
    """Pairs of images, each pair of one prompt; references are labelled by people's rules.

    All sequences of a step have as many references, so that none is padded; a step of longer ones
    has fewer. Labels follow a rule by Bradley-Terry.

    Args:
        images: that pairs are drawn from; at least num_references + num_pairs prompts.
        anybody: whose rules.
        recipe: numbers of references, pairs and sequences, and the order within pairs.
        rng: draws populations, rules, pairs, labels and order.
        is_sure: as of `Populations`.
    """
    most = recipe.few_references if rng.random() < 0.5 else recipe.num_references
    num_references = int(rng.integers(0, most + 1))
    number = max(recipe.interleaved_pairs // (num_references + recipe.num_pairs), 1)
    populations = Populations(anybody, rng, is_sure=is_sure)
    rules = populations.draw(number, rng)
    pairs = [_labelled(images, rule, num_references, recipe.num_pairs, rng) for rule in rules]
    samples = [Sample(tuple(own[:num_references]), tuple(own[num_references:])) for own in pairs]
    differences = torch.stack([_differences(images, own) for own in pairs])
    chosen, asked = differences[:, :num_references], differences[:, num_references:]
    places, nobody = recipe.num_preference_tokens, math.nan
    prototypes = [
        torch.full((places, len(ATTRIBUTES)), nobody)
        if rule.told_of is None
        else populations.prototypes(rule.told_of, places)
        for rule in rules
    ]
    return Batch(
        tuple(in_random_order(s, rng) if recipe.random_pair_order else s for s in samples),
        torch.stack(prototypes),
        populations.told(rules, chosen, asked),
        _running_mean(chosen),
    )


def _running_mean(chosen: Float[Tensor, "B R A"]) -> Float[Tensor, "B r A"]:
    """Mean of the first r, for r from 0, where it is 0."""
    sums = F.pad(chosen.cumsum(dim=1), (0, 0, 1, 0))
    return sums / torch.arange(sums.shape[1]).clamp(min=1)[:, None]


def _labelled(
    images: RenderedImages,
    rule: Rule,
    num_references: int,
    num_pairs: int,
    rng: np.random.Generator,
) -> list[Pair]:
    """Pairs of different prompts; of the references, the one that the person likes comes first."""
    groups = rng.choice(len(images.prompts), num_references + num_pairs, replace=False)
    size = images.images_per_prompt
    rows = groups[:, None] * size + np.stack([rng.choice(size, 2, replace=False) for _ in groups])
    utilities = images.attributes.numpy()[rows] @ rule.taste
    likes_first = expit((utilities[:, 0] - utilities[:, 1]) / TEMPERATURE)
    turned = (rng.random(len(rows)) >= likes_first) & (np.arange(len(rows)) < num_references)
    rows[turned] = rows[turned, ::-1]
    named = zip(rows.tolist(), groups.tolist(), strict=True)
    return [Pair(first, second, images.prompts[group]) for (first, second), group in named]


def _differences(images: RenderedImages, pairs: Sequence[Pair]) -> Float[Tensor, "N A"]:
    rows = torch.tensor([(pair.liked, pair.disliked) for pair in pairs])
    return images.attributes[rows[:, 0]] - images.attributes[rows[:, 1]]


def _places(packed: Packed, template: Template) -> dict[str, Int[Tensor, " N"]]:
    """From where each head reads, as places in the rows laid end to end.

    An image is read at its label, or where it ends; what a history tells, behind each reference of
    it, then where targets end.
    """
    is_label = (packed.ids == template.like_id) | (packed.ids == template.dislike_id)
    is_label &= packed.segments == SHARED
    is_second = is_label & (is_label.cumsum(dim=1) % 2 == 0)
    is_end = _readout_places(packed)
    told = torch.cat([_flat(is_second), _flat(is_end)])
    return {"image": _flat(is_label | is_end), "history": told, "taste": told}


def _flat(places: Bool[Tensor, "B L"]) -> Int[Tensor, " N"]:
    return places.flatten().nonzero()[:, 0]


def _readout_places(packed: Packed) -> Bool[Tensor, "B L"]:
    """Where targets end."""
    places = torch.zeros_like(packed.is_image)
    rows = torch.arange(len(places))[:, None].expand_as(packed.readouts)
    real = packed.readouts >= 0
    places[rows[real], packed.readouts[real]] = True
    return places
