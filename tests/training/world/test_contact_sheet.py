import numpy as np
import pytest
from PIL import Image

from training.world.communities import draw_communities
from training.world.contact_sheet import LIKED, SheetRow, Tile, contact_sheet, save_png
from training.world.sheet import describe_taste, world_sheet

INK = (40, 40, 44)
RED = np.full((40, 60, 3), (200, 0, 0), dtype=np.uint8)


def share(sheet, colour):
    return np.all(sheet == np.array(colour), axis=-1).mean()


def test_more_rows_and_tiles_take_more_paper():
    one = contact_sheet([SheetRow("", [Tile(RED)])], tile_px=32)
    wide = contact_sheet([SheetRow("", [Tile(RED), Tile(RED)])], tile_px=32)
    tall = contact_sheet([SheetRow("", [Tile(RED)]), SheetRow("", [Tile(RED)])], tile_px=32)
    assert wide.shape[1] == one.shape[1] + 32 + 8
    assert tall.shape[0] == one.shape[0] + 32 + 8
    assert (one == (200, 0, 0)).all(axis=-1).sum() == 32 * 32


def test_an_empty_place_stays_paper():
    sheet = contact_sheet([SheetRow("", [None, Tile(RED)])], tile_px=32)
    red = np.nonzero((sheet == (200, 0, 0)).all(axis=-1))[1]
    assert red.min() == 16 + 32 + 8


def test_frames_titles_and_labels_are_drawn():
    plain = contact_sheet([SheetRow("", [Tile(RED)])])
    framed = contact_sheet([SheetRow("", [Tile(RED, frame=LIKED)])])
    assert share(plain, LIKED) == 0
    assert share(framed, LIKED) > 0
    titled = contact_sheet([SheetRow("A title", [Tile(RED, "0.73")])], "Above all")
    assert titled.shape[0] > plain.shape[0]
    assert share(plain, INK) == 0
    assert share(titled, INK) > 0


def test_text_of_any_length_fits_the_paper():
    short = contact_sheet([SheetRow("x", [Tile(RED, "y")])], "z", tile_px=48)
    for text in ("long " * 200, "W" * 500, "emoji 🌷 and\nlines\x00"):
        long = contact_sheet([SheetRow(text, [Tile(RED, text)])], text, tile_px=48)
        assert long.shape == short.shape
        assert np.array_equal(long[:, -8:], short[:, -8:])


@pytest.mark.parametrize("rows", [[], [SheetRow("empty", [])]])
def test_a_sheet_of_nothing_is_refused(rows):
    with pytest.raises(ValueError, match="at least one tile"):
        contact_sheet(rows)


def test_tiles_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 16, got 3"):
        contact_sheet([SheetRow("", [Tile(RED)])], tile_px=3)


def test_a_saved_sheet_reads_back(tmp_path):
    sheet = contact_sheet([SheetRow("", [Tile(RED)])])
    save_png(sheet, tmp_path / "deep" / "sheet.png")
    with Image.open(tmp_path / "deep" / "sheet.png") as image:
        assert np.array_equal(np.asarray(image), sheet)


def test_the_world_sheet_repeats_itself_and_shows_likes():
    sheets = [world_sheet(seed=1, num_prompts=1, images_per_prompt=3, tile_px=32) for _ in "ab"]
    assert np.array_equal(*sheets)
    assert share(sheets[0], LIKED) > 0


def test_a_taste_is_described_by_its_strongest_wishes():
    taste = np.array([-2.0, 0.1, 0, 0, 0, 1.0, 0, 0, -1.5])
    assert describe_taste(taste) == "cold, low, nature"
    for community in draw_communities().centers:
        assert len(describe_taste(community).split(", ")) == 3
