"""The families of base models, by the `model_type` of a model's config.json."""

from pathlib import Path

from recsys.errors import CheckpointRefused
from recsys.scorer import idefics2, idefics3
from recsys.scorer.backbone import Family
from recsys.scorer.photo import family as photo
from recsys.scorer.pretrained import read_model_type

FAMILIES: dict[str, Family] = {
    "idefics2": idefics2.FAMILY,
    "idefics3": idefics3.FAMILY,
    "photo": photo.FAMILY,
}


def family_of(source: str | Path, *, revision: str | None = None) -> Family:
    """The family of a base model, by the `model_type` of its config.json.

    Args:
        source: hub id, or a folder.
        revision: branch, tag or commit on the hub.

    Raises:
        CheckpointRefused: if the file is missing or damaged, or its family is not known.
    """
    model_type = read_model_type(source, revision=revision)
    if model_type not in FAMILIES:
        raise CheckpointRefused(
            f"base model {source} must be one of {', '.join(FAMILIES)}, got {model_type or 'none'}:"
            " choose a base of a known family"
        )
    return FAMILIES[model_type]
