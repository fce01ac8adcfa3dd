"""The only door to peft: LoRA adapters on a base model."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

# Imported by peft, it warns at each start of an optional kernel package that is not installed.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

import torch  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from peft.tuners.lora import LoraLayer  # noqa: E402
from peft.utils import ModulesToSaveWrapper  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from recsys.errors import CheckpointRefused  # noqa: E402

logger = logging.getLogger(__name__)

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
LEAST_KEPT = 0.9
"""What of an adapter must be left when it is merged: see `kept_by_merging`."""


@dataclass(frozen=True)
class LoraShape:
    """A low-rank adapter (QLoRA where the base is quantised).

    Attributes:
        rank: r, at least 1.
        alpha: the update is scaled by alpha / r.
        dropout: before the update, in [0, 1).
        targets: regular expression over module names; None: those that the base's family names.
        whole: names of modules that are trained and saved whole, not by a low-rank update.
    """

    rank: int = 8
    alpha: int = 8
    dropout: float = 0.1
    targets: str | None = None
    whole: tuple[str, ...] = ()


def add_adapter(
    model: nn.Module, shape: LoraShape, *, family_targets: str | None = None
) -> PeftModel:
    """Put a fresh adapter on a model; its update is zero until trained. The base is frozen.

    Args:
        model: the base.
        shape: of the adapter.
        family_targets: `Family.adapter_targets` of the base, for a shape that names no modules.

    Raises:
        ValueError: if neither says which modules are adapted.
    """
    targets = shape.targets or family_targets
    if targets is None:
        raise ValueError("targets must name the modules to be adapted, got none: set lora.targets")
    config = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=targets,
        modules_to_save=list(shape.whole) or None,
        init_lora_weights="gaussian",
    )
    with _without_deprecation_noise():
        return get_peft_model(cast(Any, model), config)


def trained_whole(folder: Path) -> tuple[str, ...]:
    """Names of the modules that a saved adapter has whole: no base of theirs can be in 4 bits.

    Raises:
        CheckpointRefused: if its configuration is missing or damaged.
    """
    path = folder / ADAPTER_FILES[0]
    try:
        return tuple(json.loads(path.read_text()).get("modules_to_save") or ())
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointRefused(f"{path} is missing or damaged: {error}") from error


def load_adapter(model: nn.Module, folder: Path, *, trainable: bool = False) -> PeftModel:
    """Put a saved PEFT adapter on a model, from safetensors alone.

    Raises:
        CheckpointRefused: if a file is missing or damaged, or does not fit the model.
    """
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise CheckpointRefused(f"{folder / name} is missing: an adapter needs it")
    try:
        with _without_deprecation_noise():
            adapted = PeftModel.from_pretrained(
                cast(Any, model), str(folder), is_trainable=trainable
            )
    except Exception as error:
        # peft, safetensors and torch each raise their own kinds here.
        raise CheckpointRefused(f"adapter {folder} cannot be put on this base: {error}") from error
    return adapted


@contextmanager
def _without_deprecation_noise() -> Iterator[None]:
    """peft asks transformers for an attribute by its old name, which warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield


def adapter_of(model: nn.Module) -> PeftModel | None:
    """The adapted model inside a module, where there is one."""
    return next((each for each in model.modules() if isinstance(each, PeftModel)), None)


def for_inference(model: PeftModel, dtype: torch.dtype) -> nn.Module:
    """The smallest and fastest model that computes what an adapted one does, in the base's type.

    The adapter is merged, unless rounding would lose more than a tenth of it. On a 4-bit base it
    stays, for a step between two of 16 levels is larger than most updates: merging moved margins
    by a third or more of what the adapter itself does (toy size, five sizes of updates), where
    bfloat16 with and without merging moved them by a tenth. An adapter that stays is rounded to
    the base's type, as autocast would in each pass. Modules that were trained whole take the place
    of the base's.

    Args:
        model: not to be trained any more; it is changed.
        dtype: of the base; in which it computes, where it is quantised.
    """
    if _has_4_bits(model) or (kept := kept_by_merging(model)) < LEAST_KEPT:
        reason = "a 4-bit base" if _has_4_bits(model) else f"{dtype} would keep {kept:.0%} of it"
        logger.info("the adapter is not merged: %s", reason)
        merged: nn.Module = _with_whole_modules(model)
    else:
        merged = merge_adapter(model)
    for parameter in merged.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    return merged


def merge_adapter(model: PeftModel) -> nn.Module:
    """Add the adapter's update to the base's weights and take it off: as fast as no adapter.

    The sum is rounded to the type of the weights. A quantised base is dequantised, added to and
    quantised again.
    """
    return cast(nn.Module, cast(Any, model).merge_and_unload())


def update_scales(module: nn.Module) -> dict[str, float]:
    """By what each low-rank update in a module is multiplied, by the names of layer and adapter.

    It is alpha / r, which no tensor of the adapter holds.
    """
    layers = [(n, each) for n, each in module.named_modules() if isinstance(each, LoraLayer)]
    return {
        f"{name}.{adapter}": float(scale)
        for name, layer in layers
        for adapter, scale in layer.scaling.items()
    }


@torch.no_grad()
def kept_by_merging(model: PeftModel) -> float:
    """What of the adapter's update is left when the sum is rounded to the base's type.

    sum <W' - W, U> / sum <U, U> over all adapted weights W, of update U and merged W'. It is about
    1 where updates are larger than half a step between two numbers of the type, for then rounding
    errs to either side alike, and 0 where each update is smaller: W' is W.

    Args:
        model: its base is not quantised.
    """
    left = whole = 0.0
    for weight, update in _updates(model):
        change = (weight + update).to(weight.dtype).float() - weight.float()
        left += (change * update).sum().item()
        whole += update.square().sum().item()
    return left / whole if whole else 1.0


def _updates(model: PeftModel) -> Iterator[tuple[Tensor, Tensor]]:
    """Each adapted weight of the base, and what the active adapters add to it, float32."""
    layers: list[Any] = [each for each in model.modules() if isinstance(each, LoraLayer)]
    for layer in layers:
        for name in layer.active_adapters:
            yield layer.get_base_layer().weight, layer.get_delta_weight(name).float()


def _has_4_bits(model: PeftModel) -> bool:
    return any(hasattr(parameter, "quant_state") for parameter in model.parameters())


def _with_whole_modules(model: PeftModel) -> PeftModel:
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            parent, _, last = name.rpartition(".")
            trained = module.modules_to_save[module.active_adapters[0]]
            setattr(model.get_submodule(parent), last, trained)
    return model


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter alone, without the base or where that happened to lie."""
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
    path = folder / ADAPTER_FILES[0]
    config = {**json.loads(path.read_text()), "base_model_name_or_path": None}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
