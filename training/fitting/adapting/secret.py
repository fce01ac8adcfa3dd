"""The secret that decides who takes part in a step and what noise is added.

Whoever knows it can take the noise off again, so it is drawn by the system, kept in the run's
folder alone and removed with it. It is expanded by SHAKE-256 (FIPS 202): steps that are repeated
after a stop see the same draws, and no draw tells of another.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri

from storage.files import replace_file

_NUM_BYTES = 32
_NUM_SUMMED = 4


@dataclass(frozen=True)
class Secret:
    """A stream of random numbers for each purpose and step.

    Attributes:
        key: 32 bytes, of which no message and no log tells.
    """

    key: bytes = field(repr=False)

    def takes_part(self, step: int, *, num_people: int, rate: float) -> Bool[np.ndarray, " N"]:
        """Who takes part in a step: each with the same chance, whoever else does.

        Args:
            step: counted from 0.
            num_people: N.
            rate: the chance, in (0, 1].
        """
        return self._uniform("people", step, num_people) < rate

    def noise(self, step: int, count: int) -> Float[np.ndarray, " count"]:
        """Standard normal numbers.

        Each is a sum of four, halved, which hides the low bits that tell a single one from the sum
        that it is added to (Holohan & Braghin, 2021).

        Args:
            step: counted from 0.
            count: how many.
        """
        drawn = ndtri(self._uniform("noise", step, _NUM_SUMMED * count))
        return np.asarray(drawn.reshape(_NUM_SUMMED, count).sum(axis=0) / np.sqrt(_NUM_SUMMED))

    def _uniform(self, purpose: str, step: int, count: int) -> Float[np.ndarray, " count"]:
        """In (0, 1), neither end included, of 53 bits each."""
        stream = hashlib.shake_256(self.key + f"{purpose} {step}".encode())
        words = np.frombuffer(stream.digest(8 * count), dtype="<u8")
        return ((words >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def secret_of(path: Path) -> Secret:
    """The secret of a run: a new one from the system's randomness, or that of before.

    Args:
        path: of its file, which only the owner may read.

    Raises:
        ValueError: if the file is damaged.
    """
    if not path.exists():
        with replace_file(path, is_only_writer=True) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(secrets.token_bytes(_NUM_BYTES))
    key = path.read_bytes()
    if len(key) != _NUM_BYTES:
        raise ValueError(f"{path} is damaged: remove the folder to begin the run anew")
    return Secret(key)
