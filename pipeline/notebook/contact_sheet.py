"""A contact sheet: one strip of frames per video, with a title, some facts and the colors of its objects."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import UInt8Array
from pipeline.masks.overlay import color_of

PAPER, INK, GRAY, RULE = (250, 250, 248), (28, 30, 34), (110, 114, 120), (222, 222, 218)
MARGIN, GAP, FACTS_WIDTH, TILE_WIDTH, CAPTION_HEIGHT, LINE_HEIGHT = 28, 8, 280, 220, 20, 21


@dataclass(frozen=True)
class Tile:
    """One picture of a strip, uint8 RGB `[H, W, 3]`, and the words below the picture."""

    pixels_HW3: UInt8Array
    caption: str


@dataclass(frozen=True)
class Strip:
    """One video: its title, what it shows, one line per object (id, words) and its tiles."""

    title: str
    subtitle: str
    objects: tuple[tuple[int, str], ...]
    tiles: tuple[Tile, ...]


def contact_sheet(heading: str, notes: Sequence[str], strips: Sequence[Strip]) -> bytes:
    """The sheet as a PNG file, the tiles of a strip in one row. Raises like `draw_sheet`."""
    buffer = io.BytesIO()
    Image.fromarray(draw_sheet(heading, notes, strips)).save(buffer, "PNG")
    return buffer.getvalue()


def draw_sheet(heading: str, notes: Sequence[str], strips: Sequence[Strip], columns: int | None = None) -> UInt8Array:
    """The sheet, uint8 RGB `[H, W, 3]`, with at most `columns` tiles in a row.

    Raises `ValueError` if there is no strip, a strip without tiles, or no column.
    """
    if columns is not None and columns < 1:
        raise ValueError(f"columns={columns}: give how many frames stand in a row, 1 or more")
    if not strips or any(not strip.tiles for strip in strips):
        raise ValueError("a contact sheet needs at least one strip, and each strip at least one tile")
    fonts = [ImageFont.load_default(size) for size in (26, 18, 14)]
    columns = min(1 << 30 if columns is None else columns, max(len(strip.tiles) for strip in strips))
    heights = [_strip_height(strip, columns) for strip in strips]
    width = 2 * MARGIN + FACTS_WIDTH + columns * (TILE_WIDTH + GAP) - GAP
    top = MARGIN + 40 + LINE_HEIGHT * len(notes) + 12
    sheet = Image.new("RGB", (width, top + sum(heights) + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), heading, fill=INK, font=fonts[0])
    for number, note in enumerate(notes):
        pen.text((MARGIN, MARGIN + 40 + LINE_HEIGHT * number), note, fill=GRAY, font=fonts[2])
    for strip, height in zip(strips, heights, strict=True):
        pen.line((MARGIN, top, width - MARGIN, top), fill=RULE)
        _draw_facts(pen, strip, top + 16, fonts)
        for number, tile in enumerate(strip.tiles):
            left = MARGIN + FACTS_WIDTH + number % columns * (TILE_WIDTH + GAP)
            above = top + 16 + number // columns * _row_height(strip)
            picture = Image.fromarray(tile.pixels_HW3)
            size = (TILE_WIDTH, _tile_height(tile))
            sheet.paste(picture.resize(size, Image.Resampling.LANCZOS), (left, above))
            pen.text((left, above + size[1] + 3), tile.caption, fill=GRAY, font=fonts[2])
        top += height
    return np.asarray(sheet)


def _draw_facts(
    pen: ImageDraw.ImageDraw, strip: Strip, top: int, fonts: list[ImageFont.ImageFont | ImageFont.FreeTypeFont]
) -> None:
    pen.text((MARGIN, top), strip.title, fill=INK, font=fonts[1])
    y = top + 26
    for line in _wrap(strip.subtitle, fonts[2]):
        pen.text((MARGIN, y), line, fill=GRAY, font=fonts[2])
        y += LINE_HEIGHT - 2
    y += 6
    for object_id, words in strip.objects:
        pen.rounded_rectangle((MARGIN, y + 2, MARGIN + 13, y + 15), radius=3, fill=color_of(object_id))
        pen.text((MARGIN + 21, y), f"{object_id}  {words}", fill=INK, font=fonts[2])
        y += LINE_HEIGHT


def _wrap(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= FACTS_WIDTH - 24:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _tile_height(tile: Tile) -> int:
    height, width = tile.pixels_HW3.shape[:2]
    return int(TILE_WIDTH * height / width + 0.5)


def _row_height(strip: Strip) -> int:
    return max(_tile_height(tile) for tile in strip.tiles) + CAPTION_HEIGHT


def _strip_height(strip: Strip, columns: int) -> int:
    """Room for the tiles with their captions, or for the facts where those are longer (two lines of subtitle)."""
    tiles = -(-len(strip.tiles) // columns) * _row_height(strip)
    facts = 26 + 2 * LINE_HEIGHT + 6 + LINE_HEIGHT * len(strip.objects)
    return 16 + max(tiles, facts) + 14
