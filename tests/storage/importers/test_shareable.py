"""Every importer marks images as shareable when it is told to, and only then."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from storage.importers.pairs import import_pairs
from storage.importers.pickapic import COLUMNS, import_pickapic
from storage.importers.ratings import import_ratings
from storage.tables import ImageRow


@pytest.fixture
def pairs(tmp_path, picture):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(picture(name))
    row = {"user_id": "ann", "liked_image": "a.png", "disliked_image": "b.png"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row), "utf-8")
    return lambda store, **how: import_pairs(tmp_path, store, **how)


@pytest.fixture
def ratings(tmp_path, picture):
    (tmp_path / "images").mkdir()
    for name in "ab":
        (tmp_path / "images" / f"{name}.png").write_bytes(picture(name))
    (tmp_path / "items.csv").write_text("image_id,prompt\na,p\nb,p\n")
    (tmp_path / "ratings.csv").write_text("user_id,image_id,rating_1to5\nann,a,5\nann,b,1\n")
    return lambda store, **how: import_ratings(tmp_path, store, **how)


@pytest.fixture
def pickapic(tmp_path, picture):
    row = (1, 1, "p", None, True, 1.0, 0.0, picture("a"), picture("b"))
    table = pa.table({name: [row[at]] for at, name in enumerate(COLUMNS)})
    pq.write_table(table, tmp_path / "some.parquet")
    return lambda store, **how: import_pickapic([tmp_path / "some.parquet"], store, **how)


@pytest.mark.parametrize("kind", ["pairs", "ratings", "pickapic"])
def test_images_are_marked_when_it_is_said(request, store, sha, inspect, kind) -> None:
    run = request.getfixturevalue(kind)

    def marked() -> set[str]:
        with store.database.session() as session:
            return set(session.scalars(select(ImageRow.sha256).where(ImageRow.shareable)))

    assert run(store, inspect=inspect).num_stored == 1
    assert marked() == set()
    assert run(store, inspect=inspect, shareable=True).num_repeated == 1
    assert marked() == {sha("a"), sha("b")}
