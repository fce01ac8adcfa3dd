"""A file is replaced whole or not at all, and nothing is left beside it."""

import os
from pathlib import Path

import pytest

from storage import files
from storage.files import replace_file, replace_folder


@pytest.mark.parametrize("is_only_writer", [False, True])
def test_a_file_is_made_or_replaced(tmp_path: Path, is_only_writer: bool) -> None:
    path = tmp_path / "a.json"
    for text in ("first", "second"):
        with replace_file(path, is_only_writer=is_only_writer) as temporary:
            temporary.write_text(text)
        assert path.read_text() == text
        assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("is_only_writer", [False, True])
def test_what_stood_stands_if_the_writer_fails(tmp_path: Path, is_only_writer: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text("first")

    def fail_half_way() -> None:
        with replace_file(path, is_only_writer=is_only_writer) as temporary:
            temporary.write_text("half of the sec")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.json"]


def test_it_reaches_the_disk_before_it_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text("first")
    seen = []

    def look(flushed: Path) -> None:
        seen.append((flushed.is_dir(), path.read_text()))

    monkeypatch.setattr(files, "flush", look)
    with replace_file(path) as temporary:
        temporary.write_text("second")
    assert seen == [(False, "first"), (True, "second")]


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with replace_file(path) as one, replace_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"


def test_what_a_killed_only_writer_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with replace_file(path, is_only_writer=True) as temporary:
        temporary.write_text("whole")
        left = temporary.name
    (tmp_path / left).write_text("left by a killed writer")
    with replace_file(path, is_only_writer=True) as temporary:
        temporary.write_text("second")
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_is_made_or_replaced_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "there" / "a"
    for name in ("first", "second"):
        with replace_folder(folder) as work:
            assert not folder.exists() or os.listdir(folder) == ["first"]
            (work / name).write_text(name)
        assert os.listdir(folder) == [name]
        assert folder.stat().st_mode & 0o777 == 0o755
        assert os.listdir(folder.parent) == ["a"]


def test_the_folder_that_stood_stands_if_the_writer_fails(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with replace_folder(folder) as work:
        (work / "first").write_text("first")

    def fail_half_way() -> None:
        with replace_folder(folder) as work:
            (work / "second").write_text("half of")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(folder) == ["first"]
