"""A user's signature as of now; the service's tests tell the rest, through a real server."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest

from recsys.errors import InvalidRequest, PreconditionFailed, Unavailable
from recsys.signatures.refresh import CurrentSignatures
from storage.errors import InvalidRecord, PersonalizationOff, UnknownUser
from storage.records import Choice, History, Signature, StoredChoice

LIKED, PASSED = "a" * 64, "b" * 64
ONE = np.eye(1, 8, dtype=np.float32)[0]


def stored(revision, passed_over=(PASSED,)):
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return StoredChoice(revision, revision, Choice("ann", LIKED, passed_over, "", when, "test"))


@dataclass
class Storage:
    """Histories, signatures and ledger of one user, ann."""

    choices: list = field(default_factory=lambda: [stored(1)])
    signature: Signature | None = None
    refusal: Exception | None = None
    stands: bool = True
    opted_out: set = field(default_factory=set)

    def read(self, user_id, *, limit=None):
        mine = self.choices if user_id == "ann" else []
        return History(user_id, len(mine), tuple(mine[-limit if limit else 0 :]))

    def revision(self, user_id):
        return self.read(user_id).revision

    def tombstone(self, user_id):
        return None

    def get(self, user_id, model_version):
        return self.signature

    def put(self, signature):
        if self.refusal is not None:
            raise self.refusal
        self.signature = signature

    def still_stored(self, choice_ids):
        return set(choice_ids) if self.stands else set()


@pytest.fixture
def storage():
    return Storage()


@pytest.fixture
def make(storage):
    def make(compute=lambda references: ONE, references=lambda pairs: list(pairs)):
        return CurrentSignatures(
            storage,
            storage,
            storage,
            "v1",
            compute,
            references,
            personalizes=lambda user_id: user_id not in storage.opted_out,
        )

    return make


def failing(_):
    raise Unavailable("the store of images fails")


def test_it_is_computed_once(make, storage):
    calls = []
    signatures = make(lambda references: calls.append(references) or ONE)

    for _ in range(2):
        current = signatures.of("ann")

    assert (len(calls), len(calls[0])) == (1, 1)
    assert not current.is_stale
    assert (storage.signature.revision, storage.signature.model_version) == (1, "v1")


def test_a_choice_that_comes_while_it_is_computed_makes_it_stale(make, storage):
    current = make(lambda _: storage.choices.append(stored(2)) or ONE).of("ann")

    assert current.is_stale
    assert current.signature.revision == 1


@pytest.mark.parametrize("user_id", ["", "a\n"])
def test_a_bad_id_is_refused(make, user_id):
    with pytest.raises(InvalidRequest):
        make().of(user_id)


def test_an_unknown_user_is_told(make):
    with pytest.raises(UnknownUser, match="bob"):
        make().of("bob")


def test_who_is_erased_meanwhile_is_unknown_and_nothing_is_stored(make, storage):
    storage.stands = False

    with pytest.raises(UnknownUser):
        make().of("ann")
    assert storage.signature is None


def test_who_came_again_meanwhile_is_to_be_asked_for_again(make, storage):
    storage.refusal = InvalidRecord("the user is at revision 0")

    with pytest.raises(Unavailable, match="call again"):
        make().of("ann")


def test_without_a_pair_there_is_none(make, storage):
    storage.choices = [stored(1, ())]

    with pytest.raises(PreconditionFailed, match="record one first"):
        make().of("ann")


def test_without_a_readable_image_there_is_none(make):
    with pytest.raises(PreconditionFailed, match="has none among 1 reference: restore"):
        make(references=lambda pairs: []).of("ann")


@pytest.mark.parametrize("references", [failing, lambda pairs: []])
def test_one_that_cannot_be_computed_anew_is_returned_and_says_so(make, storage, references):
    storage.choices = [stored(1), stored(2)]
    storage.signature = Signature("ann", "v1", 1, ONE)

    current = make(references=references).of("ann")

    assert current.is_stale
    assert current.signature is storage.signature


def test_a_vector_that_is_no_number_is_never_stored(make, storage):
    with pytest.raises(ArithmeticError):
        make(lambda _: ONE * np.float32("nan")).of("ann")

    assert storage.signature is None


def test_none_is_read_of_who_opted_out(make, storage):
    storage.opted_out.add("ann")
    calls = []
    with pytest.raises(PersonalizationOff, match="'ann'"):
        make(lambda references: calls.append(references) or ONE).of("ann")
    assert (calls, storage.signature) == ([], None)
