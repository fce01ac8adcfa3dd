"""Choices: protobuf <-> the records that everything else speaks."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from recsys.errors import InvalidRequest
from recsys.reasons import Reason
from recsys.recording import ImageSource, NewChoice
from recsys.v1 import choice_pb2, feedback_service_pb2, image_pb2
from recsys.wire._images import image_from_wire, image_to_wire
from recsys.wire._instants import instant_of, timestamp_of
from storage.records import Appended, Choice, StoredChoice


def new_choice_to_wire(new: NewChoice) -> feedback_service_pb2.RecordChoiceRequest:
    """Write a choice to be recorded."""
    return feedback_service_pb2.RecordChoiceRequest(
        user_id=new.user_id,
        liked=None if new.liked is None else image_to_wire(new.liked),
        passed_over=[image_to_wire(each) for each in new.passed_over],
        prompt=new.prompt,
        chosen_at=timestamp_of(new.chosen_at),
        request_id=new.request_id,
        shareable=new.shareable,
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
        shareable=request.shareable,
    )


def choice_to_wire(stored: StoredChoice) -> choice_pb2.Choice:
    """Write a stored choice; whose it is stands in the request."""
    choice = stored.choice
    return choice_pb2.Choice(
        choice_id=stored.choice_id,
        revision=stored.revision,
        liked_sha256=choice.liked,
        passed_over_sha256=choice.passed_over,
        prompt=choice.prompt,
        chosen_at=timestamp_of(choice.chosen_at),
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
        chosen_at=instant_of(message.chosen_at),
        source=message.source,
        request_id=message.request_id or None,
    )
    return StoredChoice(message.choice_id, message.revision, choice)


def appended_to_wire(appended: Appended) -> feedback_service_pb2.RecordChoiceResponse:
    """Write the answer to a recorded choice."""
    return feedback_service_pb2.RecordChoiceResponse(
        choice=choice_to_wire(appended.stored), is_repeat=appended.repeated
    )


def _given_image(image: image_pb2.Image, field: str) -> ImageSource:
    source = image_from_wire(image)
    if source is None:
        raise InvalidRequest(
            f"{field} must have exactly one of data and sha256, got neither",
            field=field,
            reason=Reason.NO_IMAGE,
        )
    return source


def _given_time(timestamp: Timestamp) -> datetime:
    try:
        return instant_of(timestamp)
    except ValueError as error:
        raise InvalidRequest(
            "chosen_at must be a time of the years 2 to 9998, got"
            f" {timestamp.seconds} s and {timestamp.nanos} ns after 1970",
            field="chosen_at",
            reason=Reason.CHOSEN_AT_INVALID,
        ) from error
