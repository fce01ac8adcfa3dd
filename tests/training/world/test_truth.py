import hashlib
from dataclasses import replace

import numpy as np
import pytest

from training.world.communities import draw_communities
from training.world.truth import WorldTruth, read_truth, write_truth


def truth_of(name, num_images=3, communities_seed=0):
    digests = [hashlib.sha256(f"{name}{n}".encode()).digest() for n in range(num_images)]
    rng = np.random.default_rng(len(name))
    return WorldTruth(
        communities=draw_communities(seed=communities_seed),
        user_ids=(f"{name}-a", f"{name}-b"),
        tastes=rng.normal(size=(2, 9)),
        memberships=np.array([3, 5]),
        digests=np.array([list(digest) for digest in digests], dtype=np.uint8),
        attributes=rng.uniform(-1, 1, (num_images, 9)).astype(np.float32),
    )


def test_what_is_written_is_read_again(tmp_path):
    written = truth_of("x")
    write_truth(written, tmp_path / "new" / "truth.npz")
    read = read_truth(tmp_path / "new" / "truth.npz")
    assert np.array_equal(read.taste("x-b"), written.tastes[1])
    assert read.community("x-a") == 3
    names = [hashlib.sha256(f"x{n}".encode()).hexdigest() for n in (2, 0)]
    assert np.array_equal(read.attributes_of(names), written.attributes[[2, 0]])
    assert np.array_equal(read.communities.centers, written.communities.centers)
    assert read.communities.temperature == written.communities.temperature
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["truth.npz"]


def test_the_names_in_the_file_stay_so_that_older_worlds_are_read(tmp_path):
    written = truth_of("x")
    write_truth(written, tmp_path / "truth.npz")
    with np.load(tmp_path / "truth.npz", allow_pickle=False) as stored:
        names = "centers spread temperature user_ids tastes communities digests attributes"
        assert set(stored.files) == set(names.split())
        assert np.array_equal(stored["centers"], written.communities.centers)
        assert np.array_equal(stored["communities"], written.memberships)


def test_the_file_needs_no_pickle(tmp_path):
    write_truth(truth_of("x"), tmp_path / "truth.npz")
    with np.load(tmp_path / "truth.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)


def test_a_stranger_is_a_key_error():
    with pytest.raises(KeyError, match="nobody"):
        truth_of("x").taste("nobody")
    with pytest.raises(KeyError):
        truth_of("x").attributes_of(["00" * 32])


def test_worlds_of_the_same_communities_share_a_file(tmp_path):
    path = tmp_path / "truth.npz"
    first, second = truth_of("x"), truth_of("yy")
    changed = replace(first, tastes=first.tastes + 1)
    for truth in (first, second, changed):
        write_truth(truth, path)
    read = read_truth(path)
    assert set(read.user_ids) == {"x-a", "x-b", "yy-a", "yy-b"}
    assert np.array_equal(read.taste("x-a"), changed.tastes[0])
    assert np.array_equal(read.taste("yy-b"), second.tastes[1])
    assert len(read.digests) == 6


def test_other_communities_are_refused_and_nothing_is_lost(tmp_path):
    path = tmp_path / "truth.npz"
    write_truth(truth_of("x"), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="other communities"):
        write_truth(truth_of("x", communities_seed=1), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"not numpy", b"PK\x03\x04cut off"])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, content):
    path = tmp_path / "truth.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"truth\.npz is not the truth of a world"):
        read_truth(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "truth.npz"
    write_truth(truth_of("x"), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="truncated"):
        read_truth(path)


def test_other_arrays_are_refused(tmp_path):
    path = tmp_path / "truth.npz"
    np.savez(path, something=np.zeros(3))
    with pytest.raises(ValueError, match="not the truth of a world"):
        read_truth(path)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_truth(tmp_path / "truth.npz")


def test_a_failed_write_leaves_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "truth.npz"
    write_truth(truth_of("x"), path)
    before = path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b"begun")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_truth(truth_of("yy"), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["truth.npz"]
