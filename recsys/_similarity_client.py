"""The part of the client that calls SimilarityService."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from recsys._retrying_client import SendRequest
from recsys.errors import InvalidRequest
from recsys.reasons import Reason
from recsys.signatures.records import CurrentSignature
from recsys.similarity.records import SimilarUsers
from recsys.v1 import similarity_service_pb2 as pb2
from recsys.wire.similarity import (
    cluster_from_wire,
    joined,
    member_from_wire,
    run_from_wire,
    signature_from_wire,
    similar_from_wire,
)
from storage.clusters.records import Cluster, ClusterRun, Member

_MAX_PAGE = 1000


class SimilarityCalls:
    """Neighbours, signatures and clusters; `recsys.client.RecsysClient.similarity`.

    Args:
        stub: of the service.
        call: sends a request, by default within the client's timeout; raises as the client does.
    """

    def __init__(self, stub: Any, call: SendRequest) -> None:
        self._stub = stub
        self._call = call

    def find_similar_users(
        self, user_id: str, *, k: int = 10, timeout_s: float | None = None
    ) -> SimilarUsers:
        """Return a user's nearest neighbours, in as many calls as it takes.

        Args:
            user_id: of a user with at least one choice that both likes and passes over an image.
            k: number of neighbours, at least 1; fewer are returned where there are no more.
            timeout_s: for each call; None for the client's.
        """
        if k < 1:
            raise InvalidRequest(
                f"k must be at least 1, got {k}",
                field="page_size",
                reason=Reason.PAGE_SIZE_INVALID,
            )
        pages: list[SimilarUsers] = []
        token = ""
        while k > 0 and (token or not pages):
            response = self._call(
                self._stub.FindSimilarUsers,
                pb2.FindSimilarUsersRequest,
                timeout_s,
                user_id=user_id,
                page_size=min(k, _MAX_PAGE),
                page_token=token,
            )
            pages.append(similar_from_wire(response, user_id))
            token, k = response.next_page_token, k - len(response.users)
        return joined(pages)

    def get_user_signature(
        self, user_id: str, *, timeout_s: float | None = None
    ) -> CurrentSignature:
        """Return a user's current signature; the server computes it if it is missing or stale."""
        response = self._call(
            self._stub.GetUserSignature, pb2.GetUserSignatureRequest, timeout_s, user_id=user_id
        )
        return signature_from_wire(response.signature)

    def list_clusters(
        self, run: str = "", *, page_size: int = 0, timeout_s: float | None = None
    ) -> tuple[ClusterRun, Iterator[Cluster]]:
        """Return a run and its clusters, the largest first.

        Args:
            run: its name; the newest of the model version that is served by default.
            page_size: clusters per call; 0 for the server's default.
            timeout_s: for each call; None for the client's.
        """
        page = partial(
            self._call,
            self._stub.ListClusters,
            pb2.ListClustersRequest,
            timeout_s,
            run=run,
            page_size=page_size,
        )
        first = page(page_token="")
        clusters = (cluster_from_wire(each) for p in _pages(first, page) for each in p.clusters)
        return run_from_wire(first.run), clusters

    def get_cluster(
        self, cluster_id: int, run: str = "", *, page_size: int = 0, timeout_s: float | None = None
    ) -> tuple[ClusterRun, Cluster, Iterator[Member]]:
        """Return a run, one of its clusters, and the cluster's members by user id.

        Args:
            cluster_id: of the cluster.
            run: name of the run; the newest of the model version that is served by default.
            page_size: members per call; 0 for the server's default.
            timeout_s: for each call; None for the client's.
        """
        page = partial(
            self._call,
            self._stub.GetCluster,
            pb2.GetClusterRequest,
            timeout_s,
            run=run,
            cluster_id=cluster_id,
            page_size=page_size,
        )
        first = page(page_token="")
        members = (
            member_from_wire(each, cluster_id) for p in _pages(first, page) for each in p.members
        )
        return run_from_wire(first.run), cluster_from_wire(first.cluster), members


def _pages(first: Any, page: Callable[..., Any]) -> Iterator[Any]:
    """Yield the first page, and request each of the others when it is needed."""
    yield first
    while first.next_page_token:
        first = page(page_token=first.next_page_token)
        yield first
