"""Image tokens on disk: what is read is what was written, and there is an end to how much."""

import os
import time
from pathlib import Path

import pytest
import torch

from recsys.errors import SettingsRefused
from recsys.image_tokens.folder import TokenFolder, opened_folder

VERSION = "a" * 64


def name(number: int) -> str:
    return f"{number:064x}"


def tokens(seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(4, 8, generator=torch.Generator().manual_seed(seed)).to(dtype)


def files(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file())


@pytest.fixture
def folder(tmp_path: Path) -> TokenFolder:
    return TokenFolder(tmp_path / "tokens", VERSION, max_bytes=2**20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_read_is_what_was_written(folder: TokenFolder, dtype: torch.dtype) -> None:
    assert folder.read(name(1)) is None
    folder.write(name(1), tokens(1, dtype))
    read = folder.read(name(1))
    assert read is not None
    assert read.dtype == dtype
    assert torch.equal(read, tokens(1, dtype))
    assert name(1) in folder
    assert name(2) not in folder
    assert folder.num_bytes == files(folder.path)[0].stat().st_size


def test_another_version_has_tokens_of_its_own(folder: TokenFolder) -> None:
    other = TokenFolder(folder.path, "b" * 64, max_bytes=2**20)
    folder.write(name(1), tokens(1))
    assert other.read(name(1)) is None
    other.write(name(1), tokens(2))
    read = folder.read(name(1))
    assert read is not None
    assert torch.equal(read, tokens(1))


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "zeroed"])
def test_a_damaged_file_is_dropped_and_can_be_written_again(
    folder: TokenFolder, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write(name(1), tokens(1))
    (path,) = files(folder.path)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:-5]
    elif damage == "emptied":
        data = bytearray()
    elif damage == "flipped":
        data[-3] ^= 1
    else:
        data[-64:] = bytes(64)
    path.write_bytes(data)
    assert folder.read(name(1)) is None
    assert not path.exists()
    assert "damaged and dropped" in caplog.text
    folder.write(name(1), tokens(1))
    assert folder.read(name(1)) is not None


def test_a_full_folder_gives_up_what_was_not_asked_for_longest(folder: TokenFolder) -> None:
    folder.write(name(0), tokens(0))
    size = folder.num_bytes
    small = TokenFolder(folder.path, VERSION, max_bytes=10 * size)
    for number in range(1, 10):
        small.write(name(number), tokens(number))
    for number, path in enumerate(files(folder.path)):
        os.utime(path, (number, number))
    assert small.read(name(0)) is not None  # and so it was just asked for
    small.write(name(10), tokens(10))
    assert sum(path.stat().st_size for path in files(folder.path)) <= 0.9 * 10 * size
    assert {name(0), name(10)} <= {path.name.split(".")[0] for path in files(folder.path)}
    assert name(1) not in small


def test_several_writers_together_stay_near_the_bound(folder: TokenFolder) -> None:
    folder.write(name(0), tokens(0))
    size = folder.num_bytes
    writers = [TokenFolder(folder.path, VERSION, max_bytes=40 * size) for _ in range(3)]
    for number in range(1, 150):
        writers[number % 3].write(name(number), tokens(number))
        written = sum(path.stat().st_size for path in files(folder.path))
        assert written <= (1 + 3 / 20) * 40 * size


def test_images_that_are_gone_are_forgotten_in_all_versions(folder: TokenFolder) -> None:
    other = TokenFolder(folder.path, "b" * 64, max_bytes=2**20)
    for number in range(4):
        folder.write(name(number), tokens(number))
        other.write(name(number), tokens(number))
    kept = {name(2), name(3)}
    assert TokenFolder(folder.path).forget_gone(lambda names: kept & set(names)) == 2
    assert {path.name.split(".")[0] for path in files(folder.path)} == kept
    assert len(files(folder.path)) == 4
    assert TokenFolder(folder.path / "none").forget_gone(lambda _: pytest.fail("asked")) == 0


def test_originals_in_the_same_folder_are_left_alone(folder: TokenFolder) -> None:
    original = folder.path / "blobs" / "ab" / ("ab" * 32)
    original.parent.mkdir(parents=True)
    original.write_bytes(b"an image" * 1000)
    folder.write(name(0), tokens(0))
    small = TokenFolder(folder.path, VERSION, max_bytes=1)
    small.write(name(1), tokens(1))
    assert TokenFolder(folder.path).forget_gone(set) <= 2
    assert original.exists()


def test_what_a_killed_writer_left_goes_once_it_is_old(folder: TokenFolder) -> None:
    folder.write(name(1), tokens(1))
    parent = files(folder.path)[0].parent
    old, new = parent / f".{name(2)}.0badcafe.part", parent / f".{name(3)}.0badcafe.part"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    folder.forget_gone(set)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_folder_that_cannot_be_written_to_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsRefused, match=r"image_tokens_folder must be .* got .*/file/below"):
        opened_folder(tmp_path / "file" / "below", VERSION, max_bytes=1)
    made = opened_folder(tmp_path / "deep" / "below", VERSION, max_bytes=5)
    assert (made.path.is_dir(), files(made.path)) == (True, [])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        TokenFolder(tmp_path, VERSION, max_bytes=0)
