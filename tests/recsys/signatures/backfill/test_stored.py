"""A run on real storage: nobody twice, whoever fails, leaves or chooses meanwhile."""

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from recsys.errors import Unavailable
from recsys.history import ReferencePair, references_of
from recsys.signatures.backfill import BackfillSummary
from recsys.signatures.chunk import MAX_ERRORS_IN_A_ROW
from storage.backfill_ledger import BackfillState
from storage.errors import PersonalizationOff, UnknownUser
from storage.tables import ChoiceRow
from storage.takedowns import ImageTakedowns

VERSION = "v1"
USERS = [f"u{number}" for number in range(8)]


def test_everybody_is_brought_up_to_date_once(world, vector_of) -> None:
    world.choose(*USERS)
    summary = world.backfill().run()
    assert (summary.num_done, summary.num_tried) == (8, 8)
    assert world.revisions(*USERS) == [1] * 8
    assert world.reader.num_read == dict.fromkeys(USERS, 1)
    assert world.backfill().run().num_tried == 0
    world.choose("u3")
    assert world.backfill().run().num_done == 1
    assert world.reader.num_read["u3"] == 2
    assert world.revisions("u2", "u3") == [1, 2]
    pairs = references_of(world.store.read("u3"), 2)
    stored = world.signatures.get("u3", VERSION)
    assert stored.vector.tolist() == vector_of(pairs).tolist()
    assert world.ledger.entries(VERSION, ["u3"])["u3"].revision == 2


def test_who_failed_is_left_alone_until_asked_or_changed(world, fail_for) -> None:
    world.choose(*USERS)
    world.reader.before = fail_for("u1", "u5")
    summary = world.backfill().run()
    assert (summary.num_done, summary.num_failed) == (6, 2)
    failures = world.ledger.failures(VERSION)
    assert [(each.user_id, each.error) for each in failures] == [
        ("u1", "ValueError: no u1"),
        ("u5", "ValueError: no u5"),
    ]
    again = world.backfill().run()
    assert (again.num_tried, again.num_failed_before) == (0, 2)
    world.choose("u5")
    assert world.backfill().run().num_failed == 1  # tried again, for there is something new
    assert world.reader.num_read["u5"] == 2
    world.reader.before = fail_for()
    retried = world.backfill(retry_failed=True).run()
    assert (retried.num_done, retried.num_failed_before) == (2, 0)
    assert world.revisions("u1", "u5") == [1, 2]
    assert world.ledger.failures(VERSION) == []


def test_who_has_no_pair_is_skipped_until_there_is_one(world) -> None:
    world.choose("ann", "bob", liked=None)
    summary = world.backfill().run()
    assert (summary.num_skipped, summary.num_failed, summary.num_done) == (2, 0, 0)
    assert world.state("ann") == BackfillState.SKIPPED
    again = world.backfill(retry_failed=True).run()
    assert (again.num_tried, again.num_skipped_before) == (0, 2)
    world.choose("ann")
    assert world.backfill().run().num_done == 1
    assert world.revisions("ann", "bob") == [2, None]


def test_a_model_version_starts_anew_and_leaves_the_other_alone(world, fail_for) -> None:
    world.choose("ann", "bob")
    world.reader.before = fail_for("bob")
    world.backfill().run()
    before = world.signatures.get("ann", VERSION).vector.tolist()
    world.reader.before = fail_for()
    world.reader.model_version = "v2"
    assert world.backfill().run().num_done == 2
    assert world.signatures.get("ann", VERSION).vector.tolist() == before
    assert world.state("bob") == BackfillState.FAILED


@pytest.mark.parametrize("comes_again", [False, True])
def test_who_is_erased_in_the_middle_of_a_chunk_is_left_out(
    world, comes_again: bool, fail_for
) -> None:
    """Also if as many choices were made since: a revision alone would not tell."""
    world.choose(*USERS)

    def erase(prompt: str) -> None:
        if prompt == "u1":
            world.store.erase("u1")
            if comes_again:
                world.store.restore("u1")
                world.choose("u1", liked="another")

    world.reader.before = erase
    summary = world.backfill().run()
    assert (summary.num_done, summary.num_erased, summary.num_failed) == (7, 1, 0)
    assert world.revisions("u0", "u1", "u2") == [1, None, 1]
    assert world.ledger.entries(VERSION, ["u1"]) == {}
    world.reader.before = fail_for()
    assert world.backfill().run().num_done == (1 if comes_again else 0)


def test_what_was_read_from_an_image_that_is_taken_down_meanwhile_is_not_stored(
    world, fail_for
) -> None:
    """Although the newest choice is stored still, and the revision has been reached."""
    world.choose("ann", liked="bad")
    world.choose("ann", liked=None)
    world.choose("bob")

    def take_down(prompt: str) -> None:
        if prompt == "ann":
            takedowns = ImageTakedowns(world.store.database, world.store.blobs)
            takedowns.remove(hashlib.sha256(b"image bad").hexdigest())

    world.reader.before = take_down
    summary = world.backfill().run()
    assert (summary.num_done, summary.num_erased) == (1, 1)
    assert world.revisions("ann", "bob") == [None, 1]
    world.reader.before = fail_for()
    assert world.backfill().run().num_skipped == 1
    assert world.revisions("ann") == [None]


def test_who_is_skipped_keeps_no_signature_from_before(world) -> None:
    world.choose("ann")
    world.backfill().run()
    world.choose("ann", liked=None)
    with world.store.database.writing() as session:  # as an earlier version left it
        session.execute(update(ChoiceRow).values(liked=None))
    assert world.revisions("ann") == [1]
    assert world.backfill().run().num_skipped == 1
    assert world.revisions("ann") == [None]


def test_a_run_that_is_stopped_goes_on_where_it_was(world, fail_for) -> None:
    world.choose(*USERS)

    def stop(prompt: str) -> None:
        if prompt == "u4":
            raise KeyboardInterrupt

    world.reader.before = stop
    with pytest.raises(KeyboardInterrupt):
        world.backfill().run()
    assert world.revisions(*USERS) == [1, 1, 1, None, None, None, None, None]
    world.reader.before = fail_for()
    assert world.backfill().run().num_done == 5
    lost = {name: times for name, times in world.reader.num_read.items() if times > 1}
    assert lost == {"u3": 2, "u4": 2}  # of the chunk it was at


def test_stopped_between_signatures_and_ledger_nothing_is_repeated(
    world, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.choose(*USERS)
    with monkeypatch.context() as patch:
        patch.setattr(world.ledger, "record", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.backfill().run()
    world.backfill().run()
    assert world.reader.num_read == dict.fromkeys(USERS, 1)


@pytest.mark.parametrize("chunk_size", [3, 20, 40])
def test_an_outage_costs_nobody_their_next_try(world, chunk_size: int) -> None:
    users = [f"u{number:02}" for number in range(40)]
    world.choose(*users)

    def unanswered(pairs: Sequence[ReferencePair]) -> Sequence[ReferencePair]:
        if pairs[0].prompt >= "u10":
            raise Unavailable("the store of images fails: no answer")
        return pairs

    run = world.backfill(references=unanswered, chunk_size=chunk_size)
    if chunk_size > MAX_ERRORS_IN_A_ROW:  # nobody waits for the same answer so many times
        with pytest.raises(Unavailable, match="16 users in a row"):
            run.run()
    else:
        assert run.run().num_failed == 30
        assert len(world.ledger.failures(VERSION)) == 30
    summary = world.backfill().run()
    assert summary.num_failed_before == 0
    assert world.revisions(*users) == [1] * 40


def test_one_user_by_name(world, fail_for) -> None:
    world.choose("ann", "bob")
    world.reader.before = fail_for("ann")
    assert world.backfill().run_for("ann").num_failed == 1
    assert world.backfill().run_for("ann").num_failed == 1  # asked for by name: tried again
    world.reader.before = fail_for()
    assert world.backfill().run_for("ann").num_done == 1
    assert world.backfill().run_for("ann").num_tried == 0
    assert world.revisions("ann", "bob") == [1, None]
    with pytest.raises(UnknownUser, match="'cyd'"):
        world.backfill().run_for("cyd")


def test_two_at_once_store_nothing_wrong(world, vector_of) -> None:
    users = [f"u{number:02}" for number in range(30)]
    world.choose(*users)
    gate = threading.Barrier(2, timeout=30)

    def run() -> BackfillSummary:
        gate.wait()
        return world.backfill().run()

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(run) for _ in range(2)]
        world.choose(*users[::3])
        summaries = [job.result() for job in jobs]
    assert sum(each.num_failed + each.num_erased for each in summaries) == 0
    assert sum(each.num_done for each in summaries) >= 30
    world.backfill().run()
    for each in users:
        stored = world.signatures.get(each, VERSION)
        history = world.store.read(each)
        assert stored.revision == history.revision
        assert stored.vector.tolist() == vector_of(references_of(history, 2)).tolist()


def test_who_opted_out_gets_no_signature_and_is_no_failure(world, reader):
    world.choose("ann", "bob")
    world.consents.update("ann", personalize=False)
    summary = world.backfill().run()
    assert (summary.num_done, summary.num_tried) == (1, 1)
    assert world.revisions("ann", "bob") == [None, 1]
    assert reader.num_read["ann"] == 0
    with pytest.raises(PersonalizationOff, match="'ann'"):
        world.backfill().run_for("ann")


def test_who_opts_out_while_it_is_computed_gets_none(world, reader):
    world.choose("ann", "bob")
    reader.before = lambda prompt: (
        world.consents.update("ann", personalize=False) if prompt == "ann" else None
    )
    summary = world.backfill().run()
    assert (summary.num_done, summary.num_erased) == (1, 1)
    assert world.revisions("ann", "bob") == [None, 1]
