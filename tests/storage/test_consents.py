"""What users allow: everything at first, and what follows when they no longer do."""

import numpy as np
import pytest
from sqlalchemy import func, select

from storage.backfill_ledger import BackfillLedger, BackfillState, LedgerEntry
from storage.browsing import Browser
from storage.clusters.building import ClusterBuilder
from storage.clusters.records import ClusterDraft
from storage.clusters.runs import ClusterStore
from storage.coldstart.populations import ColdStartStore, StoredColdStart
from storage.coldstart.records import FirstQuestion, FirstQuestions
from storage.consents import ConsentStore
from storage.errors import InvalidRecord, PersonalizationOff, UserErased
from storage.records import Consent, Signature
from storage.signatures import SignatureStore
from storage.tables import BackfillRow, ClusterMemberRow, ColdStartRow, SignatureRow

VERSION = "v1"
VECTOR = np.array([1.0, 0.0], dtype=np.float32)


@pytest.fixture
def consents(store) -> ConsentStore:
    return ConsentStore(store.database, store.keys)


@pytest.fixture
def signatures(store, choose) -> SignatureStore:
    """Of ann, bob and cyd, with a choice each."""
    users = ("ann", "bob", "cyd")
    store.append_many([choose(user_id=user) for user in users])
    signatures = SignatureStore(store.database)
    signatures.put_many([Signature(user, VERSION, 1, VECTOR) for user in users])
    return signatures


def entry(user_id: str, revision: int = 1) -> LedgerEntry:
    return LedgerEntry(user_id, VERSION, revision, "job", BackfillState.DONE)


def run_of(store, *users: str) -> int:
    """A run of one cluster that has these members."""
    builder = ClusterBuilder(store.database)
    run_id = builder.begin(VERSION, "kmeans", {}, num_users=len(users))
    builder.add_members(run_id, users, [0] * len(users), [1.0] * len(users))
    builder.finish(run_id, [ClusterDraft(0, 1.0, VECTOR, (), (), ())])
    return run_id


def test_everything_is_allowed_at_first(store, consents, choose) -> None:
    store.append(*choose())
    for user_id in ("ann", "nobody"):
        assert consents.get(user_id) == Consent(personalize=True, learn_from=True)
        consents.check(user_id)
    assert store.user("ann").consent == Consent()


def test_it_may_be_said_before_the_first_choice(store, consents, choose) -> None:
    assert not consents.update("ann", personalize=False).personalize
    assert (store.user("ann").num_choices, store.user("ann").revision) == (0, 0)
    assert store.append(*choose()).stored.revision == 1
    assert not store.user("ann").consent.personalize
    assert consents.update("ann").personalize is False
    assert consents.update("ann", personalize=True) == Consent()


def test_what_was_read_from_them_goes_and_choices_stay(store, consents, signatures, choose) -> None:
    BackfillLedger(store.database).record([entry("ann"), entry("bob")])
    run_id = run_of(store, "ann", "bob")
    before = store.read("ann")
    consents.update("ann", personalize=False)
    with store.database.session() as session:
        for row in (SignatureRow, BackfillRow, ClusterMemberRow):
            users = set(session.scalars(select(row.user_id)))
            assert "ann" not in users
            assert "bob" in users
    (cluster,) = ClusterStore(store.database).clusters(run_id)
    assert cluster.size == 1
    assert store.read("ann") == before


def test_nothing_new_is_read_from_them(store, consents, signatures, choose) -> None:
    consents.update("ann", personalize=False)
    store.append_many([choose(user_id=user) for user in ("ann", "bob")])
    ledger = BackfillLedger(store.database)
    assert signatures.stale(VERSION) == [("bob", 2)]
    assert ledger.num_due(VERSION) == 1
    assert ledger.missing(VERSION).num_users == 1
    with pytest.raises(PersonalizationOff, match="'ann' is not personalised"):
        signatures.put(Signature("ann", VERSION, 1, VECTOR))
    late = [Signature(user, VERSION, 2, VECTOR) for user in ("ann", "bob")]
    assert signatures.put_many(late) == ["ann"]
    ledger.record([entry("ann")])
    assert ledger.entries(VERSION, ["ann"]) == {}
    run_of(store, "ann", "bob")
    with store.database.session() as session:
        assert session.scalar(select(func.count()).select_from(ClusterMemberRow)) == 1
    with pytest.raises(PersonalizationOff):
        consents.check("ann")


def test_who_has_never_chosen_needs_no_signature(store, consents, signatures) -> None:
    consents.update("dan", personalize=True)
    assert signatures.stale(VERSION) == []
    assert BackfillLedger(store.database).num_due(VERSION) == 0
    assert BackfillLedger(store.database).missing(VERSION).num_users == 0


def test_allowed_again_they_are_due(consents, signatures) -> None:
    consents.update("ann", personalize=False)
    consents.update("ann", personalize=True)
    assert signatures.stale(VERSION) == [("ann", 1)]


def test_who_was_erased_is_not_stored_by_a_consent(store, consents, choose) -> None:
    store.append(*choose())
    consents.update("ann", personalize=False)
    store.erase("ann")
    with pytest.raises(UserErased):
        consents.update("ann", personalize=False)
    assert store.user_ids() == []
    store.restore("ann")
    store.append(*choose())
    assert store.user("ann").consent == Consent()


@pytest.mark.parametrize("user_id", ["", "a\n", "u" * 257])
def test_a_bad_id_is_refused(store, consents, user_id: str) -> None:
    for call in (consents.get, consents.update):
        with pytest.raises(InvalidRecord, match="user_id"):
            call(user_id)
    assert store.user_ids() == []


def test_who_is_not_learned_from_leaves_clusters_and_first_questions(
    store, consents, signatures, choose, digest
) -> None:
    store.append(*choose(user_id="bob", liked="c", passed_over=("d",)))
    cold_starts = ColdStartStore(store.database)
    shared, own = (
        FirstQuestion(digest(first), digest(second), "a hill", 0.5)
        for first, second in (("a", "b"), ("c", "d"))
    )
    questions = FirstQuestions("a population", (shared, own))
    cold_starts.put(StoredColdStart(VERSION, 3, 7, b"", questions))
    run_id = run_of(store, "ann", "bob")

    assert consents.update("bob", learn_from=False) == Consent(personalize=True, learn_from=False)

    with store.database.session() as session:
        (row,) = session.scalars(select(ColdStartRow.first_questions))
    assert digest("c") not in row
    assert cold_starts.first_questions(VERSION).pairs == (shared,)
    (cluster,) = ClusterStore(store.database).clusters(run_id)
    assert cluster.size == 1
    assert signatures.get("bob", VERSION) is not None
    # Neither a fit nor a run that began before brings them back.
    cold_starts.put(StoredColdStart(VERSION, 3, 7, b"", questions))
    assert cold_starts.first_questions(VERSION).pairs == (shared,)
    run_of(store, "ann", "bob")
    with store.database.session() as session:
        assert set(session.scalars(select(ClusterMemberRow.user_id))) == {"ann"}


def test_lists_may_be_of_those_alone_who_may_be_learned_from(store, consents, signatures) -> None:
    consents.update("bob", learn_from=False)
    assert store.user_ids() == ["ann", "bob", "cyd"]
    assert store.user_ids(learnable=True) == ["ann", "cyd"]
    assert store.user_ids(after="ann", limit=1, learnable=True) == ["cyd"]
    changed = signatures.changes(VERSION, after=0, limit=10, learnable=True)
    assert changed.user_ids == ("ann", "cyd")
    assert signatures.changes(VERSION, after=0, limit=10).user_ids == ("ann", "bob", "cyd")
    assert [user.is_learnable for user in Browser(store.database).users(model_version=VERSION)] == [
        True,
        False,
        True,
    ]
