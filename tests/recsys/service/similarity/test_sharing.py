"""Of a cluster, other users are told what they may see of its members, and no more."""

import pytest

from recsys.client import RecsysClient
from storage.sharing import ImageSharing

GIVE_UP_S = 60.0


@pytest.fixture
def told(calls):
    """The images and words of both answers, which must agree."""

    def told():
        _, clusters = calls.list_clusters()
        listed = list(clusters)
        _, cluster, _ = calls.get_cluster(listed[0].cluster_id)
        assert cluster == listed[0]
        images = (*cluster.liked_images, *cluster.disliked_images)
        return [image.sha256 for image in images], [word.word for word in cluster.words]

    return told


def test_an_image_that_is_not_shareable_is_left_out(live, run, told):
    liked = live.store.read("ann").choices[0].choice.liked
    assert told() == ([liked], ["shade"])

    ImageSharing(live.store.database).mark([liked], shareable=False)

    assert told() == ([], ["shade"])
    (stored, _) = live.service._similarity._clusters.clusters(
        live.service._similarity._clusters.run(run).run_id
    )
    assert [image.sha256 for image in stored.liked_images] == [liked]  # staff see it on their page


def test_by_default_words_are_left_out_and_images_that_few_have_seen(
    live, run, make_live, monkeypatch
):
    """Another server of the same storage, with the settings as they come."""
    url = live.store.database.url.render_as_string(hide_password=False)
    strict = make_live(load=lambda _: live.loaded)
    strict.load()
    liked = live.store.read("ann").choices[0].choice.liked
    servicer = strict.service._similarity
    monkeypatch.setattr(servicer, "_clusters", live.service._similarity._clusters)
    monkeypatch.setattr(servicer, "_sharing", ImageSharing(live.store.database))
    with RecsysClient(strict.address, timeout_s=GIVE_UP_S) as client:

        def told():
            _, clusters = client.similarity.list_clusters("second")
            cluster = next(clusters)
            return [image.sha256 for image in cluster.liked_images], cluster.words

        assert url
        assert told() == ([], ())
        for user in ("bob", "cid"):
            live.store.append(_seen(live, user, liked))
        assert told() == ([liked], ())


def _seen(live, user, sha256):
    """A choice of another user that passes an image over."""
    choice = live.store.read(user).choices[0].choice
    return type(choice)(user, None, (sha256,), "", choice.chosen_at, "test")
