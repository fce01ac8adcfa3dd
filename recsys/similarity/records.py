"""What a search for neighbours answers. Values alone: the client imports them without tensors."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimilarUser:
    """Another user with a near signature.

    Attributes:
        user_id: who.
        similarity: cosine of the two signatures, -1 to 1.
    """

    user_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class SimilarUsers:
    """Some of the users nearest to one.

    Attributes:
        user_id: to whom.
        model_version: of the signatures.
        revision: of the history that the user's signature was computed from.
        is_stale: True if the user has chosen since and it could not be computed anew.
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
    """A near user and what can be told of them.

    Attributes:
        user: who and how near.
        num_choices: how many are stored of them.
        prompts: of images that both liked, those of most images first, as the near user wrote them.
    """

    user: SimilarUser
    num_choices: int
    prompts: tuple[str, ...]
