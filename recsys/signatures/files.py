"""The signature part of a checkpoint: probe images and projections on disk, never pickle.

signature/signature.json          probes' prompts, orders, and what each projection reads
signature/projections.safetensors mean, scale and matrix of each readout
signature/00.image ...            the probes, encoded as they were stored
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recsys.errors import CheckpointRefused, ImageRefused
from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import DEFAULT_LIMITS
from recsys.images.reader import image_of
from recsys.scorer.model import CandidateImage, PreferenceScorer
from recsys.signatures.definition import READOUTS, Projection, Readout
from recsys.signatures.folder import FOLDER, probe_name
from recsys.signatures.probes import encode_probes
from recsys.signatures.reader import SignatureReader

_PARTS = ("mean", "scale", "matrix")


@dataclass(frozen=True)
class Probe:
    """A probe as it is stored.

    Attributes:
        image: encoded PNG, JPEG or WebP.
        prompt: what it was made from.
    """

    image: bytes
    prompt: str


def write_signature(
    checkpoint: Path,
    probes: Sequence[Probe],
    projections: Mapping[Readout, Projection],
    *,
    num_orders: int,
) -> None:
    """Add the signature part to a checkpoint that is being written.

    Args:
        checkpoint: its folder.
        probes: at least one.
        projections: by readout, at least one.
        num_orders: re-orderings that are averaged, at least 1.
    """
    folder = checkpoint / FOLDER
    folder.mkdir()
    for number, probe in enumerate(probes):
        (folder / probe_name(number)).write_bytes(probe.image)
    arrays = {
        f"{readout}.{part}": np.ascontiguousarray(getattr(projection, part), dtype=np.float32)
        for readout, projection in projections.items()
        for part in _PARTS
    }
    save_file(arrays, folder / "projections.safetensors")
    description = {
        "num_orders": num_orders,
        "prompts": [probe.prompt for probe in probes],
        "readouts": {
            readout: {"heads": projection.heads, "normalisation": projection.normalisation}
            for readout, projection in projections.items()
        },
    }
    (folder / "signature.json").write_text(json.dumps(description, indent=1) + "\n")


def has_signature(checkpoint: Path) -> bool:
    """Whether a checkpoint has a signature part."""
    return (checkpoint / FOLDER / "signature.json").is_file()


def load_signature_reader(
    checkpoint: Path,
    scorer: PreferenceScorer,
    *,
    readout: Readout = READOUTS[0],
    image_tokens: ImageTokenCache | None = None,
) -> SignatureReader:
    """Read the signature part of a loaded checkpoint, and encode its probes.

    Args:
        checkpoint: the folder that the scorer was loaded from.
        scorer: frozen.
        readout: "scores" is what is shipped; "attention" is there to compare.
        image_tokens: where those of the probes may be kept; None: they are made anew.

    Raises:
        CheckpointRefused: if there is no such part or readout, or a file of it is damaged.
    """
    folder = checkpoint / FOLDER
    if not has_signature(checkpoint):
        raise CheckpointRefused(
            f"{checkpoint} has no signature part: `recsys train` adds one to what it trains"
        )
    try:
        description: dict[str, Any] = json.loads((folder / "signature.json").read_text())
        if readout not in description["readouts"]:
            raise CheckpointRefused(
                f"{checkpoint} must have a projection for the readout {readout!r},"
                f" has {', '.join(description['readouts'])}"
            )
        read = partial(image_of, limits=DEFAULT_LIMITS, tokens=image_tokens)
        candidates = [
            CandidateImage(read((folder / probe_name(number)).read_bytes()), prompt)
            for number, prompt in enumerate(description["prompts"])
        ]
        arrays = load_file(folder / "projections.safetensors")
        projection = _projection(description["readouts"][readout], arrays, readout)
        return SignatureReader(
            scorer,
            encode_probes(scorer, candidates),
            projection,
            readout=readout,
            num_orders=description["num_orders"],
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, ImageRefused) as error:
        raise CheckpointRefused(f"{folder} is damaged: {error!r}") from error


def _projection(
    description: dict[str, Any], arrays: Mapping[str, np.ndarray], readout: Readout
) -> Projection:
    mean, scale, matrix = (arrays[f"{readout}.{part}"].astype(np.float64) for part in _PARTS)
    heads = tuple((int(layer), int(head)) for layer, head in description["heads"])
    return Projection(mean, scale, matrix, heads=heads, normalisation=description["normalisation"])
