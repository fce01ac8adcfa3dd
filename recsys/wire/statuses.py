"""Errors <-> gRPC statuses, in both directions; the only table that maps them.

Errors follow AIP-193: every status carries an ErrorInfo, that of a bad field a BadRequest, and
one that time will mend a RetryInfo. An error that is not in the table is a bug: its text may
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
from grpc import StatusCode

from recsys import errors
from recsys.reasons import Reason
from storage import errors as storage_errors

DOMAIN = "recsys.v1"
INTERNAL_MESSAGE = "internal error: tell the server's operator the correlation id"

_STATUS_KEY = "grpc-status-details-bin"
"""Of a call's trailing metadata."""

# A status travels in the call's trailing metadata, of which many peers take 8 KiB and no more.
_MAX_MESSAGE_CHARS = 500
_MAX_FIELD_CHARS = 100


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a class of errors means to a caller.

    Attributes:
        kind: the class; those derived from it too, unless they stand before it.
        code: of gRPC.
        reasons: for programs, ErrorInfo's: all that errors of the class give, and first that of an
            error that gives none. A reason has one code.
    """

    kind: type[Exception]
    code: StatusCode
    reasons: tuple[Reason, ...]

    def reason_of(self, error: Exception) -> Reason:
        """Return why it was raised, as far as callers are told."""
        reason = getattr(error, "reason", None)
        return next((each for each in self.reasons if each == reason), self.reasons[0])


TABLE = (
    Meaning(
        errors.ImageRefused,
        StatusCode.INVALID_ARGUMENT,
        (
            Reason.IMAGE_CORRUPT,
            Reason.IMAGE_TOO_LARGE,
            Reason.IMAGE_TYPE_UNSUPPORTED,
            Reason.IMAGE_ANIMATED,
        ),
    ),
    Meaning(
        errors.InvalidRequest,
        StatusCode.INVALID_ARGUMENT,
        (
            Reason.INVALID_REQUEST,
            Reason.REQUEST_MALFORMED,
            Reason.REQUEST_TOO_LARGE,
            Reason.USER_ID_INVALID,
            Reason.REQUEST_ID_INVALID,
            Reason.PROMPT_INVALID,
            Reason.NO_CANDIDATES,
            Reason.TOO_MANY_CANDIDATES,
            Reason.CANDIDATE_ID_INVALID,
            Reason.DUPLICATE_CANDIDATE_ID,
            Reason.NO_IMAGE,
            Reason.SHA256_INVALID,
            Reason.TOO_MANY_PASSED_OVER,
            Reason.DUPLICATE_IMAGE,
            Reason.CHOSEN_AT_INVALID,
            Reason.NUM_PAIRS_INVALID,
            Reason.PAGE_SIZE_INVALID,
            Reason.PAGE_TOKEN_INVALID,
            Reason.RUN_INVALID,
            Reason.AUDIENCE_UNKNOWN,
        ),
    ),
    Meaning(errors.NotFound, StatusCode.NOT_FOUND, (Reason.NOT_FOUND, Reason.IMAGE_NOT_FOUND)),
    Meaning(storage_errors.NotErased, StatusCode.NOT_FOUND, (Reason.USER_NOT_ERASED,)),
    Meaning(storage_errors.NotBlocked, StatusCode.NOT_FOUND, (Reason.IMAGE_NOT_BLOCKED,)),
    Meaning(storage_errors.UnknownUser, StatusCode.NOT_FOUND, (Reason.USER_NOT_FOUND,)),
    Meaning(storage_errors.UnknownImage, StatusCode.NOT_FOUND, (Reason.IMAGE_NOT_FOUND,)),
    Meaning(storage_errors.UnknownCluster, StatusCode.NOT_FOUND, (Reason.CLUSTER_NOT_FOUND,)),
    Meaning(storage_errors.UserErased, StatusCode.FAILED_PRECONDITION, (Reason.USER_ERASED,)),
    Meaning(storage_errors.ImageBlocked, StatusCode.FAILED_PRECONDITION, (Reason.IMAGE_BLOCKED,)),
    Meaning(
        storage_errors.PersonalizationOff,
        StatusCode.FAILED_PRECONDITION,
        (Reason.PERSONALIZATION_OFF,),
    ),
    Meaning(
        storage_errors.IdentityKeyMissing,
        StatusCode.FAILED_PRECONDITION,
        (Reason.IDENTITY_KEY_MISSING,),
    ),
    Meaning(
        errors.PreconditionFailed,
        StatusCode.FAILED_PRECONDITION,
        (
            Reason.PRECONDITION_FAILED,
            Reason.NOTHING_LEARNED,
            Reason.NO_REFERENCES,
            Reason.SIGNATURES_UNSUPPORTED,
            Reason.IMAGE_BLOCKED,
        ),
    ),
    # Somebody has to bring the schema up; trying again by itself would not help.
    Meaning(
        storage_errors.SchemaMismatch, StatusCode.FAILED_PRECONDITION, (Reason.SCHEMA_MISMATCH,)
    ),
    Meaning(
        errors.Overloaded,
        StatusCode.RESOURCE_EXHAUSTED,
        (Reason.OVERLOADED, Reason.DEADLINE_TOO_SHORT),
    ),
    Meaning(storage_errors.StorageFull, StatusCode.RESOURCE_EXHAUSTED, (Reason.STORAGE_FULL,)),
    Meaning(errors.DeadlinePassed, StatusCode.DEADLINE_EXCEEDED, (Reason.DEADLINE_PASSED,)),
    Meaning(
        errors.Unavailable,
        StatusCode.UNAVAILABLE,
        (
            Reason.UNAVAILABLE,
            Reason.UNREACHABLE,
            Reason.LOADING,
            Reason.DRAINING,
            Reason.MODEL_FAILING,
            Reason.INDEX_BUILDING,
            Reason.STORAGE_UNAVAILABLE,
            Reason.CALL_NOT_SERVED,
        ),
    ),
    Meaning(
        storage_errors.StorageUnavailable, StatusCode.UNAVAILABLE, (Reason.STORAGE_UNAVAILABLE,)
    ),
)
RETRY_AFTER_S = {
    Reason.STORAGE_FULL: 60.0,  # somebody has to make room
    Reason.LOADING: 5.0,
    Reason.DRAINING: 0.0,  # another server answers
    Reason.MODEL_FAILING: 15.0,  # so often a failing model is tried again
    Reason.INDEX_BUILDING: 5.0,
    Reason.STORAGE_UNAVAILABLE: 5.0,
    Reason.UNAVAILABLE: 1.0,
}
"""When to call again, in seconds, by the reason of errors that do not tell it themselves."""

INTERNAL = Meaning(Exception, StatusCode.INTERNAL, (Reason.INTERNAL,))

_OF_IMAGES = TABLE[0].reasons

_OF_ANOTHER_SERVER = frozenset(
    {
        StatusCode.UNIMPLEMENTED,
        StatusCode.UNAUTHENTICATED,
        StatusCode.PERMISSION_DENIED,
        StatusCode.UNKNOWN,
    }
)
"""No error of ours has these codes.

gRPC makes them of a proxy's HTTP status: of 404, 401, 403 and others, as its
doc/http-grpc-status-mapping.md tells. A server without the method answers UNIMPLEMENTED, too.
"""


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
    reason = meaning.reason_of(error)
    message = INTERNAL_MESSAGE if meaning is INTERNAL else _cut(str(error), _MAX_MESSAGE_CHARS)
    metadata = {"correlation_id": correlation_id}
    details: list[Message] = [ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)]
    if field := _cut(getattr(error, "field", ""), _MAX_FIELD_CHARS):
        violation = BadRequest.FieldViolation(field=field, description=message, reason=reason)
        details.append(BadRequest(field_violations=[violation]))
    own_s = getattr(error, "retry_after_s", None)
    retry_after_s = RETRY_AFTER_S.get(reason) if own_s is None else own_s
    if retry_after_s is not None:
        details.append(_retry_info(retry_after_s))
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
    reason = details.info.reason or None
    match code:
        case StatusCode.INVALID_ARGUMENT:
            kind = errors.ImageRefused if reason in _OF_IMAGES else errors.InvalidRequest
            return kind(message, reason=reason, field=details.field)
        case StatusCode.NOT_FOUND:
            return errors.NotFound(message, reason=reason, field=details.field)
        case StatusCode.FAILED_PRECONDITION if reason == Reason.USER_ERASED:
            return errors.ErasedUser(message)
        case StatusCode.FAILED_PRECONDITION if reason not in (None, Reason.SCHEMA_MISMATCH):
            return errors.PreconditionFailed(message, reason=reason, field=details.field)
        case StatusCode.RESOURCE_EXHAUSTED:
            return _exhausted(message, details)
        case StatusCode.DEADLINE_EXCEEDED:
            return errors.DeadlinePassed(
                "the answer did not come in the time given: allow more time or call again later"
            )
        case StatusCode.UNAVAILABLE:
            # A server of ours gives a reason: without one, the channel or a proxy speaks.
            return errors.Unavailable(
                message,
                reason=reason or Reason.UNREACHABLE,
                retry_after_s=details.retry_after_s,
            )
        case _ if code in _OF_ANOTHER_SERVER and details.info.domain != DOMAIN:
            return errors.Unavailable(
                f"what answers at the address must be a server of {DOMAIN} that knows the call, got"
                f" {code.name} ({message}): check the address, what stands before the server, and"
                " its version",
                reason=Reason.CALL_NOT_SERVED,
            )
    correlation_id = details.info.metadata.get("correlation_id")
    explained = f"{message} ({correlation_id})" if correlation_id else message
    return errors.RecsysError(f"the server answered {code.name}: {explained}", reason=reason)


@dataclass(frozen=True, slots=True)
class _Details:
    info: ErrorInfo
    bad_request: BadRequest
    retry_info: RetryInfo

    @property
    def field(self) -> str:
        violations = self.bad_request.field_violations
        return str(violations[0].field) if violations else ""

    @property
    def retry_after_s(self) -> float | None:
        if not self.retry_info.HasField("retry_delay"):
            return None
        return float(self.retry_info.retry_delay.ToTimedelta().total_seconds())


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
            f"the request must fit the server's limit ({message}): send fewer or smaller images",
            reason=Reason.REQUEST_TOO_LARGE,
        )
    reason = details.info.reason or None
    if details.retry_after_s is None:
        return errors.Overloaded(message, reason=reason)
    return errors.Overloaded(message, reason=reason, retry_after_s=details.retry_after_s)


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
