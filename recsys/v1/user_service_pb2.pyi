import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from recsys.v1 import choice_pb2 as _choice_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetUserRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class GetUserResponse(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: User
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ...) -> None: ...

class User(_message.Message):
    __slots__ = ("user_id", "revision", "num_choices", "num_pairs", "created_at", "last_choice_at", "consent")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NUM_CHOICES_FIELD_NUMBER: _ClassVar[int]
    NUM_PAIRS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_CHOICE_AT_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    revision: int
    num_choices: int
    num_pairs: int
    created_at: _timestamp_pb2.Timestamp
    last_choice_at: _timestamp_pb2.Timestamp
    consent: Consent
    def __init__(self, user_id: _Optional[str] = ..., revision: _Optional[int] = ..., num_choices: _Optional[int] = ..., num_pairs: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_choice_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., consent: _Optional[_Union[Consent, _Mapping]] = ...) -> None: ...

class Consent(_message.Message):
    __slots__ = ("personalize", "learn_from")
    PERSONALIZE_FIELD_NUMBER: _ClassVar[int]
    LEARN_FROM_FIELD_NUMBER: _ClassVar[int]
    personalize: bool
    learn_from: bool
    def __init__(self, personalize: bool = ..., learn_from: bool = ...) -> None: ...

class ListChoicesRequest(_message.Message):
    __slots__ = ("user_id", "page_size", "page_token")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    page_size: int
    page_token: str
    def __init__(self, user_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListChoicesResponse(_message.Message):
    __slots__ = ("choices", "next_page_token")
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    choices: _containers.RepeatedCompositeFieldContainer[_choice_pb2.Choice]
    next_page_token: str
    def __init__(self, choices: _Optional[_Iterable[_Union[_choice_pb2.Choice, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class EraseUserRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class EraseUserResponse(_message.Message):
    __slots__ = ("num_choices", "num_signatures", "num_images", "num_bytes", "remnants", "rewritten_exports")
    NUM_CHOICES_FIELD_NUMBER: _ClassVar[int]
    NUM_SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    NUM_IMAGES_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    REMNANTS_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_EXPORTS_FIELD_NUMBER: _ClassVar[int]
    num_choices: int
    num_signatures: int
    num_images: int
    num_bytes: int
    remnants: _containers.RepeatedScalarFieldContainer[str]
    rewritten_exports: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, num_choices: _Optional[int] = ..., num_signatures: _Optional[int] = ..., num_images: _Optional[int] = ..., num_bytes: _Optional[int] = ..., remnants: _Optional[_Iterable[str]] = ..., rewritten_exports: _Optional[_Iterable[str]] = ...) -> None: ...

class RestoreUserRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class RestoreUserResponse(_message.Message):
    __slots__ = ("erased_at", "erased_by")
    ERASED_AT_FIELD_NUMBER: _ClassVar[int]
    ERASED_BY_FIELD_NUMBER: _ClassVar[int]
    erased_at: _timestamp_pb2.Timestamp
    erased_by: str
    def __init__(self, erased_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., erased_by: _Optional[str] = ...) -> None: ...

class UpdateConsentRequest(_message.Message):
    __slots__ = ("user_id", "personalize", "learn_from")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PERSONALIZE_FIELD_NUMBER: _ClassVar[int]
    LEARN_FROM_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    personalize: bool
    learn_from: bool
    def __init__(self, user_id: _Optional[str] = ..., personalize: bool = ..., learn_from: bool = ...) -> None: ...

class UpdateConsentResponse(_message.Message):
    __slots__ = ("consent", "rewritten_exports", "remnants")
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_EXPORTS_FIELD_NUMBER: _ClassVar[int]
    REMNANTS_FIELD_NUMBER: _ClassVar[int]
    consent: Consent
    rewritten_exports: _containers.RepeatedScalarFieldContainer[str]
    remnants: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, consent: _Optional[_Union[Consent, _Mapping]] = ..., rewritten_exports: _Optional[_Iterable[str]] = ..., remnants: _Optional[_Iterable[str]] = ...) -> None: ...
