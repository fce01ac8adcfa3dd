"""Images named on a command line."""

from pathlib import Path

import pytest

from recsys.cli.named_images import read_images
from recsys.errors import InvalidRequest, NotFound

SHA = "ab" * 32


def test_files_and_digests_are_told_apart(home: Path) -> None:
    (home / "a.png").write_bytes(b"12345")
    images = read_images(("a.png", SHA), max_bytes=10)
    assert [(each.name, each.data, each.sha256) for each in images] == [
        ("a.png", b"12345", None),
        (SHA, None, SHA),
    ]


def test_a_file_named_like_a_digest_is_a_file(home: Path) -> None:
    (home / SHA).write_bytes(b"1")
    assert read_images((SHA,), max_bytes=10)[0].data == b"1"


def test_no_more_is_read_than_is_needed_to_refuse(home: Path) -> None:
    (home / "a.png").write_bytes(bytes(1000))
    assert len(read_images(("a.png",), max_bytes=10)[0].data) == 11


@pytest.mark.parametrize("name", ["none.png", ".", SHA[:-1], SHA.upper(), "a\0b"])
def test_what_is_not_there_is_told(home: Path, name: str) -> None:
    with pytest.raises(NotFound, match="give an image file"):
        read_images((name,), max_bytes=10)


def test_twice_the_same_is_refused(home: Path) -> None:
    (home / "a.png").write_bytes(b"1")
    with pytest.raises(InvalidRequest, match=r"a\.png twice"):
        read_images(("a.png", "a.png"), max_bytes=10)
