"""Each way in which a request of any service breaks a rule leads to a field of that request.

Here, for this server can answer all of them.
"""

import re

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

from recsys.reasons import Reason
from recsys.service.app import _FILES
from recsys.v1.feedback_service_pb2 import RecordChoiceRequest
from recsys.v1.image_pb2 import Image
from recsys.v1.image_service_pb2 import (
    BlockImageRequest,
    ListBlockedImagesRequest,
    RemoveImageRequest,
    UnblockImageRequest,
)
from recsys.v1.ranking_service_pb2 import (
    Candidate,
    RankCandidatesRequest,
    SuggestOnboardingRequest,
)
from recsys.v1.similarity_service_pb2 import (
    FindSimilarUsersRequest,
    GetClusterRequest,
    GetUserSignatureRequest,
    ListClustersRequest,
)
from recsys.v1.user_service_pb2 import (
    EraseUserRequest,
    GetUserRequest,
    ListChoicesRequest,
    RestoreUserRequest,
    UpdateConsentRequest,
)

GIVE_UP_S = 60.0
METHODS = {
    method.name: method
    for file in _FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

STORED, BAD_SHA256 = Image(sha256="ab" * 32), Image(sha256="../../etc/passwd")
NO_IMAGE, CUT_PNG = Image(data=b"no image"), Image(data=b"\x89PNG\r\n\x1a\n")
PAGED = {
    ListChoicesRequest: {"user_id": "ann"},
    FindSimilarUsersRequest: {"user_id": "ann"},
    ListClustersRequest: {},
    GetClusterRequest: {"cluster_id": 1},
    ListBlockedImagesRequest: {},
}
GOOD = Candidate(id="a", image=STORED)


def rank(*candidates: Candidate, user_id: str = "ann", request_id: str = ""):
    return RankCandidatesRequest(user_id=user_id, candidates=candidates, request_id=request_id)


def choice(**fields):
    given = {"user_id": "ann", "liked": STORED}
    return RecordChoiceRequest(**given | fields)


def candidate(**fields):
    return Candidate(**{"id": "b", "image": STORED} | fields)


BAD = [
    *(
        (rank(GOOD, user_id=bad), "user_id", Reason.USER_ID_INVALID)
        for bad in ("", "u" * 257, "a\nb", "a\0b")
    ),
    (rank(GOOD, request_id="r" * 129), "request_id", Reason.REQUEST_ID_INVALID),
    (rank(GOOD, request_id="a\0b"), "request_id", Reason.REQUEST_ID_INVALID),
    (rank(), "candidates", Reason.NO_CANDIDATES),
    (
        rank(*(candidate(id=str(n)) for n in range(257))),
        "candidates",
        Reason.TOO_MANY_CANDIDATES,
    ),
    (rank(GOOD, candidate(id="")), "candidates[1].id", Reason.CANDIDATE_ID_INVALID),
    (rank(GOOD, candidate(id="b" * 257)), "candidates[1].id", Reason.CANDIDATE_ID_INVALID),
    (rank(GOOD, candidate(), GOOD), "candidates[2].id", Reason.DUPLICATE_CANDIDATE_ID),
    (rank(GOOD, candidate(prompt="p" * 10_001)), "candidates[1].prompt", Reason.PROMPT_INVALID),
    (rank(GOOD, candidate(prompt="a\0b")), "candidates[1].prompt", Reason.PROMPT_INVALID),
    (rank(GOOD, candidate(image=None)), "candidates[1].image", Reason.NO_IMAGE),
    (rank(GOOD, candidate(image=Image())), "candidates[1].image", Reason.NO_IMAGE),
    (rank(GOOD, candidate(image=BAD_SHA256)), "candidates[1].image.sha256", Reason.SHA256_INVALID),
    (SuggestOnboardingRequest(num_pairs=-1), "num_pairs", Reason.NUM_PAIRS_INVALID),
    (SuggestOnboardingRequest(num_pairs=9), "num_pairs", Reason.NUM_PAIRS_INVALID),
    *(
        (choice(user_id=bad), "user_id", Reason.USER_ID_INVALID)
        for bad in ("", "u" * 257, "a\nb", "a\0b")
    ),
    (RecordChoiceRequest(user_id="ann"), "liked", Reason.NO_IMAGE),
    (choice(liked=Image()), "liked", Reason.NO_IMAGE),
    (choice(liked=NO_IMAGE), "liked.data", Reason.IMAGE_TYPE_UNSUPPORTED),
    (choice(liked=CUT_PNG), "liked.data", Reason.IMAGE_CORRUPT),
    (choice(liked=Image(data=bytes(11 * 2**20))), "liked.data", Reason.IMAGE_TOO_LARGE),
    (choice(liked=BAD_SHA256), "liked.sha256", Reason.SHA256_INVALID),
    (choice(passed_over=[STORED]), "passed_over[0]", Reason.DUPLICATE_IMAGE),
    (choice(liked=None, passed_over=[STORED, Image()]), "passed_over[1]", Reason.NO_IMAGE),
    (
        choice(liked=None, passed_over=[STORED, NO_IMAGE]),
        "passed_over[1].data",
        Reason.IMAGE_TYPE_UNSUPPORTED,
    ),
    (
        choice(liked=None, passed_over=[STORED, BAD_SHA256]),
        "passed_over[1].sha256",
        Reason.SHA256_INVALID,
    ),
    (choice(liked=None, passed_over=[STORED, STORED]), "passed_over[1]", Reason.DUPLICATE_IMAGE),
    (
        choice(passed_over=[Image(sha256=f"{n:064x}") for n in range(257)]),
        "passed_over",
        Reason.TOO_MANY_PASSED_OVER,
    ),
    (choice(prompt="p" * 10_001), "prompt", Reason.PROMPT_INVALID),
    (choice(prompt="a\0b"), "prompt", Reason.PROMPT_INVALID),
    (choice(request_id="r" * 129), "request_id", Reason.REQUEST_ID_INVALID),
    (choice(request_id="a\0b"), "request_id", Reason.REQUEST_ID_INVALID),
    *(
        (choice(chosen_at=Timestamp(seconds=seconds)), "chosen_at", Reason.CHOSEN_AT_INVALID)
        # Year 1, year 9999, neither, and year 2350.
        for seconds in (-62_135_596_800, 253_402_300_799, -(10**12), 10**12, 11_991_628_800)
    ),
    (choice(chosen_at=Timestamp(nanos=-1)), "chosen_at", Reason.CHOSEN_AT_INVALID),
    (GetUserRequest(), "user_id", Reason.USER_ID_INVALID),
    (EraseUserRequest(user_id="a\nb"), "user_id", Reason.USER_ID_INVALID),
    (RestoreUserRequest(), "user_id", Reason.USER_ID_INVALID),
    (UpdateConsentRequest(), "user_id", Reason.USER_ID_INVALID),
    (ListChoicesRequest(), "user_id", Reason.USER_ID_INVALID),
    (FindSimilarUsersRequest(), "user_id", Reason.USER_ID_INVALID),
    (GetUserSignatureRequest(), "user_id", Reason.USER_ID_INVALID),
    *(
        (kind(**fields, page_size=-1), "page_size", Reason.PAGE_SIZE_INVALID)
        for kind, fields in PAGED.items()
    ),
    *(
        (kind(**fields, page_token="forged"), "page_token", Reason.PAGE_TOKEN_INVALID)
        for kind, fields in PAGED.items()
    ),
    (RemoveImageRequest(), "sha256", Reason.SHA256_INVALID),
    (BlockImageRequest(sha256="AB" * 32), "sha256", Reason.SHA256_INVALID),
    (BlockImageRequest(sha256="ab" * 32, reason="a\0b"), "reason", Reason.INVALID_REQUEST),
    (UnblockImageRequest(sha256="ab"), "sha256", Reason.SHA256_INVALID),
    (ListClustersRequest(run="r" * 1000), "run", Reason.RUN_INVALID),
    (ListClustersRequest(run="a\0b"), "run", Reason.RUN_INVALID),
    (GetClusterRequest(run="r" * 1000), "run", Reason.RUN_INVALID),
]


def method_of(request):
    return request.DESCRIPTOR.name.removesuffix("Request")


def call(channel, method, data: bytes):
    """Send bytes to a method; return the details of the refusal by their type."""
    path = f"/{METHODS[method].containing_service.full_name}/{method}"
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(path)(data, timeout=GIVE_UP_S)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = {}
    for packed in rpc_status.from_call(refused.value).details:
        for kind in (BadRequest, ErrorInfo):
            if packed.Is(kind.DESCRIPTOR):
                details[kind] = kind()
                packed.Unpack(details[kind])
    return details


def is_path(path: str, request) -> bool:
    """Whether a path leads to a field of a request and, where it counts, to an element of it."""
    message = request
    for part in path.split("."):
        name, index = re.fullmatch(r"([a-z0-9_]+)(?:\[(\d+)\])?", part).groups()
        field = message.DESCRIPTOR.fields_by_name.get(name) if message is not None else None
        if field is None:
            return False
        value = getattr(message, name)
        if index is not None:
            if not field.is_repeated or int(index) >= len(value):
                return False
            value = value[int(index)]
        message = value if field.type == FieldDescriptor.TYPE_MESSAGE else None
    return True


@pytest.mark.parametrize(
    ("request_", "field", "reason"),
    BAD,
    ids=lambda each: each if isinstance(each, str) else method_of(each),
)
def test_the_field_that_breaks_a_rule_is_one_of_the_request(channel, run, request_, field, reason):
    details = call(channel, method_of(request_), request_.SerializeToString())

    (violation,) = details[BadRequest].field_violations
    assert violation.field == field
    assert is_path(violation.field, request_)
    assert violation.description
    assert violation.reason == details[ErrorInfo].reason == reason


def test_every_method_is_sent_something_bad():
    assert {method_of(request) for request, _, _ in BAD} == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_have_no_field(channel, method):
    kind = GetMessageClass(METHODS[method].input_type)
    data = b"\xff\xff\xff"
    with pytest.raises(Exception, match=r"[Pp]ars"):
        kind.FromString(data)

    details = call(channel, method, data)
    assert BadRequest not in details
    assert details[ErrorInfo].reason == Reason.REQUEST_MALFORMED


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("user_id", True),
        ("candidates", True),
        ("candidates[0]", True),
        ("candidates[0].image.sha256", True),
        ("candidates[0].sha256", False),
        ("candidates[1].id", False),
        ("user_id[0]", False),
        ("user_id.data", False),
        ("nothing", False),
    ],
)
def test_a_path_is_known(path, is_one):
    assert is_path(path, rank(GOOD)) is is_one
