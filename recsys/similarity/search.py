"""The use case: a user -> the users of near signatures, and what they and the user both like."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from recsys.errors import NotFound
from recsys.signatures.records import CurrentSignature
from recsys.similarity.records import SharedTaste, SimilarUser, SimilarUsers
from storage.errors import UnknownUser
from storage.records import StoredChoice

MAX_RANK = 10_000
"""How deep neighbours are listed: behind that nobody is near."""

MAX_CHOICES_COMPARED = 512
NUM_PROMPTS = 3


@runtime_checkable
class Near(Protocol):
    """What is needed of `recsys.similarity.rows.Neighbour`."""

    @property
    def user_id(self) -> str:
        """Who."""

    @property
    def similarity(self) -> float:
        """Cosine of the two signatures."""


@runtime_checkable
class Index(Protocol):
    """What is needed of `recsys.similarity.index.SignatureIndex`."""

    def search(
        self, vector: npt.NDArray[np.float32], k: int, *, exclude: Collection[str] = ()
    ) -> Sequence[Near]:
        """Find the users of the k nearest signatures, the nearest first."""


@runtime_checkable
class CurrentOnes(Protocol):
    """What is needed of `recsys.signatures.refresh.CurrentSignatures`."""

    def of(self, user_id: str) -> CurrentSignature:
        """Return a user's signature as of now."""


@runtime_checkable
class Choices(Protocol):
    """What people chose: from storage, or asked of a server."""

    def num_choices(self, user_id: str) -> int:
        """Count them; raises UnknownUser or NotFound."""

    def some(self, user_id: str) -> Iterable[StoredChoice]:
        """Return as many as are to be compared; raises UnknownUser or NotFound."""


def find_similar(
    current: CurrentSignature, index: Index, k: int, *, after: int = 0
) -> SimilarUsers:
    """Find the users nearest to one.

    Args:
        current: the user's signature; its own user is never found.
        index: of the same model version.
        k: at most so many, at least 1.
        after: how many of the nearest to leave out, for they are known; at least 0.

    Raises:
        ValueError: if k or after is out of range.
        StorageError: if storage does not answer.
    """
    if k < 1 or after < 0:
        raise ValueError(f"k must be at least 1 and after at least 0, got {k} and {after}")
    own = current.signature
    end = min(after + k, MAX_RANK)
    found: Sequence[Near] = ()
    if after < end:
        # One more than asked for tells whether there are others.
        found = index.search(own.vector, end + 1, exclude=(own.user_id,))
    users = tuple(_similar(each) for each in found[after:end])
    has_more = len(found) > end and end < MAX_RANK
    return SimilarUsers(
        own.user_id, own.model_version, own.revision, current.is_stale, users, has_more
    )


def shared_tastes(similar: SimilarUsers, choices: Choices) -> list[SharedTaste]:
    """Tell of each near user what they and the user both like; who is gone by now is left out.

    Args:
        similar: the near users.
        choices: of everybody.

    Raises:
        UnknownUser: if the user is gone, or NotFound.
    """
    own = _liked_prompts(choices.some(similar.user_id))
    tastes = []
    for user in similar.users:
        try:
            theirs = _liked_prompts(choices.some(user.user_id))
            number = choices.num_choices(user.user_id)
        except (UnknownUser, NotFound):
            continue
        tastes.append(SharedTaste(user, number, shared_prompts(own, theirs)))
    return tastes


def shared_prompts(own: Sequence[str], theirs: Sequence[str]) -> tuple[str, ...]:
    """Prompts that two people both liked images of, told apart neither by case nor by spaces.

    Args:
        own: of each liked image of the one.
        theirs: of each liked image of the other.

    Returns:
        At most `NUM_PROMPTS`, in the other's words; first those that both liked the most images of
        (the smaller of the two counts), equal ones by alphabet.
    """
    mine, others = Counter(map(_plain, own)), Counter(map(_plain, theirs))
    words = {_plain(prompt): prompt.strip() for prompt in theirs}
    shared = (mine & others).items()  # the smaller of the two counts
    best_first = sorted(((-number, plain) for plain, number in shared if plain))
    return tuple(words[plain] for _, plain in best_first[:NUM_PROMPTS])


def _similar(near: Near) -> SimilarUser:
    # A product of two float32 vectors of length 1 may be above 1 by its rounding.
    return SimilarUser(near.user_id, min(1.0, max(-1.0, float(near.similarity))))


def _liked_prompts(choices: Iterable[StoredChoice]) -> list[str]:
    some = islice(choices, MAX_CHOICES_COMPARED)
    return [each.choice.prompt for each in some if each.choice.liked is not None]


def _plain(prompt: str) -> str:
    return " ".join(prompt.casefold().split())
