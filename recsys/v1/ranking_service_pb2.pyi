from recsys.v1 import image_pb2 as _image_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CandidateStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANDIDATE_STATUS_UNSPECIFIED: _ClassVar[CandidateStatus]
    CANDIDATE_STATUS_RANKED: _ClassVar[CandidateStatus]
    CANDIDATE_STATUS_INVALID_IMAGE: _ClassVar[CandidateStatus]
    CANDIDATE_STATUS_IMAGE_NOT_FOUND: _ClassVar[CandidateStatus]
    CANDIDATE_STATUS_BLOCKED: _ClassVar[CandidateStatus]

class Personalization(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PERSONALIZATION_UNSPECIFIED: _ClassVar[Personalization]
    PERSONALIZATION_COLD_START: _ClassVar[Personalization]
    PERSONALIZATION_PARTIAL: _ClassVar[Personalization]
    PERSONALIZATION_WARM: _ClassVar[Personalization]
CANDIDATE_STATUS_UNSPECIFIED: CandidateStatus
CANDIDATE_STATUS_RANKED: CandidateStatus
CANDIDATE_STATUS_INVALID_IMAGE: CandidateStatus
CANDIDATE_STATUS_IMAGE_NOT_FOUND: CandidateStatus
CANDIDATE_STATUS_BLOCKED: CandidateStatus
PERSONALIZATION_UNSPECIFIED: Personalization
PERSONALIZATION_COLD_START: Personalization
PERSONALIZATION_PARTIAL: Personalization
PERSONALIZATION_WARM: Personalization

class RankCandidatesRequest(_message.Message):
    __slots__ = ("user_id", "candidates", "request_id", "audience")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    request_id: str
    audience: str
    def __init__(self, user_id: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., request_id: _Optional[str] = ..., audience: _Optional[str] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("id", "prompt", "image")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    prompt: str
    image: _image_pb2.Image
    def __init__(self, id: _Optional[str] = ..., prompt: _Optional[str] = ..., image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ...) -> None: ...

class RankCandidatesResponse(_message.Message):
    __slots__ = ("user_id", "candidates", "model_version", "num_references", "personalization", "num_borrowed_references", "num_neighbours", "population_version", "is_opted_out")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    NUM_REFERENCES_FIELD_NUMBER: _ClassVar[int]
    PERSONALIZATION_FIELD_NUMBER: _ClassVar[int]
    NUM_BORROWED_REFERENCES_FIELD_NUMBER: _ClassVar[int]
    NUM_NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    POPULATION_VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_OPTED_OUT_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    candidates: _containers.RepeatedCompositeFieldContainer[RankedCandidate]
    model_version: str
    num_references: int
    personalization: Personalization
    num_borrowed_references: int
    num_neighbours: int
    population_version: str
    is_opted_out: bool
    def __init__(self, user_id: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[RankedCandidate, _Mapping]]] = ..., model_version: _Optional[str] = ..., num_references: _Optional[int] = ..., personalization: _Optional[_Union[Personalization, str]] = ..., num_borrowed_references: _Optional[int] = ..., num_neighbours: _Optional[int] = ..., population_version: _Optional[str] = ..., is_opted_out: bool = ...) -> None: ...

class RankedCandidate(_message.Message):
    __slots__ = ("id", "score", "rank", "status", "message", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    score: float
    rank: int
    status: CandidateStatus
    message: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., score: _Optional[float] = ..., rank: _Optional[int] = ..., status: _Optional[_Union[CandidateStatus, str]] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SuggestOnboardingRequest(_message.Message):
    __slots__ = ("num_pairs", "user_id", "audience")
    NUM_PAIRS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    num_pairs: int
    user_id: str
    audience: str
    def __init__(self, num_pairs: _Optional[int] = ..., user_id: _Optional[str] = ..., audience: _Optional[str] = ...) -> None: ...

class SuggestOnboardingResponse(_message.Message):
    __slots__ = ("pairs", "population_version")
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    POPULATION_VERSION_FIELD_NUMBER: _ClassVar[int]
    pairs: _containers.RepeatedCompositeFieldContainer[OnboardingPair]
    population_version: str
    def __init__(self, pairs: _Optional[_Iterable[_Union[OnboardingPair, _Mapping]]] = ..., population_version: _Optional[str] = ...) -> None: ...

class OnboardingPair(_message.Message):
    __slots__ = ("first_sha256", "second_sha256", "prompt", "information_bits")
    FIRST_SHA256_FIELD_NUMBER: _ClassVar[int]
    SECOND_SHA256_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    INFORMATION_BITS_FIELD_NUMBER: _ClassVar[int]
    first_sha256: str
    second_sha256: str
    prompt: str
    information_bits: float
    def __init__(self, first_sha256: _Optional[str] = ..., second_sha256: _Optional[str] = ..., prompt: _Optional[str] = ..., information_bits: _Optional[float] = ...) -> None: ...
