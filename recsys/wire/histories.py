"""Choices and users: protobuf <-> the dataclasses that everything else speaks. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from recsys.errors import InvalidRequest
from recsys.v1 import choice_pb2, feedback_service_pb2, image_pb2
from recsys.v1 import user_service_pb2 as user_pb2
from recsys.wire.ranking import ImageSource, image_from_wire, image_to_wire
from storage.records import Appended, Choice, Erased, StoredChoice, UserSummary


@dataclass(frozen=True, slots=True)
class NewChoice:
    """A choice as a caller tells it, its images not looked at yet.

    Attributes:
        user_id: who.
        liked: what, or None.
        passed_over: what not.
        prompt: what the images were made from.
        chosen_at: UTC; None for now.
        request_id: None for an act that is never repeated.
    """

    user_id: str
    liked: ImageSource | None
    passed_over: tuple[ImageSource, ...]
    prompt: str = ""
    chosen_at: datetime | None = None
    request_id: str | None = None


def new_choice_to_wire(new: NewChoice) -> feedback_service_pb2.RecordChoiceRequest:
    """Write a choice to be recorded."""
    return feedback_service_pb2.RecordChoiceRequest(
        user_id=new.user_id,
        liked=None if new.liked is None else image_to_wire(new.liked),
        passed_over=[image_to_wire(each) for each in new.passed_over],
        prompt=new.prompt,
        chosen_at=_timestamp(new.chosen_at),
        request_id=new.request_id,
    )


def new_choice_from_wire(request: feedback_service_pb2.RecordChoiceRequest) -> NewChoice:
    """Read a choice to be recorded.

    Raises:
        InvalidRequest: if an image is empty or the time is none.
    """
    liked = _given_image(request.liked, "liked") if request.HasField("liked") else None
    return NewChoice(
        user_id=request.user_id,
        liked=liked,
        passed_over=tuple(
            _given_image(each, f"passed_over[{index}]")
            for index, each in enumerate(request.passed_over)
        ),
        prompt=request.prompt,
        chosen_at=_given_time(request.chosen_at) if request.HasField("chosen_at") else None,
        request_id=request.request_id or None,
    )


def choice_to_wire(stored: StoredChoice) -> choice_pb2.Choice:
    """Write a stored choice; whose it is goes without saying."""
    choice = stored.choice
    return choice_pb2.Choice(
        choice_id=stored.choice_id,
        revision=stored.revision,
        liked_sha256=choice.liked,
        passed_over_sha256=choice.passed_over,
        prompt=choice.prompt,
        chosen_at=_timestamp(choice.chosen_at),
        source=choice.source,
        request_id=choice.request_id,
    )


def choice_from_wire(message: choice_pb2.Choice, user_id: str) -> StoredChoice:
    """Read a stored choice of a user."""
    choice = Choice(
        user_id=user_id,
        liked=message.liked_sha256 if message.HasField("liked_sha256") else None,
        passed_over=tuple(message.passed_over_sha256),
        prompt=message.prompt,
        chosen_at=message.chosen_at.ToDatetime(UTC),
        source=message.source,
        request_id=message.request_id or None,
    )
    return StoredChoice(message.choice_id, message.revision, choice)


def appended_to_wire(appended: Appended) -> feedback_service_pb2.RecordChoiceResponse:
    """Write the answer to a recorded choice."""
    return feedback_service_pb2.RecordChoiceResponse(
        choice=choice_to_wire(appended.stored), is_repeat=appended.repeated
    )


def user_to_wire(user: UserSummary) -> user_pb2.User:
    """Write what is known of a user."""
    return user_pb2.User(
        user_id=user.user_id,
        revision=user.revision,
        num_choices=user.num_choices,
        num_pairs=user.num_pairs,
        created_at=_timestamp(user.created_at),
        last_choice_at=_timestamp(user.last_choice_at),
    )


def user_from_wire(user: user_pb2.User) -> UserSummary:
    """Read what is known of a user."""
    has_chosen = user.HasField("last_choice_at")
    return UserSummary(
        user_id=user.user_id,
        revision=user.revision,
        num_choices=user.num_choices,
        num_pairs=user.num_pairs,
        created_at=user.created_at.ToDatetime(UTC),
        last_choice_at=user.last_choice_at.ToDatetime(UTC) if has_chosen else None,
    )


def erased_to_wire(erased: Erased) -> user_pb2.EraseUserResponse:
    """Write how much went."""
    return user_pb2.EraseUserResponse(
        num_choices=erased.num_choices,
        num_signatures=erased.num_signatures,
        num_images=erased.num_images,
        num_bytes=erased.num_bytes,
    )


def erased_from_wire(response: user_pb2.EraseUserResponse) -> Erased:
    """Read how much went."""
    return Erased(
        num_choices=response.num_choices,
        num_signatures=response.num_signatures,
        num_images=response.num_images,
        num_bytes=response.num_bytes,
    )


def _given_image(image: image_pb2.Image, field: str) -> ImageSource:
    source = image_from_wire(image)
    if source is None:
        raise InvalidRequest(
            f"{field} must have exactly one of data and sha256, got neither", field=field
        )
    return source


def _given_time(timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(UTC)
    except ValueError as error:
        raise InvalidRequest(
            "chosen_at must be a time of the years 1 to 9999, got"
            f" {timestamp.seconds} s and {timestamp.nanos} ns after 1970",
            field="chosen_at",
        ) from error


def _timestamp(instant: datetime | None) -> Timestamp | None:
    if instant is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp
