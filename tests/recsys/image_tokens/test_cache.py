"""Image tokens in memory before a folder: bounded, counted, and gone when their image is."""

import resource
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from recsys.image_tokens.cache import ImageTokenCache
from recsys.image_tokens.folder import TokenFolder

ONE = 4 * 8 * 4
"""Bytes of the tokens of one image."""


class Storage:
    """Which images are stored; `on_asked` happens when it is asked."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.on_asked = lambda: None
        self.error: Exception | None = None

    def __call__(self, sha256s: Collection[str]) -> set[str]:
        if self.error is not None:
            raise self.error
        stored = self.names & set(sha256s)
        self.on_asked()
        return stored


def name(number: int) -> str:
    return f"{number:064x}"


def tokens(seed: int) -> torch.Tensor:
    return torch.rand(4, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def storage() -> Storage:
    return Storage(name(1), name(2))


@pytest.fixture
def folder(tmp_path: Path) -> TokenFolder:
    return TokenFolder(tmp_path / "tokens", "v", max_bytes=2**20)


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """No file grows longer meanwhile, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def keep(cache: ImageTokenCache, number: int) -> None:
    cache.put(name(number), tokens(number), since=cache.num_forgotten)
    cache.flush()


def test_what_was_put_is_got_and_counted(storage: Storage) -> None:
    cache = ImageTokenCache(10 * ONE, stored=storage)
    assert cache.get(name(1)) is None
    whole = torch.stack([tokens(1), tokens(2)])
    cache.put(name(1), whole[0], since=0)
    whole.zero_()  # a copy is kept, not a view of the whole batch
    got = cache.get(name(1))
    assert got is not None
    assert torch.equal(got, tokens(1))
    assert got.untyped_storage().nbytes() == ONE
    stats = cache.stats()
    assert (stats.num_memory_hits, stats.num_disk_hits, stats.num_misses) == (1, 0, 1)
    assert (stats.num_entries, stats.memory_bytes, stats.disk_bytes) == (1, ONE, 0)


def test_memory_is_bounded_and_the_least_recently_used_goes_first(storage: Storage) -> None:
    cache = ImageTokenCache(2 * ONE, stored=storage)
    keep(cache, 1)
    keep(cache, 2)
    assert cache.get(name(1)) is not None
    keep(cache, 3)
    assert [cache.get(name(n)) is not None for n in (1, 2, 3)] == [True, False, True]
    none = ImageTokenCache(0, stored=storage)
    keep(none, 1)
    assert none.get(name(1)) is None
    with pytest.raises(ValueError, match="pass 0 to keep none"):
        ImageTokenCache(-1, stored=storage)


def test_the_folder_keeps_stored_images_alone_and_serves_another_process(
    storage: Storage, folder: TokenFolder
) -> None:
    cache = ImageTokenCache(10 * ONE, folder=folder, stored=storage)
    for number in (1, 2, 3):
        keep(cache, number)
    assert [name(n) in folder for n in (1, 2, 3)] == [True, True, False]
    assert cache.get(name(3)) is not None  # one that was sent is in memory
    other = ImageTokenCache(10 * ONE, folder=folder, stored=storage)
    for _ in range(2):
        got = other.get(name(1))
        assert got is not None
        assert torch.equal(got, tokens(1))
    stats = other.stats()
    assert (stats.num_memory_hits, stats.num_disk_hits, stats.num_misses) == (1, 1, 0)
    assert stats.disk_bytes == folder.num_bytes > 0


def test_an_image_that_goes_while_its_tokens_are_written_leaves_none(
    storage: Storage, folder: TokenFolder
) -> None:
    """Its row is removed after it was asked for, and the folder was swept before the file came."""
    cache = ImageTokenCache(10 * ONE, folder=folder, stored=storage)
    storage.on_asked = lambda: storage.names.discard(name(1))
    keep(cache, 1)
    assert name(1) not in folder


def test_what_was_read_before_something_was_forgotten_is_not_kept(
    storage: Storage, folder: TokenFolder
) -> None:
    cache = ImageTokenCache(10 * ONE, folder=folder, stored=storage)
    since = cache.num_forgotten
    cache.forget_gone()
    cache.put(name(1), tokens(1), since=since)
    cache.flush()
    assert cache.get(name(1)) is None


def test_images_that_are_gone_are_forgotten_in_memory_and_on_disk(
    storage: Storage, folder: TokenFolder
) -> None:
    cache = ImageTokenCache(10 * ONE, folder=folder, stored=storage)
    for number in (1, 2, 3):
        keep(cache, number)
    storage.names.remove(name(1))
    assert cache.forget_gone() == 2  # and the one that was never stored
    assert [cache.get(name(n)) is not None for n in (1, 2, 3)] == [False, True, False]
    assert [name(n) in folder for n in (1, 2)] == [False, True]


def test_images_that_were_sent_may_stay_for_a_while(storage: Storage) -> None:
    now = [0.0]
    cache = ImageTokenCache(10 * ONE, stored=storage, clock=lambda: now[0])
    keep(cache, 1)
    keep(cache, 3)
    now[0] = 50.0
    keep(cache, 4)
    assert cache.forget_gone(sent_for_s=60.0) == 0
    now[0] = 61.0
    assert cache.get(name(3)) is not None  # to be asked for keeps nothing longer
    assert cache.forget_gone(sent_for_s=60.0) == 1
    assert [cache.get(name(n)) is not None for n in (1, 3, 4)] == [True, False, True]
    assert cache.forget_gone() == 1


def test_when_storage_does_not_answer_nothing_is_dropped_nor_written(
    storage: Storage, folder: TokenFolder, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ImageTokenCache(10 * ONE, folder=folder, stored=storage)
    keep(cache, 1)
    storage.error = RuntimeError("no answer")
    with pytest.raises(RuntimeError, match="no answer"):
        cache.forget_gone()
    keep(cache, 2)
    assert "are not kept on disk" in caplog.text
    assert [name(n) in folder for n in (1, 2)] == [True, False]
    assert [cache.get(name(n)) is not None for n in (1, 2)] == [True, True]


def test_a_full_disk_is_told_once_until_writing_worked_in_between(
    folder: TokenFolder, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ImageTokenCache(10 * ONE, folder=folder, stored=Storage(*map(name, range(6))))
    for numbers, is_full in (((1, 2), True), ((3,), False), ((4, 5), True)):
        with files_of_at_most(10) if is_full else nullcontext():
            for number in numbers:
                keep(cache, number)
    told = "tokens of images are not kept on disk: file too large; they are made anew when needed"
    assert caplog.messages == [told, told]
    assert not any(record.exc_info for record in caplog.records)
    assert [name(number) in folder for number in range(1, 6)] == [False, False, True, False, False]
    assert cache.get(name(1)) is not None


def test_closed_it_has_written_what_waited(storage: Storage, folder: TokenFolder) -> None:
    cache = ImageTokenCache(10 * ONE, folder=folder, stored=storage)
    for number in (1, 2):
        cache.put(name(number), tokens(number), since=0)
    cache.close()
    assert [name(n) in folder for n in (1, 2)] == [True, True]


def test_it_says_where_tokens_are(storage: Storage, folder: TokenFolder) -> None:
    assert str(ImageTokenCache(2**21, stored=storage)) == "2.0 MiB in memory, none on disk"
    both = ImageTokenCache(2**21, folder=folder, stored=storage)
    assert str(both) == f"2.0 MiB in memory, 0.0 of 1.0 MiB on disk in {folder.path}"
