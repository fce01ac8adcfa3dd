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

from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from torch import nn  # noqa: E402

from recsys.errors import CheckpointRefused  # noqa: E402

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


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


def merge_adapter(model: PeftModel) -> nn.Module:
    """Add the adapter's update to the base's weights and take it off: as fast as no adapter.

    A quantised base is dequantised, added to and quantised again, which rounds anew.
    """
    return cast(nn.Module, cast(Any, model).merge_and_unload())


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter alone, without the base or where that happened to lie."""
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
    path = folder / ADAPTER_FILES[0]
    config = {**json.loads(path.read_text()), "base_model_name_or_path": None}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
