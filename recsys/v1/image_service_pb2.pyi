import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RemoveImageRequest(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    def __init__(self, sha256: _Optional[str] = ...) -> None: ...

class RemoveImageResponse(_message.Message):
    __slots__ = ("takedown",)
    TAKEDOWN_FIELD_NUMBER: _ClassVar[int]
    takedown: Takedown
    def __init__(self, takedown: _Optional[_Union[Takedown, _Mapping]] = ...) -> None: ...

class BlockImageRequest(_message.Message):
    __slots__ = ("sha256", "reason")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    reason: str
    def __init__(self, sha256: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class BlockImageResponse(_message.Message):
    __slots__ = ("takedown",)
    TAKEDOWN_FIELD_NUMBER: _ClassVar[int]
    takedown: Takedown
    def __init__(self, takedown: _Optional[_Union[Takedown, _Mapping]] = ...) -> None: ...

class Takedown(_message.Message):
    __slots__ = ("num_choices", "num_shortened", "num_images", "num_bytes", "rewritten_exports", "remnants")
    NUM_CHOICES_FIELD_NUMBER: _ClassVar[int]
    NUM_SHORTENED_FIELD_NUMBER: _ClassVar[int]
    NUM_IMAGES_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_EXPORTS_FIELD_NUMBER: _ClassVar[int]
    REMNANTS_FIELD_NUMBER: _ClassVar[int]
    num_choices: int
    num_shortened: int
    num_images: int
    num_bytes: int
    rewritten_exports: _containers.RepeatedScalarFieldContainer[str]
    remnants: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, num_choices: _Optional[int] = ..., num_shortened: _Optional[int] = ..., num_images: _Optional[int] = ..., num_bytes: _Optional[int] = ..., rewritten_exports: _Optional[_Iterable[str]] = ..., remnants: _Optional[_Iterable[str]] = ...) -> None: ...

class UnblockImageRequest(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    def __init__(self, sha256: _Optional[str] = ...) -> None: ...

class UnblockImageResponse(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: BlockedImage
    def __init__(self, image: _Optional[_Union[BlockedImage, _Mapping]] = ...) -> None: ...

class ListBlockedImagesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBlockedImagesResponse(_message.Message):
    __slots__ = ("images", "next_page_token")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[BlockedImage]
    next_page_token: str
    def __init__(self, images: _Optional[_Iterable[_Union[BlockedImage, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class BlockedImage(_message.Message):
    __slots__ = ("sha256", "blocked_at", "blocked_by", "reason", "is_unfinished")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_AT_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IS_UNFINISHED_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    blocked_at: _timestamp_pb2.Timestamp
    blocked_by: str
    reason: str
    is_unfinished: bool
    def __init__(self, sha256: _Optional[str] = ..., blocked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., blocked_by: _Optional[str] = ..., reason: _Optional[str] = ..., is_unfinished: bool = ...) -> None: ...
