"""A part of a training step, rehearsed: its code runs on tensors with shapes and no memory.

What is counted is so what is done: a layer that is computed again, an adapter, a type or a frozen
tower needs no formula. Half precision is as autocast has it on the CPU, attention as the fused
kernels have it, and weights are not quantised: 4 bits are unpacked for one layer at a time.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from recsys.scorer.adapter import add_adapter
from recsys.scorer.backbone import Backbone, Dimensions
from recsys.scorer.model import ENCODED_AT_ONCE, PreferenceScorer
from recsys.scorer.packing import SHARED, Packed
from recsys.scorer.registry import FAMILIES
from recsys.scorer.template import Template, TemplateConfig
from recsys.signatures.definition import Projection
from recsys.signatures.probes import all_heads, read_packed
from training.fitting.assembly import first_parameters, second_parameters, train_only
from training.fitting.pretraining.tiny_base import train_tokenizer
from training.fitting.recipes.recipe import Precision, Recipe
from training.fitting.row_tokens import probe_row_tokens
from training.fitting.split_half import SplitHalf

Values = Mapping[str, Any]
"""Of a base's configuration, `model_type` among them."""


@dataclass(frozen=True)
class Rehearsal:
    """What one part of a step takes.

    Attributes:
        flops: forward and backward, multiplications and additions both counted.
        encoding_bytes: most memory of activations while images are encoded.
        finding_bytes: most while halves of histories find each other, forward and backward; 0 where
            the stage has no such objective.
        decoding_bytes: most while the decoder runs, forward and backward.
        returning_bytes: most while gradients go through what encodes images.
    """

    flops: int = 0
    encoding_bytes: int = 0
    finding_bytes: int = 0
    decoding_bytes: int = 0
    returning_bytes: int = 0

    @property
    def activation_bytes(self) -> int:
        """Most memory of activations, without gradients of weights."""
        _, *most = astuple(self)
        return int(max(most))


def rehearse(recipe: Recipe, values: Values, *, num_tokens: int, is_first: bool) -> Rehearsal:
    """Rehearse towers of one and two layers; layers are alike, and the others take as much.

    Args:
        recipe: of the run.
        values: of the base.
        num_tokens: L of a packed row, preference tokens included.
        is_first: of stage 1, else of stage 2.
    """
    family = FAMILIES[values["model_type"]]
    sizes = family.dimensions(values)

    def measured(text: int, vision: int) -> Rehearsal:
        return measure(
            recipe,
            family.with_layers(values, text=text, vision=vision),
            num_tokens=num_tokens,
            is_first=is_first,
        )

    one = measured(1, 1)
    more = (
        (measured(2, 1), sizes.text.num_layers - 1),
        (measured(1, 2), sizes.vision.num_layers - 1),
    )
    fields = astuple(one)
    totals = list(fields)
    for two, times in more:
        for at, (base, deeper) in enumerate(zip(fields, astuple(two), strict=True)):
            totals[at] += times * (deeper - base)
    return Rehearsal(*totals)


def measure(recipe: Recipe, values: Values, *, num_tokens: int, is_first: bool) -> Rehearsal:
    """Rehearse all layers; arguments as of `rehearse`.

    What the optimizer needs is not among them.
    """
    family = FAMILIES[values["model_type"]]
    base = family.build_on_meta(values)
    model = add_adapter(base, recipe.lora, family_targets=family.adapter_targets)
    held = recipe.base.first if is_first else recipe.base.second
    with FakeTensorMode():
        _take_from_meta(model, _dtype(held))
        scorer = _scorer(recipe, family.wrap(model))
        trained = first_parameters(scorer) if is_first else second_parameters(scorer)
        if not trained:
            return Rehearsal()
        train_only(scorer, trained)
        scorer.train()
        return _run(recipe, scorer, trained, family.dimensions(values), num_tokens, is_first)


def _run(
    recipe: Recipe,
    scorer: PreferenceScorer,
    trained: Mapping[str, nn.Parameter],
    sizes: Dimensions,
    num_tokens: int,
    is_first: bool,
) -> Rehearsal:
    stage = recipe.first if is_first else recipe.second
    num_images = stage.num_users * 2 * (recipe.scorer.num_references + stage.num_pairs)
    packed = _packed(scorer, stage.num_users, num_tokens, 2 * stage.num_pairs)
    meter = Meter([*scorer.parameters(), *scorer.buffers()])
    for parameter in trained.values():
        parameter.register_post_accumulate_grad_hook(lambda p: meter.ignore(cast(Tensor, p.grad)))
    with meter:
        features = _features(recipe, scorer, sizes, num_images)
        encoding = meter.take_most()
        decoding = [0]
        if features.requires_grad:
            features.register_hook(lambda _: decoding.append(meter.take_most()))
        logits = scorer.logits(packed, features)
        finding = 0
        if not is_first and recipe.signature.weight and stage.num_users > 1:
            # Of a sum of losses, too, gradients of what was computed last are computed first.
            _split_half(recipe, scorer, sizes, features).backward()
            finding = meter.take_most()
        logits.sum().backward()
    returning = meter.take_most()
    return Rehearsal(meter.flops, encoding, finding, decoding[-1] or returning, returning)


def _features(
    recipe: Recipe, scorer: PreferenceScorer, sizes: Dimensions, num_images: int
) -> Tensor:
    """Image tokens, made in as many passes as the scorer makes them."""
    backbone = scorer.backbone
    if recipe.encodes_once:  # before the first step: a step looks them up
        shape = (num_images, backbone.num_image_tokens, backbone.hidden_size)
        return torch.zeros(shape, dtype=backbone.dtype)
    modules = backbone.image_modules
    is_trained = any(each.requires_grad for part in modules for each in part.parameters())
    at_once = num_images if is_trained else ENCODED_AT_ONCE
    passes = (min(at_once, num_images - begin) for begin in range(0, num_images, at_once))
    return torch.cat([backbone.image_tokens(_images(recipe, sizes, number)) for number in passes])


def _split_half(
    recipe: Recipe, scorer: PreferenceScorer, sizes: Dimensions, features: Tensor
) -> Tensor:
    """The objective of stage 2 at its most: each user has both halves, and all references."""
    num_users, num_references = recipe.second.num_users, scorer.config.num_references
    num_probes = len(recipe.signature.probe_parts[0])
    num_tokens = probe_row_tokens(recipe, sizes)
    packed = _packed(scorer, num_users, num_tokens, num_probes)
    with torch.no_grad():
        probes = _features(recipe, scorer, sizes, num_probes)

    objective = SplitHalf([_projection(recipe, scorer)])

    def attention() -> Tensor:
        shown = torch.cat([features[: 2 * num_references * num_users], *[probes] * num_users])
        return read_packed(scorer, packed, shown, heads=objective.heads).attention.flatten(1)

    return cast(Tensor, objective(attention(), attention(), 0))


def _projection(recipe: Recipe, scorer: PreferenceScorer) -> Projection:
    """Any, of as many heads as may be, and the last ones: gradients go through all layers."""
    heads = all_heads(scorer)[-recipe.signature.most_heads :]
    num_probes = len(recipe.signature.probe_parts[0])
    width = num_probes * len(heads) * scorer.config.num_preference_tokens
    matrix = np.zeros((width, recipe.signature.dimension))
    return Projection(np.zeros(width), np.ones(width), matrix, heads)


def _packed(
    scorer: PreferenceScorer, num_rows: int, num_tokens: int, num_candidates: int
) -> Packed:
    """Rows of L tokens; P_v, which are among these, are not in them."""
    shape = (num_rows, num_tokens - scorer.config.num_preference_tokens)
    return Packed(
        ids=torch.zeros(shape, dtype=torch.long),
        is_image=torch.zeros(shape, dtype=torch.bool),
        segments=torch.full(shape, SHARED),
        positions=torch.zeros(shape, dtype=torch.long),
        readouts=torch.zeros(num_rows, num_candidates, dtype=torch.long),
    )


def _scorer(recipe: Recipe, backbone: Backbone) -> PreferenceScorer:
    """With any words: what a row has of them is counted apart."""
    if recipe.base.checkpointing:
        backbone.keep_no_activations()
    return PreferenceScorer(
        backbone,
        Template(
            train_tokenizer([""], vocabulary=400), TemplateConfig(), image=backbone.image_markup
        ),
        geometry=recipe.base.geometry,
        config=recipe.scorer,
    )


def _take_from_meta(model: nn.Module, dtype: torch.dtype) -> None:
    """Parameters and buffers on what looks like the CPU, for autocast knows no meta device."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, dtype=dtype)
                module._parameters[name] = nn.Parameter(empty, requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _dtype(held: Precision) -> torch.dtype:
    """Either half precision takes as much as the other."""
    return cast(torch.dtype, getattr(torch, "bfloat16" if held.dtype == "auto" else held.dtype))


def _images(recipe: Recipe, sizes: Dimensions, number: int) -> Tensor:
    geometry = recipe.base.geometry
    side_px = (geometry.square_px or geometry.longest_px) // sizes.patch_px * sizes.patch_px
    return torch.zeros(number, 3, side_px, side_px)


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    heads = query.shape[1]
    return int(sdpa_flop_count(query.shape, _with_heads(key, heads), _with_heads(value, heads)))


def _attention_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> int:
    keys, values = (_with_heads(each, query.shape[1]) for each in (key, value))
    return int(sdpa_backward_flop_count(gradient.shape, query.shape, keys, values))


def _with_heads(shared: Tensor, heads: int) -> torch.Size:
    """As if each query head had keys of its own: torch 2.11 counts no shared ones."""
    return torch.Size((shared.shape[0], heads, *shared.shape[2:]))


_FLOPS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class Meter(TorchDispatchMode):
    """Counts FLOPs of operations, and bytes of the tensors that they make, until these are freed.

    Args:
        ignored: tensors that are counted elsewhere.

    Attributes:
        flops: of all operations so far.
        num_bytes: of tensors that are alive.
    """

    def __init__(self, ignored: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.num_bytes = 0
        self._most = 0
        self._known: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        for tensor in ignored:
            self._known[tensor.untyped_storage()] = None

    def take_most(self) -> int:
        """Most bytes that were alive since the last call."""
        most, self._most = self._most, self.num_bytes
        return most

    def ignore(self, tensor: Tensor) -> None:
        """Count a tensor no more, from now on."""
        freed = self._known.get(tensor.untyped_storage())
        if freed is not None:
            freed()
            self._known[tensor.untyped_storage()] = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do an operation, and count it."""
        result = func(*args, **(kwargs or {}))
        count = _FLOPS.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self._take(each.untyped_storage())
        return result

    def _take(self, storage: Any) -> None:
        if storage in self._known:
            return
        self.num_bytes += storage.nbytes()
        self._most = max(self._most, self.num_bytes)
        self._known[storage] = weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, num_bytes: int) -> None:
        self.num_bytes -= num_bytes
