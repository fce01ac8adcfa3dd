"""Groups of near signatures: found where they are, and defined answers where there are none."""

import numpy as np
import pytest

from recsys.clusters import group as clusters
from recsys.clusters.group import UNCLUSTERED, group, read_signatures
from recsys.errors import InvalidRequest, NotFound
from storage.records import SignatureBatch

E = 16


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def mixture(*sizes: int, spread: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Users around directions at right angles, in a random order, and who belongs where."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return unit(np.eye(E)[truth] + spread * rng.normal(size=(len(truth), E))), truth


def same_partition(labels: np.ndarray, truth: np.ndarray) -> bool:
    pairs = set(zip(labels.tolist(), truth.tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@pytest.mark.parametrize("how", [{"method": "hdbscan"}, {"method": "kmeans", "num_clusters": 3}])
def test_groups_that_stand_apart_are_found(how: dict) -> None:
    vectors, truth = mixture(80, 50, 20)
    groups = group(vectors, **how)
    assert groups.method == how["method"]
    assert groups.num_clusters == 3
    clustered = groups.labels != UNCLUSTERED
    assert clustered.mean() > 0.9
    assert same_partition(groups.labels[clustered], truth[clustered])
    sizes = np.bincount(groups.labels[clustered])
    assert sizes.tolist() == sorted(sizes, reverse=True)
    again = group(vectors, **how)
    assert again.labels.tolist() == groups.labels.tolist()


def test_centroids_are_means_of_length_one() -> None:
    vectors, _ = mixture(30, 20)
    groups = group(vectors, method="kmeans", num_clusters=2)
    for place in range(2):
        members = vectors[groups.labels == place]
        mean = members.mean(axis=0)
        np.testing.assert_allclose(groups.centroids[place], mean / np.linalg.norm(mean), atol=1e-5)
        np.testing.assert_allclose(
            groups.similarity[groups.labels == place],
            members @ groups.centroids[place],
            atol=1e-5,
        )


def test_two_members_are_equally_near_to_their_centroid() -> None:
    """As they are by definition, whatever the rounding of a machine."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        grouping = group(unit(rng.normal(size=(2, 64))), method="kmeans", num_clusters=1)
        assert grouping.similarity[0] == grouping.similarity[1]


def test_the_nearest_to_the_centroid_is_the_medoid() -> None:
    """The one with the highest mean cosine to all members, by definition and by brute force."""
    vectors, _ = mixture(40, spread=0.5)
    groups = group(vectors, method="kmeans", num_clusters=1)
    assert (vectors @ vectors.T).mean(axis=1).argmax() == groups.similarity.argmax()


def test_who_is_near_none_is_left_out() -> None:
    vectors, _ = mixture(60, 60, spread=0.02)
    lonely = unit(np.eye(E)[10:11])
    groups = group(np.concatenate([vectors, lonely]), method="hdbscan")
    assert groups.labels[-1] == UNCLUSTERED
    assert groups.similarity[-1] == 0
    assert groups.num_clusters == 2


def test_auto_takes_what_fits_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    apart, _ = mixture(40, 40)
    assert group(apart).method == "hdbscan"
    asked = group(apart, num_clusters=2)
    assert (asked.method, asked.parameters["num"], asked.parameters["reason"]) == (
        "kmeans",
        2,
        "asked for",
    )
    nothing_stands_out = unit(np.random.default_rng(0).normal(size=(200, E)))
    groups = group(nothing_stands_out)
    assert groups.method == "kmeans"
    assert "in no cluster" in str(groups.parameters["reason"])
    assert (groups.labels != UNCLUSTERED).all()
    monkeypatch.setattr(clusters, "FEW_USERS", 50)
    many = group(apart)
    assert (many.method, many.parameters["reason"]) == ("kmeans", "more than 50 users")


def test_small_groups_are_no_clusters() -> None:
    vectors, truth = mixture(50, 30, 8)
    groups = group(vectors, method="kmeans", num_clusters=3, min_size=10)
    assert groups.num_clusters == 2
    assert (groups.labels[truth == 2] == UNCLUSTERED).all()


@pytest.mark.parametrize("method", ["auto", "hdbscan", "kmeans"])
def test_ten_thousand_identical_users_are_one_cluster(method: str) -> None:
    vectors = unit(np.ones((10_000, E)))
    groups = group(vectors, method=method)
    assert groups.num_clusters == 1
    assert (groups.labels == 0).all()
    np.testing.assert_allclose(groups.similarity, 1, atol=1e-5)


def test_identical_users_among_others() -> None:
    vectors, _ = mixture(50, 50)
    vectors[:30] = vectors[0]
    groups = group(vectors, method="hdbscan")
    assert len(set(groups.labels[:30].tolist())) == 1


def test_one_user() -> None:
    one = unit(np.ones((1, E)))
    alone = group(one)
    assert (alone.num_clusters, alone.labels.tolist()) == (0, [UNCLUSTERED])
    assert alone.centroids.shape == (0, E)
    assert group(one, num_clusters=1).labels.tolist() == [0]
    assert group(one, method="kmeans").num_clusters == 1


def test_as_many_clusters_as_users() -> None:
    vectors, _ = mixture(*[1] * E, spread=0.0)
    groups = group(vectors, method="kmeans", num_clusters=E)
    assert groups.labels.max() + 1 == groups.num_clusters <= E


def test_users_as_near_to_the_centroid_as_each_other_are_ties() -> None:
    one = np.random.default_rng(0).normal(size=(40, 2, E))
    vectors = (one / np.linalg.norm(one, axis=2, keepdims=True)).astype(np.float32)
    for pair in vectors:
        similarity = group(pair, method="kmeans", num_clusters=1).similarity
        assert similarity[0] == similarity[1]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"num_clusters": 11}, "num must be 1 to 10, the number of users, got 11"),
        ({"num_clusters": 0}, "num must be 1 to 10"),
        ({"num_clusters": 2, "method": "hdbscan"}, "drop --num"),
        ({"min_size": 1}, "min-size must be 2 or more, got 1"),
        ({"method": "magic"}, "method must be one of auto, hdbscan, kmeans"),
    ],
)
def test_what_is_refused(how: dict, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        group(mixture(10)[0], **how)
    with pytest.raises(InvalidRequest, match="recsys backfill"):
        group(np.zeros((0, E), dtype=np.float32))


class Pages:
    """Signatures that come page by page; the first page once more at the end, changed."""

    def __init__(self, batches: list[SignatureBatch]) -> None:
        self.batches = batches

    def count(self, model_version: str) -> int:
        return 1  # fewer than come: users are put meanwhile

    def last_sequence(self, model_version: str) -> int:
        return int(self.batches[-1].sequences[-1]) if self.batches else 0

    def changes(
        self, model_version: str, *, after: int, limit: int, learnable: bool = False
    ) -> SignatureBatch:
        return next(each for each in self.batches if each.sequences[0] > after)


def page(first: int, *users: str, value: float) -> SignatureBatch:
    sequences = np.arange(first, first + len(users))
    vectors = np.full((len(users), 4), value, dtype=np.float32)
    vectors[:, 0] = 1
    return SignatureBatch(users, sequences, np.ones(len(users), dtype=np.int64), vectors)


def test_signatures_are_read_page_by_page_each_user_once() -> None:
    pages = [page(1, "a", "b", value=0.0), page(3, "c", value=0.0), page(9, "a", value=3.0)]
    signatures = read_signatures(Pages(pages), "v1")
    assert signatures.user_ids == ("a", "b", "c")
    np.testing.assert_allclose(np.linalg.norm(signatures.vectors, axis=1), 1, atol=1e-6)
    assert signatures.vectors[0].tolist() == pytest.approx(
        (np.array([1, 3, 3, 3]) / 28**0.5).tolist()
    )
    assert signatures.vectors[1].tolist() == [1, 0, 0, 0]


def test_no_signatures_tells_what_to_run() -> None:
    with pytest.raises(NotFound, match="model version v1 are stored: run `recsys backfill`"):
        read_signatures(Pages([]), "v1")
