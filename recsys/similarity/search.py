"""The use case: a user -> their neighbours, and what both like."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from recsys.errors import NotFound
from recsys.signatures.records import CurrentSignature
from recsys.similarity.records import SharedTaste, SimilarUser, SimilarUsers
from recsys.similarity.rows import Neighbour
from storage.errors import UnknownUser
from storage.records import StoredChoice

MAX_RANK = 10_000
"""Neighbours beyond this rank are not listed: they are no longer near."""

MAX_CHOICES_COMPARED = 512
NUM_PROMPTS = 3


@runtime_checkable
class NeighbourIndex(Protocol):
    """The part of `recsys.similarity.index.SignatureIndex` that is used here."""

    def search(
        self, vector: npt.NDArray[np.float32], k: int, *, exclude: Collection[str] = ()
    ) -> Sequence[Neighbour]:
        """Return the k nearest neighbours, the nearest first."""


@runtime_checkable
class Choices(Protocol):
    """Users' choices, from storage or from a server."""

    def num_choices(self, user_id: str) -> int:
        """Return their number; raises UnknownUser or NotFound."""

    def some(self, user_id: str) -> Iterable[StoredChoice]:
        """Return those to be compared; raises UnknownUser or NotFound."""


def find_similar(
    current: CurrentSignature, index: NeighbourIndex, k: int, *, after: int = 0
) -> SimilarUsers:
    """Find a user's neighbours.

    Args:
        current: the user's signature; the user is not their own neighbour.
        index: of the same model version.
        k: the most neighbours to return, at least 1.
        after: how many of the nearest to skip, at least 0.

    Raises:
        ValueError: if k or after is out of range.
        StorageError: if storage does not answer.
    """
    if k < 1 or after < 0:
        raise ValueError(f"k must be at least 1 and after at least 0, got {k} and {after}")
    own = current.signature
    end = min(after + k, MAX_RANK)
    neighbours: Sequence[Neighbour] = ()
    if after < end:
        # One more than asked for shows whether others follow.
        neighbours = index.search(own.vector, end + 1, exclude=(own.user_id,))
    users = tuple(_similar(each) for each in neighbours[after:end])
    has_more = len(neighbours) > end and end < MAX_RANK
    return SimilarUsers(
        own.user_id, own.model_version, own.revision, current.is_stale, users, has_more
    )


def shared_tastes(similar: SimilarUsers, choices: Choices) -> list[SharedTaste]:
    """Return what a user and each neighbour both like; neighbours erased meanwhile are left out.

    Args:
        similar: the user and their neighbours.
        choices: of all users.

    Raises:
        UnknownUser: if the user was erased meanwhile, or NotFound.
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
    """Return the prompts of which two users both liked images; case and spaces do not matter.

    Args:
        own: of each liked image of the first user.
        theirs: of each liked image of the second.

    Returns:
        At most `NUM_PROMPTS`, as the second user wrote them; by the number of images that both
        liked (the smaller of the two counts), then alphabetically.
    """
    mine, others = Counter(map(_plain, own)), Counter(map(_plain, theirs))
    words = {_plain(prompt): prompt.strip() for prompt in theirs}
    shared = (mine & others).items()  # the smaller of the two counts
    best_first = sorted(((-number, plain) for plain, number in shared if plain))
    return tuple(words[plain] for _, plain in best_first[:NUM_PROMPTS])


def _similar(neighbour: Neighbour) -> SimilarUser:
    # Rounding may take a product of two float32 vectors of length 1 above 1.
    return SimilarUser(neighbour.user_id, min(1.0, max(-1.0, float(neighbour.similarity))))


def _liked_prompts(choices: Iterable[StoredChoice]) -> list[str]:
    some = islice(choices, MAX_CHOICES_COMPARED)
    return [each.choice.prompt for each in some if each.choice.liked is not None]


def _plain(prompt: str) -> str:
    return " ".join(prompt.casefold().split())
