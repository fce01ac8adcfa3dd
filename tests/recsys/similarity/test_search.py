"""The neighbours of a user, and what they both like; no storage and no model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pytest

from recsys.errors import NotFound
from recsys.signatures.records import CurrentSignature
from recsys.similarity.records import SimilarUser, SimilarUsers
from recsys.similarity.rows import Neighbour
from recsys.similarity.search import (
    MAX_CHOICES_COMPARED,
    MAX_RANK,
    find_similar,
    shared_prompts,
    shared_tastes,
    shared_words,
)
from storage.errors import UnknownUser
from storage.records import Choice, Signature, StoredChoice

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeIndex:
    neighbours: Sequence[Neighbour]
    asked: list = field(default_factory=list)

    def search(self, vector, k, *, exclude=()):
        self.asked.append((k, tuple(exclude)))
        return list(self.neighbours[:k])


@pytest.fixture
def ann():
    vector = np.eye(1, 8, dtype=np.float32)[0]
    return CurrentSignature(Signature("ann", "v1", 3, vector), is_stale=True)


@pytest.fixture
def index():
    return FakeIndex([Neighbour(name, 1 - n / 10, n) for n, name in enumerate("bcde")])


@pytest.mark.parametrize(
    ("k", "after", "names", "has_more"),
    [
        (1, 0, "b", True),
        (3, 0, "bcd", True),
        (4, 0, "bcde", False),
        (99, 0, "bcde", False),
        (2, 1, "cd", True),
        (2, 2, "de", False),
        (2, 4, "", False),
        (2, 99, "", False),
    ],
)
def test_a_slice_of_the_nearest_is_found(ann, index, k, after, names, has_more):
    similar = find_similar(ann, index, k, after=after)

    assert "".join(each.user_id for each in similar.users) == names
    assert similar.has_more is has_more
    assert (similar.user_id, similar.model_version, similar.revision) == ("ann", "v1", 3)
    assert similar.is_stale
    assert index.asked == [(after + k + 1, ("ann",))]


@pytest.mark.parametrize(
    ("k", "after", "number"), [(2, MAX_RANK - 1, 1), (2, MAX_RANK, 0), (1, 2**62, 0)]
)
def test_nobody_is_found_behind_the_last_rank(ann, k, after, number):
    index = FakeIndex([Neighbour(str(n), 0.0, n) for n in range(MAX_RANK + 5)])

    similar = find_similar(ann, index, k, after=after)

    assert len(similar.users) == number
    assert not similar.has_more
    assert all(asked == MAX_RANK + 1 for asked, _ in index.asked)


def test_a_similarity_is_never_above_one(ann):
    rounded = [Neighbour("b", 1.0000002, 1), Neighbour("c", -1.0000001, 2)]
    similar = find_similar(ann, FakeIndex(rounded), 2)

    assert [each.similarity for each in similar.users] == [1, -1]


@pytest.mark.parametrize(("k", "after"), [(0, 0), (-1, 0), (1, -1)])
def test_a_number_out_of_range_is_refused(ann, index, k, after):
    with pytest.raises(ValueError, match="k must be at least 1"):
        find_similar(ann, index, k, after=after)


def test_shared_prompts_are_those_that_both_liked_most_images_of():
    own = ["a fox", "a fox", "the sea", "the sea", "a hat", ""]
    theirs = ["A  Fox ", "a fox", "a fox", "The sea", "a hat", "a hat", "a dog", ""]

    # a fox: 2 of both, then one each of a hat and the sea, by alphabet.
    assert shared_prompts(own, theirs) == ("a fox", "a hat", "The sea")


def test_of_many_shared_prompts_a_few_are_told():
    prompts = [f"p{n}" for n in range(10)]

    assert shared_prompts(prompts, prompts[::-1]) == ("p0", "p1", "p2")
    assert shared_prompts(prompts, []) == ()
    assert shared_prompts(["", " "], ["", " "]) == ()


class FakeChoices:
    """Liked prompts by user; a prompt that begins with ! was passed over."""

    def __init__(self, **prompts):
        self.prompts = prompts
        self.gone = UnknownUser("gone")

    def num_choices(self, user_id):
        return len(self._of(user_id))

    def some(self, user_id):
        for number, prompt in enumerate(self._of(user_id), start=1):
            liked = None if prompt.startswith("!") else sha256(prompt.encode()).hexdigest()
            choice = Choice(user_id, liked, (), prompt.lstrip("!"), WHEN, "test")
            yield StoredChoice(number, number, choice)

    def _of(self, user_id):
        if user_id not in self.prompts:
            raise self.gone
        return self.prompts[user_id]


def near(*names):
    return SimilarUsers("ann", "v1", 1, False, tuple(SimilarUser(n, 0.5) for n in names))


def test_each_near_user_is_told_with_what_both_like():
    choices = FakeChoices(ann=["a fox", "!a dog"], bob=["a dog", "a fox"], cid=["a dog"])

    bob, cid = shared_tastes(near("bob", "cid"), choices)

    assert (bob.user.user_id, bob.num_choices, bob.prompts) == ("bob", 2, ("a fox",))
    assert (cid.user.user_id, cid.num_choices, cid.prompts) == ("cid", 1, ())


def test_images_that_both_like_begin_with_the_neighbours_last():
    choices = FakeChoices(ann=["a fox", "the sea", "!a hat"], bob=["the sea", "a fox", "a hat"])

    (bob,) = shared_tastes(near("bob"), choices)

    assert bob.images == tuple(sha256(each.encode()).hexdigest() for each in ("a fox", "the sea"))


def test_words_of_everybody_come_after_those_of_the_two():
    choices = FakeChoices(
        ann=["blue fox", "blue sea", "blue hat"], bob=["blue fox", "blue owl"], cid=["blue owl"]
    )

    bob, cid = shared_tastes(near("bob", "cid"), choices)

    # fox: one image each, log(4 / 2); blue: two images each, 2 log(4 / 3).
    assert bob.words == ("fox", "blue")
    assert cid.words == ("blue",)


def test_of_many_shared_words_a_few_are_told():
    words = Counter(f"w{n}" for n in range(10))

    clearest = ("w0", "w1", "w2", "w3", "w4")
    assert shared_words(words, words, users_with=words, num_users=2) == clearest
    assert shared_words(words, Counter(), users_with=words, num_users=2) == ()


@pytest.mark.parametrize("error", [UnknownUser("gone"), NotFound("gone")])
def test_who_was_erased_meanwhile_is_left_out(error):
    choices = FakeChoices(ann=["a fox"], cid=["a fox"])
    choices.gone = error

    assert [each.user.user_id for each in shared_tastes(near("bob", "cid"), choices)] == ["cid"]


def test_the_user_must_be_there():
    with pytest.raises(UnknownUser):
        shared_tastes(near("bob"), FakeChoices(bob=["a fox"]))


def test_no_more_choices_are_looked_at_than_said():
    long = ["x"] * MAX_CHOICES_COMPARED + ["a fox"]

    (bob,) = shared_tastes(near("bob"), FakeChoices(ann=["a fox"], bob=long))

    assert (bob.prompts, bob.num_choices) == ((), MAX_CHOICES_COMPARED + 1)
