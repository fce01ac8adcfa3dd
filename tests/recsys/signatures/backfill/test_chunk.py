"""One chunk: each user gets a signature or a reason, and nobody stops the others."""

from collections.abc import Sequence

import numpy as np
import pytest

from recsys.errors import Unavailable
from recsys.history import ReferencePair
from recsys.signatures.chunk import MAX_ERRORS_IN_A_ROW, compute_chunk
from recsys.signatures.inputs import SignatureInput, WatchedImages
from storage.backfill_ledger import BackfillState
from storage.errors import UnknownImage

VERSION = "v1"


def pair(name: str, prompt: str = "") -> ReferencePair:
    return ReferencePair(f"liked {name}", f"disliked {name}", prompt)


def user(name: str, *pairs: ReferencePair) -> SignatureInput:
    return SignatureInput(name, 3, 7, pairs)


def all_of(pairs: Sequence[ReferencePair]) -> Sequence[ReferencePair]:
    return pairs


def test_a_chunk_is_its_users_signatures_and_nothing_else(reader, vector_of) -> None:
    users = [user("ann", pair("a")), user("bob", pair("b"), pair("c"))]
    result = compute_chunk(users, reader, all_of)
    assert result.left_out == ()
    assert result.partly_read == frozenset()
    for each, signature in zip(users, result.signatures, strict=True):
        assert (signature.user_id, signature.revision) == (each.user_id, 3)
        assert signature.model_version == VERSION
        assert signature.vector.tolist() == vector_of(each.pairs).tolist()
    again = compute_chunk(users[::-1], reader, all_of)
    for first, second in zip(result.signatures, again.signatures[::-1], strict=True):
        assert first.vector.tolist() == second.vector.tolist()
    assert compute_chunk([], reader, all_of).signatures == ()


def test_who_fails_or_has_no_pair_does_not_stop_the_rest(reader, fail_for) -> None:
    reader.before = fail_for("broken")
    users = [
        user("no pair"),
        user("unreadable", pair("lost", "lost")),
        user("broken", pair("x", "broken")),
        user("partly", pair("lost", "lost"), pair("a", "fine")),
        user("fine", pair("a", "fine")),
    ]
    result = compute_chunk(
        users, reader, lambda pairs: [each for each in pairs if each.prompt != "lost"]
    )
    assert [each.user_id for each in result.signatures] == ["partly", "fine"]
    assert result.partly_read == {"partly"}
    states = {each.user_id: (each.state, each.revision) for each in result.left_out}
    assert states == {
        "no pair": (BackfillState.SKIPPED, 3),
        "unreadable": (BackfillState.FAILED, 3),
        "broken": (BackfillState.FAILED, 3),
    }
    errors = {each.user_id: each.error for each in result.left_out}
    assert "likes an image and passes one over" in errors["no pair"]
    assert "there is none among 1 reference, the newest of" in errors["unreadable"]
    assert "liked lost and disliked lost" in errors["unreadable"]
    assert errors["broken"] == "ValueError: no broken"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_no_number_is_a_failure(bad: float, reader) -> None:
    reader.read = lambda references: np.full(8, bad, dtype=np.float32)
    (left_out,) = compute_chunk([user("ann", pair("a"))], reader, all_of).left_out
    assert (left_out.state, left_out.error) == (BackfillState.FAILED, "the signature is not finite")


def test_a_model_that_fails_for_everybody_stops_the_chunk(reader, fail_for) -> None:
    reader.before = fail_for("x", kind=RuntimeError)
    bad = [user(f"u{number}", pair("a", "x")) for number in range(MAX_ERRORS_IN_A_ROW)]
    with pytest.raises(Unavailable, match=r"16 users in a row.*RuntimeError \(no x\)"):
        compute_chunk([user("fine", pair("a")), *bad], reader, all_of)
    between = [*bad[1:], user("fine", pair("a")), *bad[1:]]
    assert len(compute_chunk(between, reader, all_of).signatures) == 1


def test_no_memory_left_is_nobodys_failure(reader, fail_for) -> None:
    reader.before = fail_for("x", kind=MemoryError)
    with pytest.raises(MemoryError):
        compute_chunk([user("ann", pair("a", "x"))], reader, all_of)


def test_a_store_of_images_that_fails_is_told_from_an_image_that_is_bad() -> None:
    class Images:
        def image(self, sha256: str) -> bytes:
            if sha256 == "unknown":
                raise UnknownImage("no such image")
            if sha256 == "far":
                raise OSError(5, "the disk does not answer")
            return b"bytes"

    images = WatchedImages(Images())
    assert images.image("a") == b"bytes"
    with pytest.raises(UnknownImage):
        images.image("unknown")
    images.check()
    with pytest.raises(OSError, match="does not answer"):
        images.image("far")
    with pytest.raises(Unavailable, match="does not answer"):
        images.check()
    images.check()


@pytest.mark.parametrize(("batch_size", "largest"), [(2, 2), (4, 4), (64, 6)])
def test_users_read_together_get_what_each_gets_alone(
    reader, fail_for, batch_size, largest
) -> None:
    reader.before = fail_for("broken")
    users = [
        user("no pair"),
        user("partly", pair("lost", "lost"), pair("a", "fine")),
        user("broken", pair("x", "broken")),
        user("unreadable", pair("lost", "lost")),
        *(user(f"fine {number}", pair(f"{number}", "fine")) for number in range(4)),
    ]

    def readable(pairs: Sequence[ReferencePair]) -> list[ReferencePair]:
        return [each for each in pairs if each.prompt != "lost"]

    alone = compute_chunk(users, reader, readable)
    assert reader.batches == []
    together = compute_chunk(users, reader, readable, batch_size=batch_size)
    assert max(reader.batches) == largest, "who has nothing to read takes no place in a pass"
    assert together.left_out == alone.left_out
    assert together.partly_read == alone.partly_read == {"partly"}
    assert [each.user_id for each in together.signatures] == [
        each.user_id for each in alone.signatures
    ]
    for one, other in zip(together.signatures, alone.signatures, strict=True):
        assert one.vector.tolist() == other.vector.tolist()


def test_a_batch_too_large_for_the_memory_of_a_gpu_is_halved_until_it_fits(reader) -> None:
    read_many = reader.read_many

    def short_of_memory(users: Sequence[Sequence[ReferencePair]]) -> list[np.ndarray]:
        if len(users) > 2:
            reader.batches.append(len(users))
            raise RuntimeError("CUDA out of memory")
        return read_many(users)

    reader.read_many = short_of_memory
    users = [user(f"u{number}", pair(f"{number}")) for number in range(8)]
    result = compute_chunk(users, reader, all_of, batch_size=8)
    assert [each.user_id for each in result.signatures] == [each.user_id for each in users]
    assert reader.batches == [8, 4, 2, 2, 4, 2, 2]


def test_a_model_that_fails_for_everybody_stops_a_chunk_of_batches_too(reader, fail_for) -> None:
    reader.before = fail_for("x", kind=RuntimeError)
    bad = [user(f"u{number}", pair("a", "x")) for number in range(MAX_ERRORS_IN_A_ROW)]
    with pytest.raises(Unavailable, match=r"16 users in a row.*RuntimeError \(no x\)"):
        compute_chunk(bad, reader, all_of, batch_size=8)
