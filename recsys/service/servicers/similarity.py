"""SimilarityService of recsys.v1."""

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace

from recsys.errors import PreconditionFailed
from recsys.fields import require_text, require_user_id
from recsys.reasons import Reason
from recsys.runtime import Runtime
from recsys.service._call_context import CallContext
from recsys.service._pages import (
    Query,
    fitting,
    number_of,
    number_token,
    page_size,
    text_of,
    text_token,
)
from recsys.service._served import Served
from recsys.service._threads import in_thread
from recsys.service.metrics import ServiceMetrics
from recsys.service.similarity import Similarity
from recsys.signatures.records import CurrentSignature
from recsys.similarity.search import find_similar
from recsys.v1 import similarity_service_pb2 as pb2
from recsys.v1 import similarity_service_pb2_grpc
from recsys.wire.similarity import (
    cluster_to_wire,
    member_to_wire,
    run_to_wire,
    signature_to_wire,
    similar_to_wire,
)
from storage.clusters.building import MAX_NAME
from storage.clusters.records import Cluster, ClusterImage, ClusterRun
from storage.sharing import ImageSharing

_NUM_THREADS = 4


class SimilarityServicer(similarity_service_pb2_grpc.SimilarityServiceServicer):
    """Finds neighbours, and reads signatures and clusters.

    Calls that may wait for the model have threads of their own, so that those of storage go on.

    Args:
        runtime: whose storage holds the clusters as they were last built.
        served: the model that reads signatures.
        metrics: counts signatures.
        threads: to read clusters in.
    """

    def __init__(
        self, runtime: Runtime, served: Served, *, metrics: ServiceMetrics, threads: Executor
    ) -> None:
        self._served = served
        self._clusters = runtime.clusters
        self._sharing = ImageSharing(runtime.store.database)
        self._sharing_rules = runtime.settings.sharing_rules
        self._metrics = metrics
        self._threads = threads
        self._slow_threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="recsys-similar")

    def close(self) -> None:
        """End the threads; calls that run end by themselves."""
        self._slow_threads.shutdown(wait=False, cancel_futures=True)

    async def FindSimilarUsers(
        self, request: pb2.FindSimilarUsersRequest, context: CallContext
    ) -> pb2.FindSimilarUsersResponse:
        """List a page of a user's neighbours, the nearest first."""
        require_user_id(request.user_id)
        size = page_size(request.page_size)
        return await in_thread(self._slow_threads, self._similar, request, size)

    async def GetUserSignature(
        self, request: pb2.GetUserSignatureRequest, context: CallContext
    ) -> pb2.GetUserSignatureResponse:
        """Return a user's vector."""
        require_user_id(request.user_id)
        current = await in_thread(self._slow_threads, self._signature, request.user_id)
        return pb2.GetUserSignatureResponse(signature=signature_to_wire(current))

    async def ListClusters(
        self, request: pb2.ListClustersRequest, context: CallContext
    ) -> pb2.ListClustersResponse:
        """List a page of a run's clusters."""
        check_run(request.run)
        size = page_size(request.page_size)
        return await in_thread(self._threads, self._cluster_page, request, size)

    async def GetCluster(
        self, request: pb2.GetClusterRequest, context: CallContext
    ) -> pb2.GetClusterResponse:
        """Return a cluster with a page of its members."""
        check_run(request.run)
        size = page_size(request.page_size)
        return await in_thread(self._threads, self._member_page, request, size)

    def _similar(
        self, request: pb2.FindSimilarUsersRequest, size: int
    ) -> pb2.FindSimilarUsersResponse:
        current = self._signature(request.user_id)
        query = _similar_query(current)
        after = number_of(query, request.page_token)
        similar = find_similar(current, self._similarity().index(), size, after=after)
        token = number_token(query, after + len(similar.users)) if similar.has_more else ""
        return similar_to_wire(similar, next_page_token=token)

    def _signature(self, user_id: str) -> CurrentSignature:
        current = self._similarity().signature_of(user_id)
        self._metrics.observe_signature(is_stale=current.is_stale)
        return current

    def _similarity(self) -> Similarity:
        similarity = self._served.model.similarity
        if similarity is None:
            raise PreconditionFailed(
                "signatures need a checkpoint that ships probes and a projection, and the one that"
                " is served has none: serve another",
                reason=Reason.SIGNATURES_UNSUPPORTED,
            )
        return similarity

    def _cluster_page(
        self, request: pb2.ListClustersRequest, size: int
    ) -> pb2.ListClustersResponse:
        run = self._run(request.run)
        query = ("ListClusters", str(run.run_id))
        after = number_of(query, request.page_token)
        clusters = self._clusters.clusters(run.run_id)[after:]
        page = fitting(map(cluster_to_wire, self._shown(clusters[:size])))
        end = after + len(page)
        return pb2.ListClustersResponse(
            run=run_to_wire(run),
            clusters=page,
            next_page_token=number_token(query, end) if len(page) < len(clusters) else "",
        )

    def _member_page(self, request: pb2.GetClusterRequest, size: int) -> pb2.GetClusterResponse:
        run = self._run(request.run)
        query = ("GetCluster", str(run.run_id), str(request.cluster_id))
        after = text_of(query, request.page_token)
        (cluster,) = self._shown([self._clusters.cluster(run.run_id, request.cluster_id)])
        # One more than asked for tells whether there is a next page.
        members = self._clusters.members(
            run.run_id, request.cluster_id, after=after, limit=size + 1
        )
        has_more = len(members) > size
        return pb2.GetClusterResponse(
            run=run_to_wire(run),
            cluster=cluster_to_wire(cluster),
            members=map(member_to_wire, members[:size]),
            next_page_token=text_token(query, members[size - 1].user_id) if has_more else "",
        )

    def _shown(self, clusters: Sequence[Cluster]) -> list[Cluster]:
        """Leave out images and words that other users may not be shown."""
        rules = self._sharing_rules
        named = {image.sha256 for each in clusters for image in _images_of(each)}
        shown = self._sharing.shown_among(named, rules)
        return [
            replace(
                each,
                liked_images=tuple(i for i in each.liked_images if i.sha256 in shown),
                disliked_images=tuple(i for i in each.disliked_images if i.sha256 in shown),
                words=each.words if rules.prompts else (),
            )
            for each in clusters
        ]

    def _run(self, name: str) -> ClusterRun:
        if name:
            return self._clusters.run(name)
        model = self._served.model
        versioned = model.similarity or model.engine
        return self._clusters.run(model_version=versioned.model_version)


def _images_of(cluster: Cluster) -> tuple[ClusterImage, ...]:
    return (*cluster.liked_images, *cluster.disliked_images)


def check_run(name: str) -> None:
    """Refuse what cannot be the name of a run.

    Raises:
        InvalidRequest: naming the rule and what arrived.
    """
    require_text("run", name, at_most=MAX_NAME, reason=Reason.RUN_INVALID)


def _similar_query(current: CurrentSignature) -> Query:
    """What decides the order of neighbours, as far as the user is concerned."""
    own = current.signature
    return "FindSimilarUsers", own.user_id, own.model_version, str(own.revision)
