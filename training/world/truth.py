"""The truth of a synthetic world, in a file of its own: tastes and attributes, for evaluation only.

Plain numpy arrays in one `.npz`; nothing in it is ever unpickled.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from storage.files import replace_file
from training.world.communities import Communities

DIGEST_BYTES = 32


@dataclass(frozen=True, eq=False)
class WorldTruth:
    """What is true of the people and images of one or more worlds of the same communities.

    Attributes:
        communities: what tastes lie around.
        user_ids: of P people.
        tastes: shape (P, A).
        memberships: shape (P,), the community that each person is from.
        digests: shape (N, 32), SHA-256 of each image's encoded bytes.
        attributes: shape (N, A), each in [-1, 1].
    """

    communities: Communities
    user_ids: tuple[str, ...]
    tastes: Float[np.ndarray, "P A"]
    memberships: Int[np.ndarray, " P"]
    digests: UInt8[np.ndarray, "N 32"]
    attributes: Float[np.ndarray, "N A"]

    def taste(self, user_id: str) -> Float[np.ndarray, " A"]:
        """A person's true weights; KeyError for someone who is not of this world."""
        return np.asarray(self.tastes[self._users[user_id]])

    def community(self, user_id: str) -> int:
        """Which community a person is from; KeyError for someone who is not of this world."""
        return int(self.memberships[self._users[user_id]])

    def attributes_of(self, sha256s: Sequence[str]) -> Float[np.ndarray, "N A"]:
        """True attributes of images, in the order given; KeyError for one not of this world."""
        rows = [self._images[bytes.fromhex(sha256)] for sha256 in sha256s]
        return self.attributes[rows]

    @cached_property
    def _users(self) -> dict[str, int]:
        return {user_id: row for row, user_id in enumerate(self.user_ids)}

    @cached_property
    def _images(self) -> dict[bytes, int]:
        return {digest.tobytes(): row for row, digest in enumerate(self.digests)}


def write_truth(truth: WorldTruth, path: Path) -> None:
    """Write the truth, whole or not at all.

    A path that holds the truth of another world of the same communities keeps it: people and images
    are added to it, and those of the same name replaced.

    Raises:
        ValueError: if the path holds the truth of other communities, or something else.
    """
    if path.exists():
        truth = _merged(read_truth(path), truth, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            centers=truth.communities.centers,
            spread=np.float64(truth.communities.spread),
            temperature=np.float64(truth.communities.temperature),
            user_ids=np.array(truth.user_ids, dtype=np.str_),
            tastes=truth.tastes,
            communities=truth.memberships,
            digests=truth.digests,
            attributes=truth.attributes,
        )


def read_truth(path: Path) -> WorldTruth:
    """Read what `write_truth` wrote.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        ValueError: if the file is no world's truth, or is truncated.
    """
    try:
        # numpy leaves a file of its own opening open where it cannot read it.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return WorldTruth(
                communities=Communities(
                    stored["centers"], float(stored["spread"]), float(stored["temperature"])
                ),
                user_ids=tuple(str(user_id) for user_id in stored["user_ids"]),
                tastes=stored["tastes"],
                memberships=stored["communities"],
                digests=stored["digests"],
                attributes=stored["attributes"],
            )
    except (KeyError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not the truth of a world, or is truncated: run `recsys world create` again "
            "with another path"
        ) from error


def _merged(old: WorldTruth, new: WorldTruth, path: Path) -> WorldTruth:
    same = (
        np.array_equal(old.communities.centers, new.communities.centers)
        and old.communities.spread == new.communities.spread
        and old.communities.temperature == new.communities.temperature
    )
    if not same:
        raise ValueError(
            f"{path} holds the truth of other communities: give another path, or their seed"
        )
    keep_user = [user_id not in new._users for user_id in old.user_ids]
    keep_image = [digest.tobytes() not in new._images for digest in old.digests]
    kept = [user_id for user_id, keep in zip(old.user_ids, keep_user, strict=True) if keep]
    return WorldTruth(
        communities=new.communities,
        user_ids=(*kept, *new.user_ids),
        tastes=np.concatenate([old.tastes[keep_user], new.tastes]),
        memberships=np.concatenate([old.memberships[keep_user], new.memberships]),
        digests=np.concatenate([old.digests[keep_image], new.digests]),
        attributes=np.concatenate([old.attributes[keep_image], new.attributes]),
    )
