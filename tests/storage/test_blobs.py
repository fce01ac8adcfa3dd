"""Bytes by digest on any file system: whole or not there at all."""

import errno
import hashlib
import os
from functools import partial
from pathlib import Path

import fsspec
import pytest

from storage.blobs import BlobStore
from storage.errors import StorageFull, UnknownImage

DATA = b"\x00\xff image bytes" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["file", "memory"])
def somewhere(request, tmp_path: Path):
    """An empty store on either file system."""
    url = f"{request.param}://{tmp_path}/pictures/here"
    yield BlobStore(url)
    fsspec.filesystem("memory").store.clear()


def names(blobs: BlobStore) -> list[str]:
    """Every file under a store."""
    files, root = fsspec.core.url_to_fs(blobs.url)
    return sorted(path.rsplit("/", 1)[1] for path in files.find(root))


def test_bytes_come_back(somewhere: BlobStore) -> None:
    assert not somewhere.exists(SHA256)
    assert somewhere.put(DATA) == SHA256
    assert somewhere.exists(SHA256)
    assert somewhere.get(SHA256) == DATA
    assert BlobStore(somewhere.url).get(SHA256) == DATA
    assert names(somewhere) == [SHA256]


def test_opening_and_asking_create_nothing(tmp_path: Path) -> None:
    blobs = BlobStore(f"file://{tmp_path}/pictures")
    assert not blobs.exists(SHA256)
    blobs.delete(SHA256)
    assert list(tmp_path.iterdir()) == []


def test_the_same_bytes_are_written_once(somewhere: BlobStore, monkeypatch) -> None:
    somewhere.put(DATA)
    monkeypatch.setattr(somewhere._files, "pipe_file", None)
    assert somewhere.put(DATA) == SHA256


def test_no_bytes_at_all_are_bytes_too(somewhere: BlobStore) -> None:
    assert somewhere.get(somewhere.put(b"")) == b""


def test_bytes_are_deleted_once(somewhere: BlobStore) -> None:
    somewhere.put(DATA)
    somewhere.delete(SHA256)
    assert not somewhere.exists(SHA256)
    assert names(somewhere) == []
    somewhere.delete(SHA256)
    with pytest.raises(UnknownImage, match=SHA256):
        somewhere.get(SHA256)
    somewhere.put(DATA)
    assert somewhere.get(SHA256) == DATA


@pytest.mark.parametrize(
    "name", ["", "../../x", "/etc/passwd", SHA256.upper(), SHA256 + "\n", "\0"]
)
def test_only_a_digest_is_a_name(somewhere: BlobStore, name: str) -> None:
    for ask in (somewhere.get, somewhere.exists, somewhere.delete):
        with pytest.raises(UnknownImage, match="64 hex digits"):
            ask(name)


def test_many_put_the_same_bytes_at_once(somewhere: BlobStore, together) -> None:
    stores = [BlobStore(somewhere.url) for _ in range(10)]
    assert set(together([partial(each.put, DATA) for each in stores])) == {SHA256}
    assert names(somewhere) == [SHA256]
    assert somewhere.get(SHA256) == DATA


def test_a_reader_never_sees_half(somewhere: BlobStore, monkeypatch) -> None:
    """At every write and every move, the bytes are not there yet or whole."""
    seen = []
    for name in ("pipe_file", "mv"):
        real = getattr(somewhere._files, name)

        def watched(*args, real=real, **more):
            seen.append(somewhere.exists(SHA256))
            real(*args, **more)
            seen.append(somewhere.exists(SHA256) and somewhere.get(SHA256) == DATA)

        monkeypatch.setattr(somewhere._files, name, watched)
    somewhere.put(DATA)
    assert seen == [False, False, False, True]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("when", ["makedirs", "pipe_file", "mv"])
def test_a_full_disk_leaves_nothing_half_written(
    somewhere: BlobStore, monkeypatch, when: str, number: int
) -> None:
    earlier = somewhere.put(b"earlier")

    def write_half(path: str, *_: object, **__: object) -> None:
        if when == "pipe_file":
            somewhere._files.open(path, "wb").write(DATA[:100])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(somewhere._files, when, write_half)
        with pytest.raises(StorageFull, match="free some and try again"):
            somewhere.put(DATA)
    assert names(somewhere) == [earlier]
    assert somewhere.get(earlier) == b"earlier"
    somewhere.put(DATA)
    assert somewhere.get(SHA256) == DATA


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), KeyboardInterrupt()])
def test_other_failures_are_told_as_they_are(somewhere: BlobStore, monkeypatch, error) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(somewhere._files, "mv", fail)
    with pytest.raises(type(error)):
        somewhere.put(DATA)
    assert names(somewhere) == []


def test_bytes_cut_short_by_a_power_cut_are_put_again(tmp_path: Path) -> None:
    blobs = BlobStore(f"file://{tmp_path}")
    blobs.put(DATA)
    (tmp_path / SHA256[:2] / SHA256).write_bytes(DATA[:10])
    blobs.put(DATA)
    assert blobs.get(SHA256) == DATA


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        BlobStore("nowhere://pictures")
