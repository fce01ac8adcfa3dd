"""How a base was pretrained, in a file beside its folder: a base is known by all JSON in it.

It names the base's weights, so that it is believed of no other base that lies there.
"""

import json
from pathlib import Path
from typing import Any

from recsys.scorer.digests import weights_digest
from storage.files import replace_file
from training.fitting.pretraining.recipe import PretrainRecipe

FILE = "pretraining.json"


def write_pretraining(recipe: PretrainRecipe, base: Path, *, start: str | Path | None) -> None:
    """Tell how a base was made.

    Args:
        recipe: of the run.
        base: folder of the base, with its weights.
        start: the checkpoint whose base had learned captions already; None: a fresh model.
    """
    record = {
        "weights_sha256": weights_digest(base),
        "start": None if start is None else Path(start).name,
        "recipe": recipe.to_json(),
    }
    with replace_file(base.with_name(FILE)) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def read_pretraining(base: Path) -> dict[str, Any] | None:
    """How a base was made: weights_sha256, start, recipe; None where nothing beside it tells.

    Args:
        base: its folder.
    """
    path = base.with_name(FILE)
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    return record if record["weights_sha256"] == weights_digest(base) else None
