"""Scorers on disk: a folder of safetensors and JSON, never pickle.

scorer.json                    what of a scorer is neither weights nor words, and its digest
preference_tokens.safetensors  P_v, float32 (K, D)
tokenizer/                     as the base model's
adapter/                       a PEFT adapter, where there is one
base/                          the base model, where it travels along (the tiny one does)
signature/                     probes and projections (recsys.signatures.files), where it has any
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from recsys.errors import CheckpointRefused, NotFound
from recsys.images.preprocess import ImageGeometry
from recsys.scorer.backbone import Backbone
from recsys.scorer.base_model import CARRIED, BaseModel, copy_base, find_recorded
from recsys.scorer.config import ScorerConfig
from recsys.scorer.devices import DTYPES, require_device, require_dtype
from recsys.scorer.digests import files_digest, model_version
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.pretrained import load_tokenizer
from recsys.scorer.registry import family_of
from recsys.scorer.template import Template, TemplateConfig
from storage.files import replace_folder

FORMAT = 1
DEFAULT_CHECKPOINT = "tiny"
_SHARED = ("tokenizer", "adapter", "base")
"""What a checkpoint that was adapted has of its parent."""
_SHIPPED = Path(__file__).parents[1] / "checkpoints"


def load_scorer(
    checkpoint: str | Path = DEFAULT_CHECKPOINT,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    base: str | Path | None = None,
    verifies_base: bool = False,
    merges_adapter: bool = True,
) -> PreferenceScorer:
    """Load a scorer for inference, all parameters frozen, and all but P_v in one type.

    The model version tells neither the type nor whether the adapter was merged: scores and
    signatures of one checkpoint agree within the rounding of the types that they were computed in.

    Args:
        checkpoint: a folder, or the name of a shipped one ("tiny").
        device: where it goes, e.g. "cpu" or "cuda".
        dtype: in which the base computes, and is held unless it is quantised: "float32", "float16"
            or "bfloat16"; None: as the checkpoint says.
        base: folder or hub id of its base model, for a checkpoint that does not carry it; None:
            where the checkpoint says.
        verifies_base: compare all bytes of such a base with what was trained on, and not a sample.
        merges_adapter: as `recsys.scorer.adapter.for_inference`. False keeps it, in float32: to
            train it further, or to save it again.

    Raises:
        CheckpointRefused: if a file is missing, damaged, of another shape or made for another
            base; the message names it.
        SettingsRefused, PreconditionFailed: if there is no such device or type, PyTorch cannot use
            it, or what a quantised base needs is not installed.
    """
    require_device(device)
    folder = find_checkpoint(checkpoint)
    config = read_config(folder)
    recorded = BaseModel(**config["base"])
    dtype = dtype or recorded.dtype
    require_dtype(dtype, device)
    check_signed(folder, config)
    files = find_recorded(recorded, folder, elsewhere=base, verifies=verifies_base)
    family, adapter = family_of(files), folder / "adapter"
    load = partial(
        family.load,
        files,
        dtype=getattr(torch, dtype),
        quantization=recorded.quantization,
        device=device,
    )
    is_adapted = adapter.is_dir()
    model = _load_adapted(load, adapter, merges=merges_adapter) if is_adapted else load()
    scorer = _assemble(folder, family.wrap(model), config)
    scorer.has_own_adapter = not (is_adapted and merges_adapter)
    return scorer.eval().requires_grad_(False)


def _load_adapted(load: "partial[nn.Module]", adapter: Path, *, merges: bool) -> nn.Module:
    from recsys.scorer.adapter import for_inference, load_adapter, trained_whole

    adapted = load_adapter(load(unquantized=trained_whole(adapter)), adapter)
    return for_inference(adapted, load.keywords["dtype"]) if merges else adapted


def save_scorer(
    scorer: PreferenceScorer,
    folder: Path,
    *,
    base: BaseModel,
    tokenizer: Any,
    base_files: Path | None = None,
    card: str = "",
    write_more: Callable[[Path], None] = lambda folder: None,
) -> str:
    """Write a checkpoint beside `folder` and move it into place; return its model version.

    Args:
        scorer: to be written, without its base model.
        folder: replaced if it is there.
        base: what it stands on; digests of a folder are filled in.
        tokenizer: the base's.
        base_files: folder of the base's files, copied along when `base.source` is "base".
        card: text of MODEL_CARD.md.
        write_more: adds what else the model version is to cover, e.g. signature/.

    Raises:
        ValueError: if the scorer was loaded for inference: a merged adapter cannot be taken out.
    """
    if not scorer.has_own_adapter:
        raise ValueError(
            "a scorer must have its adapter to be saved, and this one was loaded for inference:"
            " load it with merges_adapter=False"
        )
    with replace_folder(folder) as work:
        if base_files is not None:
            copy_base(base_files, work / CARRIED)
        write_more(work)
        version = _write(scorer, work, base, tokenizer)
        (work / "MODEL_CARD.md").write_text(card)
        for path in work.rglob("*.safetensors"):
            path.chmod(0o644)  # the library writes for the owner alone; a server may be another
    scorer.model_version = version
    return version


def save_adapted(
    scorer: PreferenceScorer,
    folder: Path,
    *,
    parent: Path,
    card: str = "",
    write_more: Callable[[Path], None] = lambda folder: None,
) -> str:
    """Write a checkpoint that differs from its parent in P_v, temperature and signature part alone.

    Base, adapter and tokenizer are the parent's own files, under a second name where the file
    system can; else they are copied.

    Args:
        scorer: loaded from the parent, its preference tokens trained further.
        folder: replaced if it is there.
        parent: folder of the checkpoint that it was loaded from.
        card: text of MODEL_CARD.md.
        write_more: adds what else the model version is to cover, e.g. signature/.

    Returns:
        The model version.

    Raises:
        CheckpointRefused: if the parent's config is damaged.
    """
    config = {**read_config(parent), "scorer": scorer.config.to_json()}
    with replace_folder(folder) as work:
        write_more(work)
        for path in work.rglob("*.safetensors"):
            path.chmod(0o644)  # before others' files are there: a mode has no second name
        for part in _SHARED:
            _share(parent / part, work / part)
        write_preference_tokens(scorer, work)
        version = _sign(work, config)
        (work / "MODEL_CARD.md").write_text(card)
    scorer.model_version = version
    return version


def _share(folder: Path, to: Path) -> None:
    """Give each file of a folder, if it is there, a second name; copy where that cannot be."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            other = to / path.relative_to(folder)
            other.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path.resolve(), other)
            except OSError:
                shutil.copy(path, other)


def find_checkpoint(checkpoint: str | Path) -> Path:
    """A checkpoint's folder, by path or by the name of a shipped one.

    Raises:
        NotFound: if there is no such folder.
        CheckpointRefused: if there is one that is no checkpoint.
    """
    for folder in (Path(checkpoint), _SHIPPED / str(checkpoint)):
        if (folder / "scorer.json").is_file():
            return folder
    if not Path(checkpoint).is_dir():
        raise NotFound(f"there is no checkpoint {checkpoint}: give its folder or a shipped name")
    raise CheckpointRefused(
        f"a checkpoint has a scorer.json, {checkpoint} has none: give another folder"
    )


def _write(scorer: PreferenceScorer, work: Path, base: BaseModel, tokenizer: Any) -> str:
    from recsys.scorer.adapter import adapter_of, save_adapter

    write_preference_tokens(scorer, work)
    tokenizer.save_pretrained(work / "tokenizer")
    adapted = adapter_of(scorer)
    if adapted is not None:
        save_adapter(adapted, work / "adapter")
    if not base.is_carried and not base.weights_sha256 and Path(base.source).is_dir():
        base = base.known_by(Path(base.source))
    config = {
        "format": FORMAT,
        "base": base.to_json(),
        "template": scorer.template.config.to_json(),
        "geometry": asdict(scorer.geometry),
        "scorer": scorer.config.to_json(),
    }
    return _sign(work, config)


def write_preference_tokens(scorer: PreferenceScorer, folder: Path) -> None:
    """Write P_v as `read_preference_tokens` reads it."""
    path = folder / "preference_tokens.safetensors"
    tokens = scorer.preference_tokens.detach().float().cpu().contiguous()
    save_file({"preference_tokens": tokens}, path)
    path.chmod(0o644)


def _sign(folder: Path, config: dict[str, Any]) -> str:
    version = model_version(folder, config)
    text = json.dumps({**config, "model_version": version}, indent=2)
    (folder / "scorer.json").write_text(text + "\n")
    return version


def _assemble(folder: Path, backbone: Backbone, config: dict[str, Any]) -> PreferenceScorer:
    tokenizer: Any = load_tokenizer(folder / "tokenizer")
    scorer = PreferenceScorer(
        backbone,
        Template(
            tokenizer,
            TemplateConfig(**config["template"]),
            image=backbone.image_markup,
        ),
        geometry=ImageGeometry(**config["geometry"]),
        config=ScorerConfig.from_json(config["scorer"]),
        model_version=config["model_version"],
    )
    take_preference_tokens(scorer, folder)
    return scorer


def take_preference_tokens(scorer: PreferenceScorer, folder: Path) -> None:
    """Give a scorer the P_v of a checkpoint.

    Raises:
        CheckpointRefused: if the file is missing or damaged, or they are of another shape or not
            finite.
    """
    path = folder / "preference_tokens.safetensors"
    tokens = read_preference_tokens(folder)
    expected = tuple(scorer.preference_tokens.shape)
    if tuple(tokens.shape) != expected:
        raise CheckpointRefused(
            f"{path} must have shape {expected} for this base, got {tuple(tokens.shape)}"
        )
    if not bool(torch.isfinite(tokens).all()):
        raise CheckpointRefused(f"{path} must hold finite numbers, got NaN or infinity")
    with torch.no_grad():
        scorer.preference_tokens.copy_(tokens)


def checkpoint_version(checkpoint: str | Path) -> str:
    """The model version that a checkpoint signs, without loading it.

    Raises:
        CheckpointRefused: if there is none, or its config is damaged.
    """
    return str(read_config(find_checkpoint(checkpoint))["model_version"])


def checkpoint_base(checkpoint: str | Path) -> BaseModel:
    """The base that a checkpoint says it stands on, without loading it.

    Raises:
        NotFound, CheckpointRefused: as `checkpoint_version`.
    """
    return BaseModel(**read_config(find_checkpoint(checkpoint))["base"])


def read_preference_tokens(folder: Path) -> torch.Tensor:
    """P_v of a checkpoint, float32 (K, D).

    Raises:
        CheckpointRefused: if the file is missing or damaged.
    """
    return _read_tensor(folder / "preference_tokens.safetensors", "preference_tokens")


def _read_tensor(path: Path, name: str) -> torch.Tensor:
    try:
        return load_file(path)[name]
    except (OSError, KeyError, SafetensorError) as error:
        raise CheckpointRefused(f"{path} is missing or damaged: {error}") from error


def _check_values(config: dict[str, Any]) -> None:
    """Build what the values are for; TypeError, KeyError or ValueError where they do not fit."""
    TemplateConfig(**config["template"])
    ImageGeometry(**config["geometry"])
    ScorerConfig.from_json(config["scorer"])
    if not isinstance(config["model_version"], str):
        raise TypeError("model_version must be text")
    if config["base"].get("dtype", "float32") not in DTYPES:
        raise ValueError(f"dtype must be {', '.join(DTYPES)}")


def check_signed(folder: Path, config: dict[str, Any]) -> None:
    """Refuse files other than a checkpoint's config signs; raises CheckpointRefused."""
    version, digest = config["model_version"], model_version(folder, config)
    if digest != version:
        raise CheckpointRefused(
            f"{folder} must hold what scorer.json signs ({version[:12]}), got {digest[:12]}: "
            "a file was changed or belongs to another checkpoint"
        )


def read_config(folder: Path) -> dict[str, Any]:
    """What scorer.json says, in the format of this code.

    Raises:
        CheckpointRefused: if it is damaged or of another format, or a file that it needs is not
            there or another one.
    """
    path = folder / "scorer.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
        format_, base = config["format"], BaseModel(**config["base"])
        if format_ == FORMAT:
            _check_values(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointRefused(f"{path} is damaged: {error!r}") from error
    if format_ != FORMAT:
        raise CheckpointRefused(f"{path} has format {format_}, this code reads {FORMAT}: upgrade")
    local = not base.is_carried and Path(base.source).is_dir()
    if local and base.digest and files_digest(Path(base.source)) != base.digest:
        raise CheckpointRefused(
            f"{folder} was made for another base than {base.source}: its files have changed"
        )
    for name in ("preference_tokens.safetensors", "tokenizer/tokenizer.json"):
        if not (folder / name).is_file():
            raise CheckpointRefused(f"{folder / name} is missing: the checkpoint is incomplete")
    return config
