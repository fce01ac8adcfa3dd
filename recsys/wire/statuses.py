"""Errors <-> gRPC statuses, in both directions; the only table that maps them.

Errors follow AIP-193: every status carries an ErrorInfo, that of a bad field a BadRequest, and
that of an exhausted resource a RetryInfo. An error that is not in the table is a bug: its text may
hold anything, so none of it is sent. A record that storage refuses is one, too: what a caller can
get wrong in a request is refused before, and its field named.
"""

from contextlib import suppress
from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from recsys import errors
from storage import errors as storage_errors

DOMAIN = "recsys.v1"
INTERNAL_MESSAGE = "internal error: tell the server's operator the correlation id"

_STATUS_KEY = "grpc-status-details-bin"
"""Of a call's trailing metadata."""

# A status travels in the call's trailing metadata, of which many peers take 8 KiB and no more.
_MAX_MESSAGE_CHARS = 500
_MAX_FIELD_CHARS = 100
_STORAGE_FULL_RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a class of errors means to a caller.

    Attributes:
        kind: the class; those derived from it too, unless they stand before it.
        code: of gRPC.
        reason: for programs, UPPER_SNAKE, unique in the table; ErrorInfo's.
    """

    kind: type[Exception]
    code: grpc.StatusCode
    reason: str


TABLE = (
    Meaning(errors.ImageRefused, grpc.StatusCode.INVALID_ARGUMENT, "IMAGE_REFUSED"),
    Meaning(errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    Meaning(errors.NotFound, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    Meaning(storage_errors.UnknownUser, grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND"),
    Meaning(storage_errors.UnknownImage, grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND"),
    Meaning(storage_errors.UnknownCluster, grpc.StatusCode.NOT_FOUND, "CLUSTER_NOT_FOUND"),
    Meaning(errors.PreconditionFailed, grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED"),
    Meaning(errors.Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    Meaning(storage_errors.StorageFull, grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL"),
    # Somebody has to bring the schema up; trying again by itself would not help.
    Meaning(storage_errors.SchemaMismatch, grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_MISMATCH"),
    Meaning(errors.DeadlinePassed, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_PASSED"),
    Meaning(storage_errors.StorageUnavailable, grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE"),
    Meaning(errors.Unavailable, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
)
INTERNAL = Meaning(Exception, grpc.StatusCode.INTERNAL, "INTERNAL")


def meaning_of(error: Exception) -> Meaning:
    """Look an error up; INTERNAL for one that is not in the table."""
    return next((each for each in TABLE if isinstance(error, each.kind)), INTERNAL)


def status_of(error: Exception, *, correlation_id: str) -> Status:
    """Write the status of an error.

    Args:
        error: its text goes out only if its class is in the table.
        correlation_id: under which the server's log tells more.
    """
    meaning = meaning_of(error)
    message = INTERNAL_MESSAGE if meaning is INTERNAL else _cut(str(error), _MAX_MESSAGE_CHARS)
    metadata = {"correlation_id": correlation_id}
    details: list[Message] = [ErrorInfo(reason=meaning.reason, domain=DOMAIN, metadata=metadata)]
    if field := _cut(getattr(error, "field", ""), _MAX_FIELD_CHARS):
        violation = BadRequest.FieldViolation(
            field=field, description=message, reason=meaning.reason
        )
        details.append(BadRequest(field_violations=[violation]))
    if meaning.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        details.append(_retry_info(getattr(error, "retry_after_s", _STORAGE_FULL_RETRY_S)))
    return Status(code=meaning.code.value[0], message=message, details=map(_packed, details))


def error_of(call: grpc.RpcError) -> errors.RecsysError:
    """Read the status of a failed call back into the error.

    Args:
        call: as the client's stub raised it.
    """
    assert isinstance(call, grpc.Call)
    code, status = call.code(), _status(call)
    message = call.details() or status.message
    details = _details(status)
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            violations = details.bad_request.field_violations
            is_image = details.info.reason == "IMAGE_REFUSED"
            kind = errors.ImageRefused if is_image else errors.InvalidRequest
            return kind(message, field=violations[0].field if violations else "")
        case grpc.StatusCode.NOT_FOUND:
            return errors.NotFound(message)
        case grpc.StatusCode.FAILED_PRECONDITION if details.info.reason == "PRECONDITION_FAILED":
            return errors.PreconditionFailed(message)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _exhausted(message, details)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.DeadlinePassed(
                "the answer did not come in the time given: allow more time or call again later"
            )
        case grpc.StatusCode.UNAVAILABLE:
            return errors.Unavailable(message)
    correlation_id = details.info.metadata.get("correlation_id")
    explained = f"{message} ({correlation_id})" if correlation_id else message
    return errors.RecsysError(f"the server answered {code.name}: {explained}")


@dataclass(frozen=True, slots=True)
class _Details:
    info: ErrorInfo
    bad_request: BadRequest
    retry_info: RetryInfo


def _status(call: grpc.Call) -> Status:
    """Read the status that a call carries; an empty one where there is none that can be read.

    Not by `grpc_status`, which refuses a status whose message is not the call's: a proxy may cut
    or replace the call's, and the details hold all the same. One of another code, or a damaged
    one, is a proxy's own.
    """
    for key, value in call.trailing_metadata() or ():
        if key == _STATUS_KEY and isinstance(value, bytes):
            with suppress(DecodeError):
                status = Status.FromString(value)
                if status.code == call.code().value[0]:
                    return status
    return Status()


def _details(status: Status) -> _Details:
    """Read a status's details; those that it lacks, or that cannot be read, are empty."""
    details = _Details(ErrorInfo(), BadRequest(), RetryInfo())
    for packed in status.details:
        for message in (details.info, details.bad_request, details.retry_info):
            with suppress(DecodeError):
                packed.Unpack(message)
    return details


def _exhausted(message: str, details: _Details) -> errors.RecsysError:
    # gRPC itself answers so to a message over the limit, where waiting would not help.
    if details.info.domain != DOMAIN and "larger than max" in message:
        return errors.InvalidRequest(
            f"the request must fit the server's limit ({message}): send fewer or smaller images"
        )
    if not details.retry_info.HasField("retry_delay"):
        return errors.Overloaded(message)
    retry_after_s = details.retry_info.retry_delay.ToTimedelta().total_seconds()
    return errors.Overloaded(message, retry_after_s=retry_after_s)


def _retry_info(retry_after_s: float) -> RetryInfo:
    info = RetryInfo()
    info.retry_delay.FromMicroseconds(max(0, round(retry_after_s * 1e6)))
    return info


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _cut(text: str, num_chars: int) -> str:
    # Half a surrogate pair cannot be sent; a value that is shown in a message may hold one.
    sendable = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return sendable if len(sendable) <= num_chars else f"{sendable[: num_chars - 1]}…"
