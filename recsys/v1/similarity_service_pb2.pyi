import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FindSimilarUsersRequest(_message.Message):
    __slots__ = ("user_id", "page_size", "page_token")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    page_size: int
    page_token: str
    def __init__(self, user_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class FindSimilarUsersResponse(_message.Message):
    __slots__ = ("users", "model_version", "revision", "is_stale", "next_page_token")
    USERS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    IS_STALE_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedCompositeFieldContainer[SimilarUser]
    model_version: str
    revision: int
    is_stale: bool
    next_page_token: str
    def __init__(self, users: _Optional[_Iterable[_Union[SimilarUser, _Mapping]]] = ..., model_version: _Optional[str] = ..., revision: _Optional[int] = ..., is_stale: bool = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SimilarUser(_message.Message):
    __slots__ = ("user_id", "similarity")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    similarity: float
    def __init__(self, user_id: _Optional[str] = ..., similarity: _Optional[float] = ...) -> None: ...

class GetUserSignatureRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class GetUserSignatureResponse(_message.Message):
    __slots__ = ("signature",)
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signature: UserSignature
    def __init__(self, signature: _Optional[_Union[UserSignature, _Mapping]] = ...) -> None: ...

class UserSignature(_message.Message):
    __slots__ = ("user_id", "vector", "revision", "model_version", "is_stale")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_STALE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    vector: _containers.RepeatedScalarFieldContainer[float]
    revision: int
    model_version: str
    is_stale: bool
    def __init__(self, user_id: _Optional[str] = ..., vector: _Optional[_Iterable[float]] = ..., revision: _Optional[int] = ..., model_version: _Optional[str] = ..., is_stale: bool = ...) -> None: ...

class ListClustersRequest(_message.Message):
    __slots__ = ("run", "page_size", "page_token")
    RUN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run: str
    page_size: int
    page_token: str
    def __init__(self, run: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListClustersResponse(_message.Message):
    __slots__ = ("run", "clusters", "next_page_token")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run: ClusterRun
    clusters: _containers.RepeatedCompositeFieldContainer[Cluster]
    next_page_token: str
    def __init__(self, run: _Optional[_Union[ClusterRun, _Mapping]] = ..., clusters: _Optional[_Iterable[_Union[Cluster, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetClusterRequest(_message.Message):
    __slots__ = ("run", "cluster_id", "page_size", "page_token")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run: str
    cluster_id: int
    page_size: int
    page_token: str
    def __init__(self, run: _Optional[str] = ..., cluster_id: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class GetClusterResponse(_message.Message):
    __slots__ = ("run", "cluster", "members", "next_page_token")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run: ClusterRun
    cluster: Cluster
    members: _containers.RepeatedCompositeFieldContainer[ClusterMember]
    next_page_token: str
    def __init__(self, run: _Optional[_Union[ClusterRun, _Mapping]] = ..., cluster: _Optional[_Union[Cluster, _Mapping]] = ..., members: _Optional[_Iterable[_Union[ClusterMember, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ClusterRun(_message.Message):
    __slots__ = ("run_id", "name", "model_version", "method", "parameters", "created_at", "num_users", "num_clusters", "num_unclustered")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    NUM_USERS_FIELD_NUMBER: _ClassVar[int]
    NUM_CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    NUM_UNCLUSTERED_FIELD_NUMBER: _ClassVar[int]
    run_id: int
    name: str
    model_version: str
    method: str
    parameters: _containers.ScalarMap[str, str]
    created_at: _timestamp_pb2.Timestamp
    num_users: int
    num_clusters: int
    num_unclustered: int
    def __init__(self, run_id: _Optional[int] = ..., name: _Optional[str] = ..., model_version: _Optional[str] = ..., method: _Optional[str] = ..., parameters: _Optional[_Mapping[str, str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., num_users: _Optional[int] = ..., num_clusters: _Optional[int] = ..., num_unclustered: _Optional[int] = ...) -> None: ...

class Cluster(_message.Message):
    __slots__ = ("cluster_id", "size", "cohesion", "medoid_user_id", "typical_user_ids", "liked_images", "disliked_images", "words", "drift")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    COHESION_FIELD_NUMBER: _ClassVar[int]
    MEDOID_USER_ID_FIELD_NUMBER: _ClassVar[int]
    TYPICAL_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    LIKED_IMAGES_FIELD_NUMBER: _ClassVar[int]
    DISLIKED_IMAGES_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    cluster_id: int
    size: int
    cohesion: float
    medoid_user_id: str
    typical_user_ids: _containers.RepeatedScalarFieldContainer[str]
    liked_images: _containers.RepeatedCompositeFieldContainer[ClusterImage]
    disliked_images: _containers.RepeatedCompositeFieldContainer[ClusterImage]
    words: _containers.RepeatedCompositeFieldContainer[ClusterWord]
    drift: ClusterDrift
    def __init__(self, cluster_id: _Optional[int] = ..., size: _Optional[int] = ..., cohesion: _Optional[float] = ..., medoid_user_id: _Optional[str] = ..., typical_user_ids: _Optional[_Iterable[str]] = ..., liked_images: _Optional[_Iterable[_Union[ClusterImage, _Mapping]]] = ..., disliked_images: _Optional[_Iterable[_Union[ClusterImage, _Mapping]]] = ..., words: _Optional[_Iterable[_Union[ClusterWord, _Mapping]]] = ..., drift: _Optional[_Union[ClusterDrift, _Mapping]] = ...) -> None: ...

class ClusterImage(_message.Message):
    __slots__ = ("sha256", "num_likes", "num_passes", "overall_rate", "z")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    NUM_LIKES_FIELD_NUMBER: _ClassVar[int]
    NUM_PASSES_FIELD_NUMBER: _ClassVar[int]
    OVERALL_RATE_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    num_likes: int
    num_passes: int
    overall_rate: float
    z: float
    def __init__(self, sha256: _Optional[str] = ..., num_likes: _Optional[int] = ..., num_passes: _Optional[int] = ..., overall_rate: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...

class ClusterWord(_message.Message):
    __slots__ = ("word", "rate", "overall_rate", "z")
    WORD_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    OVERALL_RATE_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    word: str
    rate: float
    overall_rate: float
    z: float
    def __init__(self, word: _Optional[str] = ..., rate: _Optional[float] = ..., overall_rate: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...

class ClusterDrift(_message.Message):
    __slots__ = ("distance", "num_joined", "num_left")
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    NUM_JOINED_FIELD_NUMBER: _ClassVar[int]
    NUM_LEFT_FIELD_NUMBER: _ClassVar[int]
    distance: float
    num_joined: int
    num_left: int
    def __init__(self, distance: _Optional[float] = ..., num_joined: _Optional[int] = ..., num_left: _Optional[int] = ...) -> None: ...

class ClusterMember(_message.Message):
    __slots__ = ("user_id", "similarity")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    similarity: float
    def __init__(self, user_id: _Optional[str] = ..., similarity: _Optional[float] = ...) -> None: ...
