"""Every error, from the servicer that raises it to the error that the client raises."""

import logging

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from recsys import errors
from recsys.client import RecsysClient
from recsys.ranking.candidates import Candidate
from recsys.reasons import Reason
from recsys.similarity.snapshot import SnapshotRefused
from recsys.v1 import ranking_service_pb2_grpc, user_service_pb2_grpc
from recsys.v1.ranking_service_pb2 import RankCandidatesRequest
from recsys.v1.user_service_pb2 import GetUserRequest
from recsys.wire.statuses import INTERNAL, INTERNAL_MESSAGE, TABLE, error_of, meaning_of, status_of
from storage import errors as storage_errors

CODES = {
    errors.InvalidRequest: "INVALID_ARGUMENT",
    errors.ImageRefused: "INVALID_ARGUMENT",
    errors.NotFound: "NOT_FOUND",
    errors.Overloaded: "RESOURCE_EXHAUSTED",
    errors.DeadlinePassed: "DEADLINE_EXCEEDED",
    errors.Unavailable: "UNAVAILABLE",
    storage_errors.UnknownUser: "NOT_FOUND",
    storage_errors.UnknownImage: "NOT_FOUND",
    storage_errors.UnknownCluster: "NOT_FOUND",
    storage_errors.NotErased: "NOT_FOUND",
    storage_errors.NotBlocked: "NOT_FOUND",
    errors.PreconditionFailed: "FAILED_PRECONDITION",
    storage_errors.UserErased: "FAILED_PRECONDITION",
    storage_errors.ImageBlocked: "FAILED_PRECONDITION",
    storage_errors.PersonalizationOff: "FAILED_PRECONDITION",
    storage_errors.IdentityKeyMissing: "FAILED_PRECONDITION",
    storage_errors.SchemaMismatch: "FAILED_PRECONDITION",
    storage_errors.StorageFull: "RESOURCE_EXHAUSTED",
    storage_errors.StorageUnavailable: "UNAVAILABLE",
}
AT_START_ONLY = {
    errors.CheckpointRefused,
    errors.SettingsRefused,
    SnapshotRefused,
    storage_errors.NotADatabase,
}
# What of a request could break storage's rules is refused before storage sees it.
A_BUG = {storage_errors.InvalidRecord, storage_errors.InvalidSource}
ROOTS = {errors.RecsysError, storage_errors.StorageError}

RAISED = {
    errors.InvalidRequest: errors.InvalidRequest,
    errors.ImageRefused: errors.ImageRefused,
    errors.NotFound: errors.NotFound,
    errors.Overloaded: errors.Overloaded,
    errors.DeadlinePassed: errors.DeadlinePassed,
    errors.Unavailable: errors.Unavailable,
    storage_errors.UnknownUser: errors.NotFound,
    storage_errors.UnknownImage: errors.NotFound,
    storage_errors.UnknownCluster: errors.NotFound,
    storage_errors.NotErased: errors.NotFound,
    storage_errors.NotBlocked: errors.NotFound,
    errors.PreconditionFailed: errors.PreconditionFailed,
    storage_errors.UserErased: errors.ErasedUser,
    storage_errors.ImageBlocked: errors.PreconditionFailed,
    storage_errors.PersonalizationOff: errors.PreconditionFailed,
    storage_errors.IdentityKeyMissing: errors.PreconditionFailed,
    storage_errors.SchemaMismatch: errors.RecsysError,
    storage_errors.StorageFull: errors.Overloaded,
    storage_errors.StorageUnavailable: errors.Unavailable,
}


def tree(*roots):
    for root in roots:
        yield root
        yield from tree(*root.__subclasses__())


def raising(error):
    async def rank(*_args, **_kwargs):
        raise error

    return rank


def details_of(call):
    status = rpc_status.from_call(call)
    details = {}
    for packed in status.details:
        message = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
        assert packed.Unpack(message)
        details[type(message).__name__] = message
    return details


def failed(live, channel, error):
    """Let the ranker raise; return the failed call."""
    live.ranker.rank = raising(error)
    with pytest.raises(grpc.RpcError) as raised:
        ranking_service_pb2_grpc.RankingServiceStub(channel).RankCandidates(
            RankCandidatesRequest(user_id="ann")
        )
    return raised.value


def test_every_error_of_the_trees_has_a_meaning():
    """A new class must be put into the table, or be named here as none of a caller's business."""
    without = {kind for kind in tree(*ROOTS) if meaning_of(_new(kind)) is INTERNAL}

    assert without == AT_START_ONLY | A_BUG | ROOTS
    assert {each.kind for each in TABLE} == set(CODES)


def test_no_entry_of_the_table_hides_another():
    """The first that fits decides: a derived class must stand before the one it derives from."""
    assert [meaning_of(_new(each.kind)).kind for each in TABLE] == [each.kind for each in TABLE]


def test_each_reason_is_in_the_table_with_one_code():
    codes = {}
    for each in (*TABLE, INTERNAL):
        for reason in each.reasons:
            assert codes.setdefault(reason, each.code) is each.code

    assert set(codes) == set(Reason)


def test_an_error_gives_the_reason_that_its_class_gives_by_itself():
    kinds = {each.kind: each for each in TABLE if issubclass(each.kind, errors.RecsysError)}

    assert {kind.reason for kind in kinds} == {each.reasons[0] for each in kinds.values()}


@pytest.mark.parametrize("meaning", TABLE, ids=lambda each: each.kind.__name__)
def test_each_reason_comes_to_the_client(live, channel, meaning):
    if not issubclass(meaning.kind, errors.RecsysError):
        assert error_of(failed(live, channel, _new(meaning.kind))).reason == meaning.reasons[0]
        return
    for reason in meaning.reasons:
        error = meaning.kind("x must be y", reason=reason)

        raised = error_of(failed(live, channel, error))

        assert (type(raised), raised.reason) == (meaning.kind, reason)


def test_a_reason_of_another_class_is_not_told(live, channel):
    """What a client branches on goes with the code."""
    error = errors.InvalidRequest("it must not", reason=Reason.DRAINING)

    assert error_of(failed(live, channel, error)).reason == Reason.INVALID_REQUEST


def _new(kind):
    return kind("x must be y, got z: do w")


def _told(kind):
    """What the caller of a ranking is told; without storage, that no ranking can do without it."""
    if kind is storage_errors.StorageUnavailable:
        return "the database does not answer or is busy, and no ranking can do without"
    return str(_new(kind))


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_an_error_becomes_its_code(live, channel, kind):
    call = failed(live, channel, _new(kind))

    assert call.code().name == CODES[kind]
    assert call.details().startswith(_told(kind))
    info = details_of(call)["ErrorInfo"]
    assert info.domain == "recsys.v1"
    assert info.reason == meaning_of(_new(kind)).reasons[0]
    assert len(info.metadata["correlation_id"]) == 32


@pytest.mark.parametrize("kind", RAISED, ids=lambda kind: kind.__name__)
def test_the_client_raises_it_again(live, channel, kind):
    error = error_of(failed(live, channel, _new(kind)))

    assert type(error) is RAISED[kind]
    if (
        kind is not errors.DeadlinePassed
    ):  # a caller's own clock is mostly faster: one text for both
        assert _told(kind) in str(error)


def test_a_bad_field_is_named(live, channel):
    error = errors.InvalidRequest("it must not", field="candidates[2].image")
    call = failed(live, channel, error)

    (violation,) = details_of(call)["BadRequest"].field_violations
    assert (violation.field, violation.description) == ("candidates[2].image", "it must not")
    assert error_of(call).field == "candidates[2].image"


def test_what_is_full_tells_when_to_come_back(live, channel):
    call = failed(live, channel, errors.Overloaded("full", retry_after_s=2.5))

    assert details_of(call)["RetryInfo"].retry_delay.ToMilliseconds() == 2500
    assert error_of(call).retry_after_s == 2.5


@pytest.mark.parametrize(
    ("error", "retry_after_s"),
    [
        (errors.Unavailable("stopping", reason=Reason.DRAINING), 0.0),
        (errors.Unavailable("loading", reason=Reason.LOADING), 5.0),
        (errors.Unavailable("failing", reason=Reason.MODEL_FAILING), 15.0),
        (errors.Unavailable("failing", reason=Reason.MODEL_FAILING, retry_after_s=2.0), 2.0),
        (errors.Unavailable("busy"), 1.0),
        (storage_errors.StorageUnavailable("no answer"), 5.0),
        (storage_errors.StorageFull("no room"), 60.0),
    ],
)
def test_what_time_will_mend_tells_when_to_come_back(live, channel, error, retry_after_s):
    call = failed(live, channel, error)

    assert details_of(call)["RetryInfo"].retry_delay.ToMilliseconds() == retry_after_s * 1000
    assert error_of(call).retry_after_s == retry_after_s


@pytest.mark.parametrize(
    "error", [errors.InvalidRequest("x"), errors.NotFound("x"), errors.PreconditionFailed("x")]
)
def test_what_time_does_not_mend_tells_no_time(live, channel, error):
    assert "RetryInfo" not in details_of(failed(live, channel, error))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("password=hunter2"),
        errors.CheckpointRefused("/secret/path"),
        errors.RecsysError("what nobody thought of: hunter2"),
        storage_errors.StorageError("postgres://u:hunter2@db"),
        storage_errors.InvalidRecord("a rule that nobody checked: hunter2"),
        KeyError("hunter2"),
        TimeoutError("hunter2"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_bug_is_internal_and_tells_nothing(live, channel, caplog, error):
    with caplog.at_level(logging.ERROR, "recsys.service.interceptors"):
        call = failed(live, channel, error)

    assert call.code() is grpc.StatusCode.INTERNAL
    assert call.details() == INTERNAL_MESSAGE
    correlation_id = details_of(call)["ErrorInfo"].metadata["correlation_id"]
    everything_sent = str(call.trailing_metadata()) + call.debug_error_string()
    assert "hunter2" not in everything_sent
    assert "secret" not in everything_sent
    (record,) = caplog.records
    assert correlation_id in record.getMessage()
    assert record.exc_info[1] is error


def test_the_client_passes_the_correlation_id_of_a_bug_on(live, channel):
    call = failed(live, channel, RuntimeError("x"))
    correlation_id = details_of(call)["ErrorInfo"].metadata["correlation_id"]

    assert correlation_id in str(error_of(call))
    assert type(error_of(call)) is errors.RecsysError


def test_the_access_log_has_the_correlation_id_that_the_caller_is_given(live, channel, caplog):
    with caplog.at_level(logging.INFO, "recsys.access"):
        call = failed(live, channel, errors.NotFound("x"))

    correlation_id = details_of(call)["ErrorInfo"].metadata["correlation_id"]
    (line,) = (each.getMessage() for each in caplog.records if each.name == "recsys.access")
    assert f"correlation_id={correlation_id}" in line


def test_a_message_that_is_too_long_or_no_text_is_sent_all_the_same(live, channel):
    """Details travel in headers, of which much more than 8 KiB would be lost with the call."""
    error = errors.InvalidRequest("ü\udc80\0" * 100_000, field="f" * 100_000)

    call = failed(live, channel, error)

    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(call.details()) == 500
    assert len(error_of(call).field) == 100


def test_a_status_fits_the_headers_at_its_longest():
    error = errors.InvalidRequest("🐈" * 100_000, field="🐈" * 100_000)

    status = status_of(error, correlation_id="c" * 32)

    # Once percent-encoded as text (12 characters for 4 bytes), once in base64.
    sent = 3 * len(status.message.encode()) + 4 / 3 * len(status.SerializeToString())
    assert sent < 16 * 1024


def test_an_unknown_user_is_not_found_for_get_and_no_error_for_rank(channel, client, candidate):
    with pytest.raises(grpc.RpcError) as raised:
        user_service_pb2_grpc.UserServiceStub(channel).GetUser(GetUserRequest(user_id="nobody"))

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert details_of(raised.value)["ErrorInfo"].reason == "USER_NOT_FOUND"
    assert client.rank("nobody", [candidate("a", 1)]).candidates[0].rank == 1


def test_nobody_there_is_unavailable():
    with (
        RecsysClient("127.0.0.1:1", timeout_s=60.0) as client,
        pytest.raises(errors.Unavailable),
    ):
        client.rank("ann", [Candidate("a", "", image=b"x")])
