"""RankCandidates through a real channel."""

import struct
import zlib

import pytest

from recsys.errors import InvalidRequest, PreconditionFailed
from recsys.ranking.candidates import Candidate, CandidateStatus, Personalization
from recsys.reasons import Reason
from storage.takedowns import ImageTakedowns


def order(ranking):
    return [each.id for each in ranking.candidates]


def bomb() -> bytes:
    """A PNG whose header promises 50,000 x 50,000 pixels."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))


def test_an_unknown_user_gets_the_general_taste(client, candidate):
    ranking = client.rank("ann", [candidate("dark", 10), candidate("bright", 200)])

    assert order(ranking) == ["bright", "dark"]
    assert [each.rank for each in ranking.candidates] == [1, 2]
    assert ranking.user_id == "ann"
    assert ranking.model_version == "fake-version"
    assert ranking.personalization is Personalization.COLD_START
    assert ranking.num_references == 0


def test_a_score_is_what_the_model_said(client, candidate):
    (ranked,) = client.rank("ann", [candidate("grey", 102)]).candidates

    assert ranked.score == pytest.approx(102 / 255 * 0.9 + 0.05, abs=1e-6)
    assert ranked.status is CandidateStatus.RANKED
    assert ranked.message == ""


def test_what_a_user_chooses_changes_the_next_ranking(client, candidate, png):
    candidates = [candidate("dark", 10), candidate("bright", 200)]
    assert order(client.rank("ann", candidates)) == ["bright", "dark"]

    client.record_choice("ann", liked=png(0), passed_over=[png(255)])
    once = client.rank("ann", candidates)
    client.record_choice("ann", liked=png(1), passed_over=[png(254)])
    twice = client.rank("ann", candidates)

    assert order(once) == order(twice) == ["dark", "bright"]
    assert (once.personalization, once.num_references) == (Personalization.PARTIAL, 1)
    assert (twice.personalization, twice.num_references) == (Personalization.WARM, 2)
    assert order(client.rank("bob", candidates)) == ["bright", "dark"]


def test_a_history_without_pairs_is_a_cold_start(client, candidate, png):
    client.record_choice("ann", liked=png(0))

    ranking = client.rank("ann", [candidate("a", 1)])

    assert ranking.personalization is Personalization.COLD_START


def test_erase_then_rank_is_a_cold_start(client, candidate, png):
    candidates = [candidate("dark", 10), candidate("bright", 200)]
    client.record_choice("ann", liked=png(0), passed_over=[png(255)])
    assert order(client.rank("ann", candidates)) == ["dark", "bright"]

    client.erase_user("ann")
    erased = client.rank("ann", candidates)
    client.restore_user("ann")
    # The first choice of a new life has the revision of the first of the old one.
    client.record_choice("ann", liked=png(254), passed_over=[png(1)])
    reborn = client.rank("ann", candidates)

    assert order(erased) == ["bright", "dark"]
    assert erased.personalization is Personalization.COLD_START
    assert order(reborn) == ["bright", "dark"]
    assert reborn.num_references == 1


def test_a_stored_image_is_ranked_by_its_digest(client, candidate, png):
    stored = client.record_choice("ann", liked=png(250), passed_over=[png(3)]).stored.choice

    ranking = client.rank(
        "bob", [candidate("sent", 100), Candidate("known", "", sha256=stored.liked)]
    )

    assert order(ranking) == ["known", "sent"]


def test_bad_candidates_do_not_fail_the_good_ones(client, candidate):
    unknown = "0" * 64
    candidates = [
        Candidate("text", "", image=b"I am not an image"),
        candidate("dark", 10),
        Candidate("bomb", "", image=bomb()),
        Candidate("empty", "", image=b""),
        Candidate("unknown", "", sha256=unknown),
        candidate("bright", 200),
    ]

    ranking = client.rank("ann", candidates)

    assert order(ranking) == ["bright", "dark", "text", "bomb", "empty", "unknown"]
    statuses = {each.id: each.status for each in ranking.candidates}
    assert (
        statuses["text"] is statuses["bomb"] is statuses["empty"] is CandidateStatus.INVALID_IMAGE
    )
    assert statuses["unknown"] is CandidateStatus.IMAGE_NOT_FOUND
    failed = ranking.candidates[2:]
    assert [(each.score, each.rank) for each in failed] == [(None, None)] * 4
    assert all(each.message for each in failed)
    assert [each.reason for each in failed] == [
        "IMAGE_TYPE_UNSUPPORTED",
        "IMAGE_TOO_LARGE",
        "IMAGE_TYPE_UNSUPPORTED",
        "IMAGE_NOT_FOUND",
    ]
    assert {each.reason for each in ranking.candidates[:2]} == {""}
    assert "50,000 × 50,000" in failed[1].message
    assert unknown in failed[3].message


def test_a_blocked_image_is_not_scored_and_not_recorded(live, client, candidate, png):
    """Whoever has blocked it: each call asks the database."""
    stored = client.record_choice("ann", liked=png(250), passed_over=[png(3)]).stored.choice
    ImageTakedowns(live.store.database, live.store.blobs).block(stored.liked)

    ranking = client.rank(
        "ann",
        [candidate("sent", 250), candidate("a", 10), Candidate("known", "", sha256=stored.liked)],
    )

    assert order(ranking) == ["a", "sent", "known"]
    assert [each.status for each in ranking.candidates[1:]] == [CandidateStatus.BLOCKED] * 2
    assert {each.reason for each in ranking.candidates[1:]} == {"IMAGE_BLOCKED"}
    assert ranking.num_references == 0
    for image in (png(250), stored.liked):
        with pytest.raises(PreconditionFailed, match="taken down") as refused:
            client.record_choice("bob", liked=image)
        assert refused.value.reason == Reason.IMAGE_BLOCKED


def test_nothing_but_bad_candidates_is_an_answer(client):
    ranking = client.rank("ann", [Candidate("text", "", image=b"no image")])

    assert [each.status for each in ranking.candidates] == [CandidateStatus.INVALID_IMAGE]


def test_emoji_and_long_prompts_are_fine(client, candidate):
    candidates = [candidate("🐈", 10, prompt="🐈‍⬛" * 10), candidate("b", 20, prompt="p" * 10_000)]

    assert order(client.rank("ann 🙂", candidates)) == ["b", "🐈"]


IMAGE = Candidate("a", "", image=b"x")


@pytest.mark.parametrize(
    ("user_id", "candidates", "field"),
    [
        ("ann", [], "candidates"),
        ("ann", [Candidate(str(n), "", image=b"x") for n in range(257)], "candidates"),
        ("ann", [IMAGE, Candidate("b", "", image=b"x"), IMAGE], "candidates[2].id"),
        ("ann", [Candidate("", "", image=b"x")], "candidates[0].id"),
        ("ann", [Candidate("a", "")], "candidates[0].image"),
        ("ann", [Candidate("a", "", sha256="../../etc/passwd")], "candidates[0].image.sha256"),
        ("ann", [Candidate("a", "p" * 10_001, image=b"x")], "candidates[0].prompt"),
        ("ann", [Candidate("a", "nul \0", image=b"x")], "candidates[0].prompt"),
        ("", [IMAGE], "user_id"),
        ("u" * 1000, [IMAGE], "user_id"),
        ("nul \0", [IMAGE], "user_id"),
        ("line\nbreak", [IMAGE], "user_id"),
    ],
)
def test_a_request_that_breaks_a_rule_names_the_field(client, user_id, candidates, field):
    with pytest.raises(InvalidRequest) as refused:
        client.rank(user_id, candidates)

    assert refused.value.field == field
    assert "must" in str(refused.value)


def test_a_request_id_has_a_limit(client):
    with pytest.raises(InvalidRequest) as refused:
        client.rank("ann", [IMAGE], request_id="r" * 129)

    assert refused.value.field == "request_id"
