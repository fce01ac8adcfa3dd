"""Many images on one: rows with a title, tiles with a frame and a line of text.

The font is Pillow's own, so that a sheet looks the same on every machine.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

LIKED: Colour = (38, 148, 92)
PASSED_OVER: Colour = (206, 204, 198)

_PAPER: Colour = (250, 249, 246)
_INK: Colour = (40, 40, 44)
_FADED: Colour = (112, 110, 106)
_MARGIN_PX = 16
_GAP_PX = 8
_FRAME_PX = 4
_HEADING_PX, _TITLE_PX, _LABEL_PX = 22, 15, 11
_LINE_SPACING = 1.5


@dataclass(frozen=True, eq=False)
class Tile:
    """One image of a sheet.

    Attributes:
        image: RGB of any size; shown as a square, cut at the longer side's ends.
        label: a line below it; cut where it is too long.
        frame: colour around it; none by default.
    """

    image: UInt8[np.ndarray, "H W 3"]
    label: str = ""
    frame: Colour | None = None


@dataclass(frozen=True, eq=False)
class SheetRow:
    """A title and the tiles below it, from the left; None leaves a place empty."""

    title: str
    tiles: Sequence[Tile | None]


def contact_sheet(
    rows: Sequence[SheetRow], heading: str = "", *, tile_px: int = 128
) -> UInt8[np.ndarray, "H W 3"]:
    """Lay out rows of tiles on paper.

    Args:
        rows: from the top, at least one.
        heading: a line above all; no space is left where it is empty.
        tile_px: width and height of a tile, at least 16.

    Raises:
        ValueError: if there is no tile at all, or the tiles are too small.
    """
    columns = max((len(row.tiles) for row in rows), default=0)
    if columns == 0:
        raise ValueError("a contact sheet needs at least one tile, got none")
    if tile_px < 16:
        raise ValueError(f"tile_px must be at least 16, got {tile_px}")
    width = 2 * _MARGIN_PX + columns * tile_px + (columns - 1) * _GAP_PX
    heading_px = _line_px(_HEADING_PX) if heading else 0
    height = 2 * _MARGIN_PX + heading_px + sum(_row_px(row, tile_px) for row in rows)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN_PX
    _write(draw, (_MARGIN_PX, top), heading, _HEADING_PX, _INK, width - 2 * _MARGIN_PX)
    top += heading_px
    for row in rows:
        _draw_row(sheet, draw, row, top, tile_px)
        top += _row_px(row, tile_px)
    return np.asarray(sheet)


def save_png(sheet: UInt8[np.ndarray, "H W 3"], path: Path) -> None:
    """Write a sheet as PNG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, "PNG", optimize=True)


def _line_px(text_px: int) -> int:
    return round(text_px * _LINE_SPACING)


def _row_px(row: SheetRow, tile_px: int) -> int:
    title = _line_px(_TITLE_PX) if row.title else 0
    labels = any(tile is not None and tile.label for tile in row.tiles)
    return title + tile_px + (_line_px(_LABEL_PX) if labels else 0) + _GAP_PX


def _draw_row(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, row: SheetRow, top: int, tile_px: int
) -> None:
    room = sheet.width - 2 * _MARGIN_PX
    if row.title:
        _write(draw, (_MARGIN_PX, top), row.title, _TITLE_PX, _INK, room)
        top += _line_px(_TITLE_PX)
    for column, tile in enumerate(row.tiles):
        left = _MARGIN_PX + column * (tile_px + _GAP_PX)
        if tile is not None:
            _draw_tile(sheet, draw, tile, (left, top), tile_px)


def _draw_tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    tile: Tile,
    corner: tuple[int, int],
    tile_px: int,
) -> None:
    left, top = corner
    border = 0 if tile.frame is None else _FRAME_PX
    if tile.frame is not None:
        box = (left, top, left + tile_px - 1, top + tile_px - 1)
        draw.rectangle(box, fill=tile.frame)
    inner = tile_px - 2 * border
    sheet.paste(_square(tile.image, inner), (left + border, top + border))
    _write(draw, (left, top + tile_px + 2), tile.label, _LABEL_PX, _FADED, tile_px)


def _square(image: UInt8[np.ndarray, "H W 3"], side_px: int) -> Image.Image:
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(np.ascontiguousarray(image[top : top + side, left : left + side]))
    if square.width == side_px:
        return square
    return square.resize((side_px, side_px), Image.Resampling.LANCZOS)


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    size_px: int,
    colour: Colour,
    room_px: int,
) -> None:
    """One line, cut with an ellipsis where the room ends."""
    if not text:
        return
    font = ImageFont.load_default(size_px)
    line = " ".join(text.split())
    if draw.textlength(line, font=font) > room_px:
        # The most letters that fit before an ellipsis; no letter is narrower than a pixel.
        lengths = range(min(len(line), room_px))
        fits = bisect_right(
            lengths, float(room_px), key=lambda n: draw.textlength(line[:n] + "…", font=font)
        )
        line = line[: max(fits - 1, 0)].rstrip() + "…"
    draw.text(corner, line, fill=colour, font=font)
