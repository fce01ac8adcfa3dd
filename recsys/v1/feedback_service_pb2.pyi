import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from recsys.v1 import choice_pb2 as _choice_pb2
from recsys.v1 import image_pb2 as _image_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordChoiceRequest(_message.Message):
    __slots__ = ("user_id", "liked", "passed_over", "prompt", "chosen_at", "request_id", "shareable")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    LIKED_FIELD_NUMBER: _ClassVar[int]
    PASSED_OVER_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_AT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SHAREABLE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    liked: _image_pb2.Image
    passed_over: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    prompt: str
    chosen_at: _timestamp_pb2.Timestamp
    request_id: str
    shareable: bool
    def __init__(self, user_id: _Optional[str] = ..., liked: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., passed_over: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ..., prompt: _Optional[str] = ..., chosen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_id: _Optional[str] = ..., shareable: bool = ...) -> None: ...

class RecordChoiceResponse(_message.Message):
    __slots__ = ("choice", "is_repeat")
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    IS_REPEAT_FIELD_NUMBER: _ClassVar[int]
    choice: _choice_pb2.Choice
    is_repeat: bool
    def __init__(self, choice: _Optional[_Union[_choice_pb2.Choice, _Mapping]] = ..., is_repeat: bool = ...) -> None: ...
