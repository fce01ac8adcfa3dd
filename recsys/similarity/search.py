"""The use case: a user -> their neighbours, and what both like."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from recsys.errors import NotFound
from recsys.signatures.records import CurrentSignature
from recsys.similarity.records import SharedTaste, SimilarUser, SimilarUsers
from recsys.similarity.rows import Neighbour
from recsys.words import words_of
from storage.errors import UnknownUser
from storage.records import StoredChoice

MAX_RANK = 10_000
"""Neighbours beyond this rank are not listed: they are no longer near."""

MAX_CHOICES_COMPARED = 512
NUM_PROMPTS = 3
NUM_SHARED_WORDS = 5


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
    own = _Likes.of(choices.some(similar.user_id))
    likes: list[tuple[SimilarUser, int, _Likes]] = []
    for user in similar.users:
        try:
            theirs = _Likes.of(choices.some(user.user_id))
            likes.append((user, choices.num_choices(user.user_id), theirs))
        except (UnknownUser, NotFound):
            continue
    everyone = [own, *(theirs for _, _, theirs in likes)]
    users_with = Counter(word for each in everyone for word in each.words)
    return [
        SharedTaste(
            user,
            number,
            shared_prompts(own.prompts, theirs.prompts),
            tuple(sha256 for sha256 in theirs.images if sha256 in own.images),
            shared_words(own.words, theirs.words, users_with=users_with, num_users=len(likes) + 1),
        )
        for user, number, theirs in likes
    ]


@dataclass(frozen=True, slots=True)
class _Likes:
    """What a user liked: digests, the last one first, their prompts, and how often each word."""

    images: dict[str, None]
    prompts: list[str]
    words: Counter[str]

    @staticmethod
    def of(choices: Iterable[StoredChoice]) -> "_Likes":
        some = [each.choice for each in islice(choices, MAX_CHOICES_COMPARED)]
        liked = [choice for choice in some if choice.liked is not None]
        images = dict.fromkeys(str(choice.liked) for choice in reversed(liked))
        words = Counter(word for choice in liked for word in words_of(choice.prompt))
        return _Likes(images, [choice.prompt for choice in liked], words)


def shared_words(
    own: Counter[str], theirs: Counter[str], *, users_with: Mapping[str, int], num_users: int
) -> tuple[str, ...]:
    """Return words by which two users are told from others, among prompts of what each liked.

    A word counts as often as the user of the two who liked fewer images of it, times
    log((1 + num_users) / users_with), so that a word of everybody counts least.  Spärck Jones 1972.

    Args:
        own: how many images of each word the first user liked.
        theirs: likewise, the second.
        users_with: of each word, how many of the users compared liked an image of it.
        num_users: the number of users compared, at least 2.

    Returns:
        At most `NUM_SHARED_WORDS`, the clearest first, equal ones alphabetically.
    """
    weights = {
        word: number * math.log((1 + num_users) / users_with[word])
        for word, number in (own & theirs).items()
    }
    return tuple(sorted(weights, key=lambda word: (-weights[word], word))[:NUM_SHARED_WORDS])


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


def _plain(prompt: str) -> str:
    return " ".join(prompt.casefold().split())
