"""Neighbours, signatures and clusters: protobuf <-> the records that everything else speaks."""

from itertools import chain

from recsys.signatures.records import CurrentSignature
from recsys.similarity.records import SimilarUser, SimilarUsers
from recsys.v1 import similarity_service_pb2 as pb2
from recsys.wire._instants import instant_of, timestamp_of
from storage.clusters.records import Cluster, ClusterImage, ClusterRun, ClusterWord, Drift, Member
from storage.records import Signature


def similar_to_wire(similar: SimilarUsers, *, next_page_token: str) -> pb2.FindSimilarUsersResponse:
    """Write a page of a user's neighbours; whose they are stands in the request."""
    return pb2.FindSimilarUsersResponse(
        users=[
            pb2.SimilarUser(user_id=each.user_id, similarity=each.similarity)
            for each in similar.users
        ],
        model_version=similar.model_version,
        revision=similar.revision,
        is_stale=similar.is_stale,
        next_page_token=next_page_token,
    )


def similar_from_wire(response: pb2.FindSimilarUsersResponse, user_id: str) -> SimilarUsers:
    """Read a page of a user's neighbours."""
    return SimilarUsers(
        user_id=user_id,
        model_version=response.model_version,
        revision=response.revision,
        is_stale=response.is_stale,
        users=tuple(SimilarUser(each.user_id, each.similarity) for each in response.users),
        has_more=bool(response.next_page_token),
    )


def signature_to_wire(current: CurrentSignature) -> pb2.UserSignature:
    """Write a signature."""
    signature = current.signature
    return pb2.UserSignature(
        user_id=signature.user_id,
        vector=signature.vector.tolist(),
        revision=signature.revision,
        model_version=signature.model_version,
        is_stale=current.is_stale,
    )


def signature_from_wire(message: pb2.UserSignature) -> CurrentSignature:
    """Read a signature."""
    import numpy as np  # half of what importing the client would take

    vector = np.array(message.vector, dtype=np.float32)
    signature = Signature(message.user_id, message.model_version, message.revision, vector)
    return CurrentSignature(signature, message.is_stale)


def run_to_wire(run: ClusterRun) -> pb2.ClusterRun:
    """Write a run of clusters; its parameters become text."""
    return pb2.ClusterRun(
        run_id=run.run_id,
        name=run.name,
        model_version=run.model_version,
        method=run.method,
        parameters={name: str(value) for name, value in run.parameters.items()},
        created_at=timestamp_of(run.created_at),
        num_users=run.num_users,
        num_clusters=run.num_clusters,
        num_unclustered=run.num_unclustered,
    )


def run_from_wire(message: pb2.ClusterRun) -> ClusterRun:
    """Read a run of clusters; its parameters are text."""
    return ClusterRun(
        run_id=message.run_id,
        name=message.name,
        model_version=message.model_version,
        method=message.method,
        parameters=dict(message.parameters),
        created_at=instant_of(message.created_at),
        num_users=message.num_users,
        num_clusters=message.num_clusters,
        num_unclustered=message.num_unclustered,
    )


def cluster_to_wire(cluster: Cluster) -> pb2.Cluster:
    """Write a cluster; one that is new has no drift."""
    return pb2.Cluster(
        cluster_id=cluster.cluster_id,
        size=cluster.size,
        cohesion=cluster.cohesion,
        medoid_user_id=cluster.medoid or "",
        typical_user_ids=cluster.typical_members,
        liked_images=map(_image_to_wire, cluster.liked_images),
        disliked_images=map(_image_to_wire, cluster.disliked_images),
        words=[
            pb2.ClusterWord(
                word=each.word, rate=each.rate, overall_rate=each.overall_rate, z=each.z
            )
            for each in cluster.words
        ],
        drift=None if cluster.drift is None else _drift_to_wire(cluster.drift),
    )


def cluster_from_wire(message: pb2.Cluster) -> Cluster:
    """Read a cluster."""
    return Cluster(
        cluster_id=message.cluster_id,
        size=message.size,
        cohesion=message.cohesion,
        medoid=message.medoid_user_id or None,
        typical_members=tuple(message.typical_user_ids),
        liked_images=tuple(map(_image_from_wire, message.liked_images)),
        disliked_images=tuple(map(_image_from_wire, message.disliked_images)),
        words=tuple(ClusterWord(w.word, w.rate, w.overall_rate, w.z) for w in message.words),
        drift=_drift_from_wire(message.drift) if message.HasField("drift") else None,
    )


def member_to_wire(member: Member) -> pb2.ClusterMember:
    """Write a member; of which cluster stands in the request."""
    return pb2.ClusterMember(user_id=member.user_id, similarity=member.similarity)


def member_from_wire(message: pb2.ClusterMember, cluster_id: int) -> Member:
    """Read a member of a cluster."""
    return Member(message.user_id, message.similarity, cluster_id)


def joined(pages: list[SimilarUsers]) -> SimilarUsers:
    """Put the pages of one list together; at least one."""
    last = pages[-1]
    users = tuple(chain.from_iterable(page.users for page in pages))
    return SimilarUsers(
        last.user_id, last.model_version, last.revision, last.is_stale, users, last.has_more
    )


def _image_to_wire(image: ClusterImage) -> pb2.ClusterImage:
    return pb2.ClusterImage(
        sha256=image.sha256,
        num_likes=image.num_likes,
        num_passes=image.num_passes,
        overall_rate=image.overall_rate,
        z=image.z,
    )


def _image_from_wire(message: pb2.ClusterImage) -> ClusterImage:
    return ClusterImage(
        message.sha256, message.num_likes, message.num_passes, message.overall_rate, message.z
    )


def _drift_to_wire(drift: Drift) -> pb2.ClusterDrift:
    return pb2.ClusterDrift(
        distance=drift.distance, num_joined=drift.num_joined, num_left=drift.num_left
    )


def _drift_from_wire(message: pb2.ClusterDrift) -> Drift:
    distance = message.distance if message.HasField("distance") else None
    return Drift(distance, message.num_joined, message.num_left)
