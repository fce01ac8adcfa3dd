"""The table that groups ratings by person."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from storage.errors import StorageFull
from storage.importers import _rating_table as module
from storage.importers._rating_table import rating_table

AT = datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)


def test_ratings_in_any_order_come_back_by_person():
    rows = [(f"u{i % 3}", f"i{i % 5}", i % 4 + 1, AT + timedelta(days=i)) for i in range(60)]
    random.Random(1).shuffle(rows)

    with rating_table() as table:
        for name in range(6):
            table.add_item(f"i{name}", prompt_id=f"p{name}", prompt=f"prompt {name}")
        for user_id, image_id, rating, rated_at in rows:
            table.add_rating(user_id, image_id, rating=rating, rated_at=rated_at)

        assert list(table.user_ids()) == ["u0", "u1", "u2"]
        items = table.rated_items("u1")
        assert [item.image_id for item in items] == [f"i{name}" for name in range(5)]
        for item in items:
            mine = [row for row in rows if row[:2] == ("u1", item.image_id)]
            assert item.rating == sum(row[2] for row in mine) / len(mine)
            assert (item.num_rows, item.rated_at) == (len(mine), max(row[3] for row in mine))
            assert item.prompt == f"prompt {item.image_id[1:]}"


def test_no_room_for_temporary_files_is_told(monkeypatch):
    monkeypatch.setattr(module, "_SCHEMA", module._SCHEMA + "PRAGMA max_page_count = 8;")

    def fill():
        with rating_table() as table:
            for name in range(10_000):
                table.add_item(f"i{name}", prompt_id="", prompt="p" * 100)

    with pytest.raises(StorageFull, match="temporary files has no room left"):
        fill()
