"""A user is removed from an export, and all else stays as it was."""

import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from recsys.clusters import rewriting
from recsys.clusters.export import FORMATS, export_run
from recsys.clusters.rewriting import remove_image, remove_user
from storage.clusters.runs import ClusterStore


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "_ROWS_AT_ONCE", 2)


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(clusters: ClusterStore, tmp_path: Path, form: str) -> Path:
    folder = tmp_path / "out"
    export_run(clusters, clusters.run().run_id, folder, format=form)
    return folder


def rows(folder: Path, name: str, form: str) -> list[dict]:
    path = folder / f"{name}.{form}"
    if form == "parquet":
        return parquet.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    for row in found:
        for column in {"typical_members", "liked_images", "disliked_images"} & row.keys():
            row[column] = json.loads(row[column])
    return found


def told(user: str, form: str) -> str:
    return "'=1+1" if (user, form) == ("=1+1", "csv") else user


@pytest.mark.parametrize("place", range(5))
def test_a_user_goes_from_members_and_facts_alike(
    folder: Path, form: str, names: list[str], place: int
) -> None:
    user = names[place]
    members, clusters = (rows(folder, name, form) for name in ("members", "clusters"))
    assert remove_user(folder, user, format=form)
    left = [row for row in members if row["user_id"] != told(user, form)]
    assert len(left) == 4
    assert rows(folder, "members", form) == left
    for old, new in zip(clusters, rows(folder, "clusters", form), strict=True):
        same = [row for row in left if row["cluster_id"] == old["cluster_id"]]
        typical = [each for each in old["typical_members"] if each != user]
        assert new["typical_members"] == typical
        assert new["medoid"] == told(typical[0], form)
        assert int(new["size"]) == len(same) == len(typical)
        apart = {"size": 0, "medoid": 0, "typical_members": 0}
        assert new | apart == old | apart
    files = [".lock", f"clusters.{form}", f"members.{form}"]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert not any(user.encode() in path.read_bytes() for path in folder.iterdir())
    assert not remove_user(folder, user, format=form)


def test_a_cluster_may_come_to_be_empty(folder: Path, form: str, names: list[str]) -> None:
    for user in names:
        assert remove_user(folder, user, format=form)
    assert rows(folder, "members", form) == []
    for row in rows(folder, "clusters", form):
        assert (int(row["size"]), row["medoid"] or None, row["typical_members"]) == (0, None, [])


def test_who_is_not_in_it_changes_nothing(folder: Path, form: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert not remove_user(folder, "nobody", format=form)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_what_was_stopped_between_the_files_is_gone_on_with(
    folder: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = rewriting._replace

    def stopped(form: object, path: Path, pages: object) -> None:
        if path.name.startswith("clusters"):
            raise KeyboardInterrupt
        replace(form, path, pages)

    monkeypatch.setattr(rewriting, "_replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        remove_user(folder, "ann", format=form)
    monkeypatch.undo()
    assert remove_user(folder, "ann", format=form)
    assert not any("ann" in row["typical_members"] for row in rows(folder, "clusters", form))
    assert {int(row["size"]) for row in rows(folder, "clusters", form)} == {2}


def test_an_image_goes_from_the_facts_and_all_else_stays(folder: Path, form: str) -> None:
    members, clusters = (rows(folder, name, form) for name in ("members", "clusters"))
    (image,) = clusters[0]["liked_images"]
    assert clusters[1]["disliked_images"] == [image]
    assert not remove_image(folder, "0" * 64, format=form)
    assert rows(folder, "clusters", form) == clusters

    assert remove_image(folder, image, format=form)
    assert rows(folder, "members", form) == members
    none: dict[str, list[str]] = {"liked_images": [], "disliked_images": []}
    assert rows(folder, "clusters", form) == [row | none for row in clusters]
    assert not any(image.encode() in path.read_bytes() for path in folder.iterdir())


def test_what_is_no_export_is_left_alone(folder: Path, form: str, tmp_path: Path) -> None:
    for remove in (remove_user, remove_image):
        with pytest.raises(FileNotFoundError):
            remove(tmp_path / "moved", "ann", format=form)
    path = folder / f"members.{form}"
    path.write_bytes(b"notes,of,somebody\nann,1,2\n")
    with pytest.raises(ValueError, match="holds no export of clusters"):
        remove_user(folder, "ann", format=form)
    assert path.read_bytes() == b"notes,of,somebody\nann,1,2\n"
