"""A checkpoint as it is served: its scorer with what that borrows, and its reader of signatures.

Importing this module loads neither torch nor SQLAlchemy.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.errors import CheckpointRefused, NotFound

if TYPE_CHECKING:
    from recsys.coldstart.borrowing import BorrowingScorer
    from recsys.engine.worker import Scorer
    from recsys.image_tokens.cache import ImageTokenCache
    from recsys.images.preprocess import ImageGeometry
    from recsys.scorer.model import PreferenceScorer
    from recsys.settings import Settings
    from recsys.signatures.definition import SignatureModel
    from storage.database import Database

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What is served.

    Attributes:
        scorer: scores candidates; blends in others' choices where the settings ask for it.
        num_references: how many references it was trained with.
        geometry: the size that it brings images to; None: images are left in their own.
        signature_reader: None where the checkpoint ships nothing to read signatures by.
        max_prefix_bytes: most memory that keeping one user warm takes, bytes; 0: unknown.
        image_tokens: keeps the image tokens of this scorer; None: they are made anew each time.
        audiences: by name, scorers of other P_v on the same weights, which blend in likewise.
    """

    scorer: "Scorer"
    num_references: int
    geometry: "ImageGeometry | None" = None
    signature_reader: "SignatureModel | None" = None
    max_prefix_bytes: int = 0
    image_tokens: "ImageTokenCache | None" = None
    audiences: "Mapping[str, Scorer]" = field(default_factory=dict)


def loaded_scorer(settings: "Settings") -> "PreferenceScorer":
    """Load the scorer of the checkpoint that the settings name.

    Raises:
        CheckpointRefused: if the checkpoint is missing, damaged or made for another base.
        SettingsRefused, PreconditionFailed: as `recsys.scorer.checkpoint.load_scorer`.
    """
    import torch

    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    return load_checkpoint(settings, settings.checkpoint)


def load_checkpoint(
    settings: "Settings", checkpoint: str | Path, *, merges_adapter: bool = True
) -> "PreferenceScorer":
    """Load the scorer of any checkpoint.

    Args:
        settings: say on which device and in which type it computes, where its base lies, and
            whether that is compared byte by byte.
        checkpoint: a folder, or the name of a shipped one.
        merges_adapter: False to train it further.

    Raises:
        CheckpointRefused, SettingsRefused, PreconditionFailed: as `loaded_scorer`.
    """
    from recsys.scorer.checkpoint import load_scorer

    return load_scorer(
        checkpoint,
        device=settings.device,
        dtype=settings.dtype,
        base=settings.base,
        verifies_base=settings.verify_base,
        merges_adapter=merges_adapter,
    )


def opened_image_tokens(
    settings: "Settings", database: "Database", scorer: "PreferenceScorer"
) -> "ImageTokenCache":
    """Where the image tokens of a loaded scorer are kept; images that have gone are forgotten.

    Args:
        settings: say how much memory they may take, and in which folder they are kept, too.
        database: tells which images are stored.
        scorer: its image tokens.

    Raises:
        SettingsRefused: if the folder cannot be written to.
        StorageError: if storage does not answer.
    """
    from recsys.image_tokens.cache import ImageTokenCache
    from recsys.image_tokens.folder import opened_folder
    from recsys.scorer.token_version import token_version
    from storage.images import stored_among

    folder = None
    if settings.image_tokens_folder is not None:
        path, most = Path(settings.image_tokens_folder), settings.image_tokens_disk_bytes
        folder = opened_folder(path, token_version(scorer), max_bytes=most)
    tokens = ImageTokenCache(
        settings.image_tokens_bytes, folder=folder, stored=partial(stored_among, database)
    )
    tokens.forget_gone()
    logger.info("image tokens: %s", tokens)
    return tokens


def loaded_model(
    settings: "Settings",
    database: "Database",
    scorer: "PreferenceScorer",
    image_tokens: "ImageTokenCache",
) -> LoadedModel:
    """Put together what is served of a checkpoint.

    Args:
        settings: name the checkpoint, and say whether it borrows.
        database: holds what was learned for cold start.
        scorer: of the checkpoint, loaded.
        image_tokens: of the scorer.

    Raises:
        CheckpointRefused: if a part of the checkpoint is damaged, or what was learned is.
    """
    from recsys.scorer.checkpoint import find_checkpoint
    from recsys.signatures.files import has_signature, load_signature_reader

    checkpoint = find_checkpoint(settings.checkpoint)
    reader = None
    if has_signature(checkpoint):
        reader = load_signature_reader(checkpoint, scorer, image_tokens=image_tokens)
    else:
        logger.info("%s ships nothing to read signatures by: neighbours are unknown", checkpoint)
    served = borrowing(settings, database, scorer)
    audiences = loaded_audiences(settings, database, scorer)
    return LoadedModel(
        served,
        scorer.config.num_references,
        scorer.geometry,
        reader,
        max(each.max_prefix_bytes for each in (served, *audiences.values())),
        image_tokens,
        audiences,
    )


def loaded_audiences(
    settings: "Settings", database: "Database", scorer: "PreferenceScorer"
) -> "dict[str, PreferenceScorer | BorrowingScorer]":
    """Load the P_v of each audience onto the weights of the served scorer.

    Each borrows what was learned for its own model version, and nothing where nothing was.

    Args:
        settings: name the audiences, and the checkpoint that the scorer was loaded from.
        database: holds what was learned for cold start.
        scorer: loaded.

    Raises:
        CheckpointRefused: if one is missing, damaged or no adaptation of what is served, or what it
            borrows is damaged; names the audience.
    """
    from recsys.scorer.audiences import load_audience

    audiences = {}
    for name, checkpoint in settings.audience_checkpoints.items():
        try:
            audience = load_audience(checkpoint, scorer, served=settings.checkpoint)
            audiences[name] = borrowing(settings, database, audience)
        except (CheckpointRefused, NotFound) as error:
            raise CheckpointRefused(f"the audience {name} cannot be served: {error}") from error
        logger.info("audience %s: model version %.12s", name, audience.model_version)
    return audiences


def borrowing(
    settings: "Settings", database: "Database", scorer: "PreferenceScorer"
) -> "PreferenceScorer | BorrowingScorer":
    """Let a scorer borrow what `recsys coldstart fit` has learned; else return it as it is.

    Args:
        settings: switch it on.
        database: holds what was learned.
        scorer: loaded.

    Raises:
        CheckpointRefused: if what was learned is damaged or does not fit.
    """
    from recsys.coldstart.borrowing import BorrowingScorer
    from recsys.coldstart.population import ColdStart
    from storage.coldstart.populations import ColdStartStore
    from storage.database import check

    if not settings.cold_start or not check(database).is_usable:
        return scorer  # a new database has nothing to lend
    stored = ColdStartStore(database).get(scorer.model_version)
    if stored is None:
        return scorer
    try:
        return BorrowingScorer(scorer, ColdStart.from_bytes(stored.data))
    except ValueError as error:
        raise CheckpointRefused(str(error)) from error


def needed_reader(settings: "Settings", model: LoadedModel) -> "SignatureModel":
    """The reader of signatures of a loaded checkpoint.

    Raises:
        CheckpointRefused: if the checkpoint ships none.
    """
    if model.signature_reader is None:
        raise CheckpointRefused(
            "the checkpoint must ship probes and a projection to read signatures by, and"
            f" {settings.checkpoint} ships none: name another one with --checkpoint"
        )
    return model.signature_reader


def prefix_cache_size(settings: "Settings", model: LoadedModel) -> int:
    """How many bytes of prefixes are kept of a model that is loaded; it is logged.

    Raises:
        SettingsRefused: if the settings, or what is free on the device, allow less than one user.
    """
    from recsys.engine.memory import size_prefix_cache
    from recsys.scorer.devices import free_memory_bytes

    return size_prefix_cache(
        settings.prefix_cache_bytes,
        max_prefix_bytes=model.max_prefix_bytes,
        free_bytes=free_memory_bytes(settings.device),
        device=settings.device,
    )
