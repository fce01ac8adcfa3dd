"""ListClusters and GetCluster through a real channel."""

import pytest

from recsys.errors import InvalidRequest, NotFound
from recsys.v1.similarity_service_pb2 import GetClusterRequest, ListClustersRequest
from storage.clusters.records import ClusterWord

VERSION = "fake-version"
DIMENSION = 8


def test_clusters_are_listed_as_they_were_built(live, calls, run):
    run, clusters = calls.list_clusters()

    stored = live.service._similarity._clusters
    assert (run.name, run.model_version, run.method) == ("second", VERSION, "kmeans")
    assert run.parameters == {"num": "2"}
    assert (run.num_users, run.num_clusters, run.num_unclustered) == (5, 2, 0)
    assert run.created_at == stored.run("second").created_at
    assert list(clusters) == stored.clusters(run.run_id)


@pytest.mark.parametrize("page_size", [1, 2, 0])
def test_pages_hold_each_cluster_once(live, calls, run, page_size):
    run, clusters = calls.list_clusters("first", page_size=page_size)

    assert run.name == "first"
    assert [each.size for each in clusters] == [3, 2]


def test_a_page_of_clusters_ends_when_it_gets_large(monkeypatch, stub, calls, run):
    monkeypatch.setattr("recsys.service._pages.MAX_PAGE_BYTES", 1)

    assert len(stub.ListClusters(ListClustersRequest()).clusters) == 1
    assert len(list(calls.list_clusters()[1])) == 2


@pytest.mark.parametrize("page_size", [1, 2, 3, 0])
def test_a_cluster_tells_its_members_by_pages(live, calls, run, page_size):
    _, clusters = calls.list_clusters()
    first = next(clusters)

    told_run, cluster, members = calls.get_cluster(first.cluster_id, page_size=page_size)

    assert (told_run.name, cluster) == ("second", first)
    assert cluster.medoid == "ann"
    assert cluster.words == (ClusterWord("shade", 1.0, 0.5, 3.0),)
    assert cluster.drift is not None
    assert cluster.drift.distance == pytest.approx(0)
    rows = [(each.user_id, each.similarity, each.cluster_id) for each in members]
    assert rows == [(n, s, first.cluster_id) for n, s in [("ann", 1), ("bob", 0.9), ("dan", 0.8)]]


def test_tokens_of_clusters_hold_for_their_own_list(stub, token, run, refused_token):
    clusters = stub.ListClusters(ListClustersRequest(run="second", page_size=1))
    ids = [each.cluster_id for each in stub.ListClusters(ListClustersRequest()).clusters]
    members = stub.GetCluster(GetClusterRequest(cluster_id=ids[0], page_size=1))
    all_tokens = {token, clusters.next_page_token, members.next_page_token}

    assert len(all_tokens) == 3
    assert "" not in all_tokens
    for each in all_tokens:
        refused_token(stub.ListClusters, ListClustersRequest(run="first", page_token=each))
        refused_token(stub.GetCluster, GetClusterRequest(cluster_id=ids[1], page_token=each))


def test_runs_and_clusters_that_are_not_there_are_not_found(calls, people):
    for ask in (lambda: calls.list_clusters(), lambda: calls.list_clusters("x\ud7ff")):
        with pytest.raises(NotFound, match="recsys clusters"):
            ask()


@pytest.mark.parametrize("cluster_id", [-1, 10**6, 2**63 - 1])
def test_a_cluster_that_is_not_there_is_not_found(calls, run, cluster_id):
    with pytest.raises(NotFound, match="no cluster"):
        calls.get_cluster(cluster_id)


def test_a_bad_name_of_a_run_is_named(calls, run):
    for name in ("r" * 129, "nul \0"):
        with pytest.raises(InvalidRequest) as refused:
            calls.list_clusters(name)
        assert refused.value.field == "run"
