"""An erasure reaches the files of this machine, and tells what it could not reach."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from recsys.erasure.eraser import Eraser
from recsys.erasure.image_eraser import ImageEraser
from recsys.image_tokens.folder import TokenFolder
from recsys.similarity.index import SignatureIndex
from storage.errors import AlreadyErased
from storage.histories import HistoryStore
from storage.records import Choice, ImageFacts
from storage.signatures import SignatureStore
from storage.takedowns import ImageTakedowns


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


def kept(folder: Path, *images: str) -> set[str]:
    """Write tokens of images; those that are there."""
    tokens = TokenFolder(folder, "v")
    for sha256 in images:
        tokens.write(sha256, torch.zeros(2, 2))
    return {path.name.split(".")[0] for path in folder.rglob("*.safetensors")}


def test_image_tokens_on_disk_go_with_their_images(
    signed: HistoryStore, choose, tmp_path: Path
) -> None:
    own, common, other = b"ann's alone", b"of both", b"bob's"
    images = [choose("ann", own), choose("ann", common), choose("bob", other)]
    choose("bob", common)
    folder = tmp_path / "tokens"
    kept(folder, *images)
    eraser = Eraser(
        signed,
        index_folder=tmp_path / "index",
        checkpoints=[],
        image_tokens_folder=str(folder),
    )
    assert eraser.erase("ann", by="a test").remnants == ()
    assert kept(folder) == set(images[1:])
    kept(folder, images[0])  # as an erasure that was stopped half way leaves it
    with pytest.raises(AlreadyErased):
        eraser.erase("ann", by="a test")
    assert kept(folder) == set(images[1:])
    ImageEraser(
        ImageTakedowns(signed.database, signed.blobs), image_tokens_folder=str(folder)
    ).remove(images[1])
    assert kept(folder) == {images[2]}


def test_tokens_of_images_that_go_with_a_blocked_one_go_too(
    signed: HistoryStore, tmp_path: Path
) -> None:
    given = {}
    for data in (b"blocked", b"beside it"):
        facts = ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 1, 1, len(data))
        given[facts.sha256] = (facts, data)
    blocked, beside = given
    signed.append(Choice("ann", blocked, (beside,), "a fox", datetime.now(UTC), "test"), given)
    folder = tmp_path / "tokens"
    kept(folder, blocked, beside)
    ImageEraser(
        ImageTakedowns(signed.database, signed.blobs), image_tokens_folder=str(folder)
    ).block(blocked)
    assert kept(folder) == set()


def test_image_tokens_that_cannot_be_removed_are_told(
    signed: HistoryStore, choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = choose("ann", b"ann's alone")
    kept(tmp_path / "tokens", image)

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(f"{path.name} is not ours")

    monkeypatch.setattr(Path, "unlink", refused)
    (remnant,) = (
        ImageEraser(
            ImageTakedowns(signed.database, signed.blobs),
            image_tokens_folder=str(tmp_path / "tokens"),
        )
        .block(image)
        .remnants
    )
    assert remnant.startswith(f"perhaps image tokens in {tmp_path / 'tokens'}: {image}")
