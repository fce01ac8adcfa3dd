"""Any sequence of appends, repeats, signatures, erasures and restorations against a few lists."""

import itertools
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from storage.blobs import BlobStore
from storage.errors import UnknownUser, UserErased
from storage.histories import HistoryStore
from storage.records import Signature
from storage.signatures import SignatureStore

USERS = st.sampled_from(["ann", "bob", "😀"])
IMAGES = st.lists(st.sampled_from("abcde"), min_size=1, max_size=3, unique=True)
REQUESTS = st.none() | st.sampled_from("rs")
CHOICES = st.tuples(USERS, IMAGES, st.booleans(), REQUESTS)
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(CHOICES, min_size=1, max_size=3)),
    st.tuples(st.just("sign"), USERS),
    st.tuples(st.just("erase"), USERS),
    st.tuples(st.just("restore"), USERS),
)


class Model:
    """What a storage should hold."""

    def __init__(self) -> None:
        self.choices: dict[str, list] = {}
        self.signed: set[str] = set()
        self.erased: set[str] = set()

    def append(self, choice) -> tuple[int, bool]:
        """The revision that is answered, and whether it is a repeat."""
        mine = self.choices.setdefault(choice.user_id, [])
        for place, earlier in enumerate(mine):
            if choice.request_id is not None and earlier.request_id == choice.request_id:
                return place + 1, True
        mine.append(choice)
        return len(mine), False

    def named(self) -> set[str]:
        """Images that any choice names."""
        everything = itertools.chain.from_iterable(self.choices.values())
        return {sha for each in everything for sha in (*each.passed_over, each.liked) if sha}

    def erase(self, user_id: str) -> tuple[int, int, int]:
        """Numbers of choices, signatures and images that go."""
        before = self.named()
        num_choices = len(self.choices.pop(user_id))
        num_signatures = len(self.signed & {user_id})
        self.signed -= {user_id}
        self.erased |= {user_id}
        return num_choices, num_signatures, len(before - self.named())


def step(store: HistoryStore, model: Model, choose, name: str, argument) -> None:
    """Do the same to both, and compare the answers."""
    if name == "append":
        items = [
            choose(
                user_id=user,
                liked=images[0] if likes else None,
                passed_over=tuple(images[likes:]),
                request_id=request,
            )
            for user, images, likes, request in argument
        ]
        erased = {choice.user_id for choice, _ in items} & model.erased
        if erased:
            with pytest.raises(UserErased) as refused:
                store.append_many(items)
            assert set(refused.value.user_ids) == erased
            return
        answers = store.append_many(items)
        results = [(answer.stored.revision, answer.repeated) for answer in answers]
        assert results == [model.append(choice) for choice, _ in items]
    elif name == "restore" and argument in model.erased:
        store.restore(argument)
        model.erased.remove(argument)
    elif name == "restore" or argument not in model.choices:
        with pytest.raises(UnknownUser):
            sign(store, argument, 0) if name == "sign" else getattr(store, name)(argument)
    elif name == "sign":
        sign(store, argument, len(model.choices[argument]))
        model.signed.add(argument)
    else:
        erased = store.erase(argument)
        assert (erased.num_choices, erased.num_signatures, erased.num_images) == model.erase(
            argument
        )


def sign(store: HistoryStore, user_id: str, revision: int) -> None:
    signature = Signature(user_id, "v1", revision, np.ones(2, dtype=np.float32))
    SignatureStore(store.database).put(signature)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, max_size=12))
def test_storage_holds_what_a_few_lists_would(
    database, store, choose, whole, tmp_path: Path, numbers, steps: list
) -> None:
    # Each sequence begins with nothing: its own bytes, and everybody erased.
    blobs = BlobStore(f"file://{tmp_path}/{next(numbers)}")
    store = HistoryStore(database, blobs, store.keys)
    model = Model()
    try:
        for name, argument in steps:
            step(store, model, choose, name, argument)
        assert whole(store) == model.choices
    finally:
        for user in store.user_ids():
            store.erase(user)
        for user in model.erased | model.choices.keys():
            store.restore(user)
    assert whole(store) == {}


@pytest.fixture
def numbers():
    """One after another."""
    return itertools.count()
