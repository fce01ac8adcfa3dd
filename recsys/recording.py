"""Check a choice that a caller sends, and prepare it and its images for storage.

The service and the command line record through this module.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from recsys.errors import ImageRefused, InvalidRequest, NotFound, PreconditionFailed
from recsys.fields import (
    require_chosen_at,
    require_prompt,
    require_request_id,
    require_sha256,
    require_user_id,
)
from recsys.reasons import Reason
from storage.errors import ImageBlocked, UnknownImage
from storage.records import Choice, ImageFacts, InspectImage, NewImages

ImageSource = bytes | str
"""An image: its encoded bytes, or the SHA-256 of a stored one."""


@dataclass(frozen=True, slots=True)
class NewChoice:
    """A choice as received, not checked yet.

    Attributes:
        user_id: of the user.
        liked: the liked image, or None.
        passed_over: the images passed over.
        prompt: what the images were made from.
        chosen_at: UTC; None for now.
        request_id: the same when a request is sent again; None if it never is.
        shareable: whether other users may be shown its images.
    """

    user_id: str
    liked: ImageSource | None
    passed_over: tuple[ImageSource, ...]
    prompt: str = ""
    chosen_at: datetime | None = None
    request_id: str | None = None
    shareable: bool = False


def check_new_choice(
    new: NewChoice,
    inspect: InspectImage,
    *,
    source: str,
    max_passed_over: int | None = None,
    names: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Choice, NewImages]:
    """Check a choice and the images sent with it; storage checks that the others exist.

    Args:
        new: as received.
        inspect: checks the bytes of an image; raises ImageRefused.
        source: who writes it, e.g. "rpc".
        max_passed_over: images in one choice; None for any number.
        names: what messages call an image, by its field; the field itself by default.
        now: returns the time in UTC, for a choice without one of its own.

    Returns:
        What `HistoryStore.append` takes: the choice, and the images sent as bytes.

    Raises:
        InvalidRequest: if a field breaks its rule; names the field.
        ImageRefused: if an image is refused; names its field.
    """
    _check_fields(new, max_passed_over)
    images: NewImages = {}

    def sha256_of(field: str, image: ImageSource) -> str:
        if isinstance(image, str):
            require_sha256(f"{field}.sha256", image)
            return image
        facts = _inspected(inspect, image, field, (names or {}).get(field, field))
        images[facts.sha256] = (facts, image)
        return facts.sha256

    liked = None if new.liked is None else sha256_of("liked", new.liked)
    passed_over = tuple(
        sha256_of(f"passed_over[{index}]", image) for index, image in enumerate(new.passed_over)
    )
    _check_distinct(liked, passed_over)
    choice = Choice(
        user_id=new.user_id,
        liked=liked,
        passed_over=passed_over,
        prompt=new.prompt,
        chosen_at=new.chosen_at or now(),
        source=source,
        request_id=new.request_id,
    )
    return choice, images


@contextmanager
def naming_images(choice: Choice, images: NewImages) -> Iterator[None]:
    """Name the field of an image for which storage refuses a choice.

    Args:
        choice: as `check_new_choice` returns it.
        images: likewise; the others were given by SHA-256.

    Raises:
        NotFound: for an image that is not stored.
        PreconditionFailed: for one that is blocked.
    """
    try:
        yield
    except UnknownImage as error:
        field = _field_of((error.sha256,), choice, images)
        raise NotFound(str(error), reason=Reason.IMAGE_NOT_FOUND, field=field) from error
    except ImageBlocked as error:
        field = _field_of(error.sha256s, choice, images)
        raise PreconditionFailed(str(error), reason=Reason.IMAGE_BLOCKED, field=field) from error


def _field_of(sha256s: Collection[str], choice: Choice, images: NewImages) -> str:
    """Path of the first of these images in the request; empty if the choice names none of them."""
    places = {choice.liked: "liked"} | {
        sha256: f"passed_over[{index}]" for index, sha256 in enumerate(choice.passed_over)
    }
    for sha256, place in places.items():
        if sha256 in sha256s:
            return f"{place}.{'data' if sha256 in images else 'sha256'}"
    return ""


def _check_fields(new: NewChoice, max_passed_over: int | None) -> None:
    require_user_id(new.user_id)
    require_prompt("prompt", new.prompt)
    require_request_id(new.request_id or "")
    if new.chosen_at is not None:
        require_chosen_at(new.chosen_at)
    if new.liked is None and not new.passed_over:
        raise InvalidRequest(
            "at least one of liked and passed_over must be given, got neither",
            field="liked",
            reason=Reason.NO_IMAGE,
        )
    if max_passed_over is not None and len(new.passed_over) > max_passed_over:
        raise InvalidRequest(
            f"passed_over must be at most {max_passed_over}, got {len(new.passed_over)}",
            field="passed_over",
            reason=Reason.TOO_MANY_PASSED_OVER,
        )


def _inspected(inspect: InspectImage, data: bytes, field: str, name: str) -> ImageFacts:
    try:
        return inspect(data)
    except ImageRefused as error:
        raise ImageRefused(
            f"{name}: {error}", field=f"{field}.data", reason=error.reason
        ) from error


def _check_distinct(liked: str | None, passed_over: tuple[str, ...]) -> None:
    first = {liked: "liked"} if liked else {}
    for index, sha256 in enumerate(passed_over):
        other = first.setdefault(sha256, f"passed_over[{index}]")
        if other != f"passed_over[{index}]":
            raise InvalidRequest(
                f"passed_over[{index}] must be an image other than {other}, got the same",
                field=f"passed_over[{index}]",
                reason=Reason.DUPLICATE_IMAGE,
            )
