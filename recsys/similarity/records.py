"""The results of a search for neighbours: plain values, which the client imports."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimilarUser:
    """A neighbour: another user with a near signature.

    Attributes:
        user_id: who.
        similarity: cosine of the two signatures, -1 to 1.
    """

    user_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class SimilarUsers:
    """Some of a user's neighbours.

    Attributes:
        user_id: whose neighbours they are.
        model_version: of the signatures.
        revision: of the history that the user's signature was computed from.
        is_stale: True if the user has chosen since and it could not be recomputed.
        users: the nearest first, equal ones by user id.
        has_more: whether others follow.
    """

    user_id: str
    model_version: str
    revision: int
    is_stale: bool
    users: tuple[SimilarUser, ...]
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class SharedTaste:
    """A neighbour, and what they and the user both like.

    Attributes:
        user: the neighbour.
        num_choices: of the neighbour, in storage.
        prompts: of images that both liked, those of most images first, as the neighbour wrote
            them.
        images: digests of images that both liked, those that the neighbour liked last first.
        words: of prompts of images that each liked; those that both liked often, and few of the
            other neighbours did, first.
    """

    user: SimilarUser
    num_choices: int
    prompts: tuple[str, ...]
    images: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
