import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Choice(_message.Message):
    __slots__ = ("choice_id", "revision", "liked_sha256", "passed_over_sha256", "prompt", "chosen_at", "source", "request_id")
    CHOICE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LIKED_SHA256_FIELD_NUMBER: _ClassVar[int]
    PASSED_OVER_SHA256_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    choice_id: int
    revision: int
    liked_sha256: str
    passed_over_sha256: _containers.RepeatedScalarFieldContainer[str]
    prompt: str
    chosen_at: _timestamp_pb2.Timestamp
    source: str
    request_id: str
    def __init__(self, choice_id: _Optional[int] = ..., revision: _Optional[int] = ..., liked_sha256: _Optional[str] = ..., passed_over_sha256: _Optional[_Iterable[str]] = ..., prompt: _Optional[str] = ..., chosen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...
