"""An erasure reaches the files of this machine, and tells what it could not reach."""

from pathlib import Path

import pytest

from recsys.erasure.eraser import Eraser
from recsys.similarity.index import SignatureIndex
from storage.errors import AlreadyErased
from storage.histories import HistoryStore
from storage.signatures import SignatureStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def snapshot(folder: Path, signed: HistoryStore) -> Path:
    """Of an index of ann and bob."""
    SignatureIndex(SignatureStore(signed.database), "v1", folder=folder)
    (path,) = [path for path in folder.iterdir() if path.is_dir()]
    assert b"ann" in (path / "ids.npy").read_bytes()
    return path


def test_snapshots_go(eraser: Eraser, folder: Path, snapshot: Path) -> None:
    erased = eraser.erase("ann", by="a test")
    assert (erased.num_signatures, erased.remnants) == (1, ())
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_without_snapshots_there_is_nothing_to_remove(eraser: Eraser, folder: Path) -> None:
    assert eraser.erase("ann", by="a test").remnants == ()
    assert not folder.exists()


def test_a_snapshot_that_cannot_be_removed_is_told(
    eraser: Eraser, folder: Path, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(f"{path.name} is not ours")

    monkeypatch.setattr("shutil.rmtree", refused)
    (remnant,) = eraser.erase("ann", by="a test").remnants
    assert str(folder) in remnant
    assert "is not ours" in remnant


def test_an_erasure_that_was_stopped_half_way_is_gone_on_with(
    eraser: Eraser, signed: HistoryStore, snapshot: Path
) -> None:
    signed.erase("ann", by="a process that was killed then")
    with pytest.raises(AlreadyErased):
        eraser.erase("ann", by="a test")
    assert not snapshot.exists()
