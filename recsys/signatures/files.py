"""The signature part of a checkpoint: probe images and projections on disk, never pickle.

signature/signature.json          prompts, orders, what each projection reads, which is served
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
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from recsys.errors import CheckpointRefused, ImageRefused
from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import DEFAULT_LIMITS
from recsys.images.reader import image_of
from recsys.scorer.model import CandidateImage, PreferenceScorer
from recsys.signatures.definition import READOUTS, Head, Projection, Readout
from recsys.signatures.folder import FOLDER, probe_name
from recsys.signatures.probes import encode_probes
from recsys.signatures.reader import SignatureReader

_PARTS = ("mean", "scale", "matrix")
_FIRST_SERVED: Readout = "scores"
"""Of a part that does not say it, as the first ones did not."""


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
    served: Readout | None = None,
) -> None:
    """Add the signature part to a checkpoint that is being written.

    Args:
        checkpoint: its folder.
        probes: at least one.
        projections: by readout, at least one.
        num_orders: re-orderings that are averaged, at least 1.
        served: which of them becomes signatures; None: the first.

    Raises:
        ValueError: if `served` is not among them, or they read other heads.
    """
    chosen: Readout = next(iter(projections)) if served is None else served
    _check_together(chosen, projections)
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
        "served": chosen,
        "readouts": {
            readout: {"heads": projection.heads} for readout, projection in projections.items()
        },
    }
    (folder / "signature.json").write_text(json.dumps(description, indent=1) + "\n")


def has_signature(checkpoint: Path) -> bool:
    """Whether a checkpoint has a signature part."""
    return (checkpoint / FOLDER / "signature.json").is_file()


def stored_probes(checkpoint: Path) -> list[Probe]:
    """The probes of a checkpoint as they are stored, to be written again.

    Raises:
        CheckpointRefused: if there is no such part, or a file of it is damaged.
    """
    folder = checkpoint / FOLDER
    try:
        prompts = json.loads((folder / "signature.json").read_text())["prompts"]
        return [
            Probe((folder / probe_name(number)).read_bytes(), prompt)
            for number, prompt in enumerate(prompts)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointRefused(f"{folder} is damaged: {error!r}") from error


def named_heads(checkpoint: Path) -> tuple[Head, ...]:
    """The heads whose attention a checkpoint's projections read; empty where none does.

    Raises:
        CheckpointRefused: if the signature part is damaged.
    """
    if not has_signature(checkpoint):
        return ()
    try:
        readouts = json.loads((checkpoint / FOLDER / "signature.json").read_text())["readouts"]
        return next(filter(None, map(_heads, readouts.values())), ())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointRefused(f"{checkpoint / FOLDER} is damaged: {error!r}") from error


@dataclass(frozen=True)
class SignatureReaders:
    """All readings of a checkpoint that can become signatures.

    Attributes:
        served: the one that does.
        by_readout: with the same probes and heads.
    """

    served: Readout
    by_readout: Mapping[Readout, SignatureReader]

    def read_tokens(
        self, prompts: Sequence[str], features: Float[Tensor, "N T D"]
    ) -> dict[Readout, Float[np.ndarray, " E"]]:
        """One user's signature by each readout, all of the same passes; else as the readers do."""
        widest = self.by_readout.get("both")
        if widest is None:
            return {
                readout: reader.read_tokens(prompts, features)
                for readout, reader in self.by_readout.items()
            }
        reading, num_probes = widest.reading(prompts, features), len(widest.probes.prompts)
        columns = {"scores": reading[:num_probes], "attention": reading[num_probes:]}
        return {
            readout: reader.projection(columns.get(readout, reading))
            for readout, reader in self.by_readout.items()
        }


def load_signature_reader(
    checkpoint: Path, scorer: PreferenceScorer, *, image_tokens: ImageTokenCache | None = None
) -> SignatureReader:
    """Read the signature part of a loaded checkpoint, and encode its probes.

    Args:
        checkpoint: the folder that the scorer was loaded from.
        scorer: frozen.
        image_tokens: where those of the probes may be kept; None: they are made anew.

    Raises:
        CheckpointRefused: if there is no such part, or a file of it is damaged.
    """
    readers = load_signature_readers(checkpoint, scorer, image_tokens=image_tokens)
    return readers.by_readout[readers.served]


def load_signature_readers(
    checkpoint: Path, scorer: PreferenceScorer, *, image_tokens: ImageTokenCache | None = None
) -> SignatureReaders:
    """As `load_signature_reader`, with what is not served, to compare.

    Of a part that does not say what is served, scores alone are read: its attention was averaged
    over all tokens of the probes.
    """
    folder = checkpoint / FOLDER
    if not has_signature(checkpoint):
        raise CheckpointRefused(
            f"{checkpoint} has no signature part: `recsys train` adds one to what it trains"
        )
    try:
        description: dict[str, Any] = json.loads((folder / "signature.json").read_text())
        read = partial(image_of, limits=DEFAULT_LIMITS, tokens=image_tokens)
        candidates = [
            CandidateImage(read((folder / probe_name(number)).read_bytes()), prompt)
            for number, prompt in enumerate(description["prompts"])
        ]
        arrays = load_file(folder / "projections.safetensors")
        served: Readout = description.get("served", _FIRST_SERVED)
        readouts = description["readouts"]
        if "served" not in description:
            readouts = {served: readouts[served]}
        probes = encode_probes(scorer, candidates)
        readers = {
            readout: SignatureReader(
                scorer,
                probes,
                _projection(readouts[readout], arrays, readout),
                readout=readout,
                num_orders=description["num_orders"],
            )
            for readout in READOUTS
            if readout in readouts
        }
        _check_together(served, {name: each.projection for name, each in readers.items()})
        return SignatureReaders(served, readers)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, ImageRefused) as error:
        raise CheckpointRefused(f"{folder} is damaged: {error!r}") from error


def _check_together(served: Readout, projections: Mapping[Readout, Projection]) -> None:
    if served not in projections:
        raise ValueError(
            f"what is served must be among {', '.join(projections)}, got {served}: fit it too"
        )
    if len({each.heads for each in projections.values() if each.heads}) > 1:
        raise ValueError("all readouts must read the same heads, got others: fit them together")


def _projection(
    description: Mapping[str, Any], arrays: Mapping[str, np.ndarray], readout: Readout
) -> Projection:
    mean, scale, matrix = (arrays[f"{readout}.{part}"].astype(np.float64) for part in _PARTS)
    return Projection(mean, scale, matrix, heads=_heads(description))


def _heads(description: Mapping[str, Any]) -> tuple[Head, ...]:
    return tuple((int(layer), int(head)) for layer, head in description["heads"])
