"""What base models of the transformers library share: loading, tokenizers, attention to look at.

Nothing of the library's model classes is changed.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils.logging import disable_progress_bar

from recsys.errors import CheckpointRefused, PreconditionFailed
from recsys.scorer.attention import show
from recsys.scorer.backbone import Quantization
from recsys.scorer.devices import require_device

disable_progress_bar()  # of reading weights, which takes a moment and belongs to no command

OBSERVED_ATTENTION = "recsys_observed_sdpa"
"""The library's name for attention that hooks can see; a family's decoder is switched to it."""

_TOKENIZER_FILES = {"tokenizer.json", "tokenizer.model"}
"""Of a tokenizer whose class is not known: the library's own format, and SentencePiece's."""


def _observed_sdpa(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention as transformers calls it, with a look at queries and keys."""
    show(cast(int, module.layer_idx), query, key, attention_mask, scaling)
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **options
    )


AttentionInterface.register(OBSERVED_ATTENTION, _observed_sdpa)
AttentionMaskInterface.register(OBSERVED_ATTENTION, sdpa_mask)


def load_pretrained(
    model_class: Any,
    source: str | Path,
    *,
    revision: str | None,
    dtype: torch.dtype,
    quantization: Quantization,
    unquantized: tuple[str, ...],
    device: str,
) -> Any:
    """Load a model of one of the library's classes, from safetensors alone.

    Args:
        model_class: with `from_pretrained`.
        source, revision, dtype, quantization, device: as of `recsys.scorer.backbone.LoadBase`.
        unquantized: how the full names of modules begin that keep their precision.

    Raises:
        CheckpointRefused: if the files are missing, damaged or of another architecture, or lack a
            weight, which the library would draw at random, or have one that the model lacks.
        SettingsRefused, PreconditionFailed: as `require_device`.
        PreconditionFailed: if the base is to be quantised, and bitsandbytes is not installed.
    """
    require_device(device)
    options: dict[str, Any] = {
        "dtype": dtype,
        "revision": revision,
        "use_safetensors": True,
        "output_loading_info": True,
    }
    if quantization == "nf4":
        _require_bitsandbytes(source)
        options["quantization_config"] = _nf4_config(dtype, unquantized)
    if quantization == "nf4" or device != "cpu":
        options["device_map"] = {"": device}
    try:
        model, loading = model_class.from_pretrained(str(source), **options)
    except Exception as error:
        # The library, safetensors and the hub each raise their own kinds here.
        raise CheckpointRefused(
            f"base model {source} must be a readable {model_class.__name__} in safetensors: {error}"
        ) from error
    _check_names(source, loading["missing_keys"], loading["unexpected_keys"])
    _keep_differentiable(model)
    return model


def _check_names(source: str | Path, missing: set[str], unexpected: set[str]) -> None:
    wrong = [
        f"{len(names)} {what}, e.g. {min(names)}"
        for names, what in ((missing, "missing"), (unexpected, "of no such model"))
        if names
    ]
    if wrong:
        raise CheckpointRefused(
            f"base model {source} must have each weight of its architecture by the library's name,"
            f" and no other, got {' and '.join(wrong)}: convert it, or take the published files"
        )


def _keep_differentiable(model: nn.Module) -> None:
    """Keep bitsandbytes from packing 4-bit weights on the CPU.

    At the first pass in evaluation it would lay them out for a kernel that has no gradient, and
    leave them so: after a validation nothing below such a layer would learn any more.
    """
    quantized: list[Any] = [
        each for each in model.modules() if hasattr(each, "support_avx512bf16_for_cpu")
    ]
    for layer in quantized:
        layer.support_avx512bf16_for_cpu = False


def is_finite(weight: Tensor) -> bool:
    """Whether no number of a weight is NaN or infinite, as it is computed with.

    One in 4 bits is made of whole numbers, and of scales by which it is unpacked: what was NaN is
    NaN in these alone.

    Args:
        weight: of a model, quantised or not.
    """
    state: Any = getattr(weight, "quant_state", None)
    parts = [weight] if state is None else state.as_dict().values()
    numbers = [torch.as_tensor(each) for each in parts if isinstance(each, Tensor | float)]
    return all(bool(each.isfinite().all()) for each in numbers)


def _require_bitsandbytes(source: str | Path) -> None:
    if find_spec("bitsandbytes") is None:
        raise PreconditionFailed(
            f"base model {source} in 4 bits (nf4) needs bitsandbytes, which is not installed:"
            " pip install 'recsys-images[gpu]'"
        )


def _nf4_config(compute_dtype: torch.dtype, unquantized: tuple[str, ...]) -> BitsAndBytesConfig:
    """4-bit NormalFloat with double quantisation.  Dettmers et al. 2023 (QLoRA), section 3."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        llm_int8_skip_modules=list(unquantized),
    )


def read_model_type(source: str | Path, *, revision: str | None = None) -> str:
    """The `model_type` in a base model's config.json; empty where it names none.

    Raises:
        CheckpointRefused: if the file is missing or damaged.
    """
    try:
        values, _ = PreTrainedConfig.get_config_dict(str(source), revision=revision)
    except Exception as error:  # the library and the hub each raise their own kinds
        raise CheckpointRefused(
            f"base model {source} must have a readable config.json: {error}"
        ) from error
    return str(values.get("model_type", ""))


def read_values(folder: Path) -> dict[str, Any]:
    """All values of a base model's config.json, and those that it leaves at the library's own.

    Raises:
        CheckpointRefused: if the file is missing or damaged.
    """
    try:
        values: dict[str, Any] = AutoConfig.from_pretrained(str(folder)).to_dict()
    except Exception as error:  # the library raises many kinds
        raise CheckpointRefused(
            f"base model {folder} must have a readable config.json: {error}"
        ) from error
    return values


def load_tokenizer(source: str | Path, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer that belongs to a base model.

    Raises:
        CheckpointRefused: if its files are missing or damaged.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(source), revision=revision
        )
    except Exception as error:
        _check_vocabulary(Path(source), _TOKENIZER_FILES)
        raise CheckpointRefused(f"tokenizer {source} cannot be read: {error}") from error
    _check_vocabulary(Path(source), set(tokenizer.vocab_files_names.values()))
    return tokenizer


def _check_vocabulary(folder: Path, names: set[str]) -> None:
    """Refuse a folder without a vocabulary, of which the library makes an empty tokenizer."""
    if folder.is_dir() and not any((folder / name).is_file() for name in names):
        raise CheckpointRefused(
            f"base model {folder} must have its tokenizer beside its weights, got none of"
            f" {', '.join(sorted(names))}: copy its files into the folder, for a base that a"
            " checkpoint carries those of the checkpoint's folder tokenizer"
        )
