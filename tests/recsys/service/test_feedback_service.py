"""RecordChoice through a real channel."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import grpc
import pytest

from recsys.errors import ImageRefused, InvalidRequest, NotFound, PreconditionFailed
from recsys.reasons import Reason
from recsys.v1 import feedback_service_pb2, feedback_service_pb2_grpc
from recsys.v1.image_pb2 import Image
from storage.records import SharingRules
from storage.sharing import ImageSharing


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def test_a_choice_is_stored_with_its_images(live, client, png):
    chosen_at = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)

    answer = client.record_choice(
        "ann 🙂",
        liked=png(1),
        passed_over=[png(2), png(3)],
        prompt="a cat 🐈",
        chosen_at=chosen_at,
        request_id="r-1",
    )

    (stored,) = live.store.read("ann 🙂").choices
    assert answer.stored == stored
    assert not answer.repeated
    assert (stored.revision, stored.choice.source) == (1, "rpc")
    assert stored.choice.liked == digest(png(1))
    assert stored.choice.passed_over == (digest(png(2)), digest(png(3)))
    assert stored.choice.prompt == "a cat 🐈"
    assert stored.choice.chosen_at == chosen_at
    assert stored.choice.request_id == "r-1"
    assert live.store.image(digest(png(3))) == png(3)
    facts = live.store.image_facts(digest(png(1)))
    assert (facts.media_type, facts.width, facts.height) == ("image/png", 8, 6)


def test_images_are_marked_as_shareable_when_the_caller_says_so(live, client, png):
    def shown():
        names = [digest(png(n)) for n in (1, 2)]
        return ImageSharing(live.store.database).shown_among(names, SharingRules(1))

    client.record_choice("ann", liked=png(1), passed_over=[png(2)])
    assert shown() == set()
    client.record_choice("bob", liked=digest(png(1)), shareable=True)
    assert shown() == {digest(png(1))}


def test_an_instant_of_another_zone_is_the_same_instant(client):
    zone = timezone(timedelta(hours=5))
    chosen_at = datetime(2026, 3, 1, 12, tzinfo=zone)

    with pytest.raises(NotFound):  # the time has been read by then
        client.record_choice("ann", liked="a" * 64, chosen_at=chosen_at)
    with pytest.raises(InvalidRequest, match="time zone"):
        client.record_choice("ann", liked="a" * 64, chosen_at=chosen_at.replace(tzinfo=None))


@pytest.mark.parametrize("reason", [Reason.IMAGE_NOT_FOUND, Reason.IMAGE_BLOCKED])
@pytest.mark.parametrize("place", ["liked", "passed_over[0]", "passed_over[1]"])
def test_an_image_that_storage_refuses_is_named(client, png, reason, place):
    bad = digest(png(9))
    if reason is Reason.IMAGE_BLOCKED:
        client.images.block(bad)
    places = dict(
        zip(("liked", "passed_over[0]", "passed_over[1]"), map(png, range(3)), strict=True)
    )
    places[place] = bad

    with pytest.raises((NotFound, PreconditionFailed)) as refused:
        record(client, places)

    assert (refused.value.reason, refused.value.field) == (reason, f"{place}.sha256")
    assert bad in str(refused.value)


def test_the_bytes_of_a_blocked_image_are_named_and_advice_is_for_whom_it_concerns(client, png):
    for shade in (8, 9):
        client.images.block(digest(png(shade)))
    blocked = {"liked": png(1), "passed_over[0]": png(9), "passed_over[1]": digest(png(8))}

    with pytest.raises(PreconditionFailed, match="leave the choice out; the operator") as refused:
        record(client, blocked)

    assert refused.value.field == "passed_over[0].data"


def record(client, places):
    liked, *passed_over = places.values()
    return client.record_choice("ann", liked=liked, passed_over=passed_over)


@pytest.mark.parametrize(
    "chosen_at",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
    ],
    ids=["before year 1 in UTC", "after year 9999 in UTC"],
)
def test_an_instant_that_no_message_can_hold_is_out_of_range(client, chosen_at):
    with pytest.raises(InvalidRequest, match="years 2 to 9998") as refused:
        client.record_choice("ann", liked="a" * 64, chosen_at=chosen_at)
    assert (refused.value.field, refused.value.reason) == ("chosen_at", Reason.CHOSEN_AT_INVALID)


def test_without_a_time_it_is_now(client, png):
    before = datetime.now(UTC)

    stored = client.record_choice("ann", liked=png(1)).stored

    assert before <= stored.choice.chosen_at <= datetime.now(UTC)


def test_a_repeated_request_returns_the_first_answer(live, client, png):
    first = client.record_choice("ann", liked=png(1), passed_over=[png(2)], request_id="r")
    again = client.record_choice("ann", liked=png(3), prompt="other", request_id="r")

    assert again.repeated
    assert again.stored == first.stored
    assert live.store.revision("ann") == 1
    assert not live.store.blobs.exists(digest(png(3)))


def test_request_ids_are_each_users_own(live, client, png):
    client.record_choice("ann", liked=png(1), request_id="r")

    assert not client.record_choice("bob", liked=png(1), request_id="r").repeated
    assert not client.record_choice("ann", liked=png(1), request_id="s").repeated
    assert live.store.revision("ann") == 2


def test_many_at_once_with_one_request_id_are_one(live, client, png):
    def record(_):
        return client.record_choice("ann", liked=png(1), passed_over=[png(2)], request_id="r")

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(record, range(8)))

    assert len({answer.stored for answer in answers}) == 1
    assert [answer.repeated for answer in answers].count(False) == 1
    assert live.store.revision("ann") == 1


def test_without_a_request_id_the_client_gives_one(live, client, png):
    """Or a call that gRPC tries again could be stored twice."""
    client.record_choice("ann", liked=png(1))
    client.record_choice("ann", liked=png(1))

    ids = [each.choice.request_id for each in live.store.read("ann").choices]
    assert len(set(ids)) == 2
    assert all(ids)


def test_a_caller_without_one_stores_each_call(live, channel, png):
    stub = feedback_service_pb2_grpc.FeedbackServiceStub(channel)
    request = feedback_service_pb2.RecordChoiceRequest(user_id="ann", liked=Image(data=png(1)))

    answers = [stub.RecordChoice(request) for _ in range(2)]

    assert [(each.choice.revision, each.is_repeat) for each in answers] == [(1, False), (2, False)]
    assert answers[0].choice.request_id == ""


def test_only_passed_over_is_a_choice(client, png):
    stored = client.record_choice("ann", passed_over=[png(1)]).stored

    assert stored.choice.liked is None
    assert client.get_user("ann").num_pairs == 0


def test_stored_images_can_be_named(client, png):
    first = client.record_choice("ann", liked=png(1), passed_over=[png(2)]).stored.choice

    second = client.record_choice("bob", liked=first.passed_over[0], passed_over=[first.liked])

    assert second.stored.choice.liked == digest(png(2))


def test_an_unknown_image_is_not_found_and_nothing_is_stored(live, client, png):
    with pytest.raises(NotFound, match="send its bytes"):
        client.record_choice("ann", liked=png(1), passed_over=["0" * 64])

    assert live.store.revision("ann") == 0


TRUNCATED = b"\x89PNG\r\n\x1a\n" + b"\0" * 10


@pytest.mark.parametrize("data", [b"text", b"", TRUNCATED], ids=["text", "empty", "truncated"])
@pytest.mark.parametrize("field", ["liked.data", "passed_over[1].data"])
def test_an_image_that_is_none_is_named_and_nothing_is_stored(live, client, png, data, field):
    images = {"liked": data, "passed_over": [png(2)]}
    if field != "liked.data":
        images = {"liked": png(1), "passed_over": [png(2), data]}

    with pytest.raises(ImageRefused) as refused:
        client.record_choice("ann", **images)

    assert refused.value.field == field
    assert live.store.revision("ann") == 0
    assert not live.store.blobs.exists(digest(png(2)))


def test_an_image_with_damaged_pixels_is_refused(client, png):
    whole = png(1)
    at = whole.index(b"IDAT") + 8
    damaged = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]

    with pytest.raises(ImageRefused):
        client.record_choice("ann", liked=damaged)


@pytest.mark.parametrize(
    ("user_id", "values", "field"),
    [
        ("", {"liked": "0" * 64}, "user_id"),
        ("u" * 1000, {"liked": "0" * 64}, "user_id"),
        ("a\0b", {"liked": "0" * 64}, "user_id"),
        ("ann", {}, "liked"),
        ("ann", {"liked": "0" * 63}, "liked.sha256"),
        ("ann", {"liked": "0" * 64, "passed_over": ["../x"]}, "passed_over[0].sha256"),
        ("ann", {"liked": "0" * 64, "passed_over": ["0" * 64]}, "passed_over[0]"),
        ("ann", {"passed_over": ["1" * 64, "0" * 64, "1" * 64]}, "passed_over[2]"),
        ("ann", {"passed_over": [f"{n:064x}" for n in range(257)]}, "passed_over"),
        ("ann", {"liked": "0" * 64, "prompt": "p" * 10_001}, "prompt"),
        ("ann", {"liked": "0" * 64, "prompt": "nul \0"}, "prompt"),
        ("ann", {"liked": "0" * 64, "request_id": "r" * 129}, "request_id"),
        ("ann", {"liked": "0" * 64, "request_id": "\0"}, "request_id"),
    ],
)
def test_a_choice_that_breaks_a_rule_names_the_field(live, client, user_id, values, field):
    with pytest.raises(InvalidRequest) as refused:
        client.record_choice(user_id, **values)

    assert refused.value.field == field
    assert "must" in str(refused.value)
    assert live.store.user_ids() == []


def test_an_image_without_a_source_is_named(channel):
    stub = feedback_service_pb2_grpc.FeedbackServiceStub(channel)
    request = feedback_service_pb2.RecordChoiceRequest(user_id="ann", passed_over=[Image()])

    with pytest.raises(grpc.RpcError) as refused:
        stub.RecordChoice(request)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "passed_over[0]" in refused.value.details()


@pytest.mark.parametrize("seconds", [2**62, -(2**62)])
def test_a_time_that_is_none_is_named(channel, seconds):
    stub = feedback_service_pb2_grpc.FeedbackServiceStub(channel)
    request = feedback_service_pb2.RecordChoiceRequest(user_id="ann", liked=Image(sha256="0" * 64))
    request.chosen_at.seconds = seconds

    with pytest.raises(grpc.RpcError) as refused:
        stub.RecordChoice(request)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "chosen_at" in refused.value.details()
