"""A takedown reaches exports of clusters that name the image, and names those it cannot."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from recsys.clusters.export import export_run
from recsys.erasure.image_eraser import ImageEraser
from storage.clusters.building import ClusterBuilder
from storage.clusters.records import ClusterDraft, ClusterImage
from storage.clusters.runs import ClusterStore
from storage.errors import ImageBlocked
from storage.histories import HistoryStore
from storage.takedowns import ImageTakedowns


@pytest.fixture
def images(signed: HistoryStore) -> ImageEraser:
    return ImageEraser(ImageTakedowns(signed.database, signed.blobs))


@pytest.fixture
def image(choose: Callable[[str, bytes], str]) -> str:
    return choose("ann", b"an image")


@pytest.fixture
def export(signed: HistoryStore, image: str, tmp_path: Path) -> Path:
    """Of a run with a cluster that likes the image."""
    builder = ClusterBuilder(signed.database)
    run_id = builder.begin("v1", "kmeans", {"num": 1}, num_users=1)
    builder.add_members(run_id, ["ann"], [0], [1.0])
    liked = [ClusterImage(image, 1, 0, 0.5, 2.0, 9, 0.01)]
    vector = np.eye(2, dtype=np.float32)[0]
    builder.finish(run_id, [ClusterDraft(0, 1.0, vector, liked_images=liked)])
    folder = tmp_path / "out"
    export_run(ClusterStore(signed.database), run_id, folder, format="csv")
    assert image in (folder / "clusters.csv").read_text("utf-8")
    return folder


@pytest.mark.parametrize("how", ["remove", "block"])
def test_exports_that_name_the_image_are_rewritten(
    images: ImageEraser, image: str, export: Path, how: str
) -> None:
    taken = getattr(images, how)(image)
    assert (taken.num_choices, taken.num_images) == (1, 1)
    assert (taken.rewritten_exports, taken.remnants) == ((str(export),), ())
    assert image not in (export / "clusters.csv").read_text("utf-8")
    assert "ann" in (export / "clusters.csv").read_text("utf-8")


def test_an_export_that_was_moved_is_named(images: ImageEraser, image: str, export: Path) -> None:
    shutil.move(export, export.with_name("elsewhere"))
    taken = images.remove(image)
    assert taken.rewritten_exports == ()
    (remnant,) = taken.remnants
    assert remnant.startswith(f"perhaps the export of clusters to {export} of")


def test_an_interrupted_block_is_finished_in_exports_too(
    images: ImageEraser,
    signed: HistoryStore,
    image: str,
    export: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("recsys.erasure.image_eraser.rewrite_exports_without_image", end)
        with pytest.raises(KeyboardInterrupt):
            images.block(image)
    assert image in (export / "clusters.csv").read_text("utf-8")

    assert images.finish_interrupted(until=datetime(2000, 1, 1, tzinfo=UTC)) == {}
    finished = images.finish_interrupted()
    assert list(finished) == [image]
    assert finished[image].rewritten_exports == (str(export),)
    assert finished[image].num_choices == 1
    assert image not in (export / "clusters.csv").read_text("utf-8")
    assert not signed.blobs.exists(image)
    assert images.finish_interrupted() == {}


def test_a_blocked_image_is_kept_out(
    images: ImageEraser, image: str, choose: Callable[[str, bytes], str]
) -> None:
    images.block(image, by="a test", reason="shows a person")
    with pytest.raises(ImageBlocked):
        choose("bob", b"an image")
