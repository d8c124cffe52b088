"""A target for atheris (coverage-guided): `python -m tests.support.fuzz rle|prompts [options of libFuzzer]`.

Any input is refused with a `ValueError` or gives what it must; everything else ends the process with an error.
"""

from __future__ import annotations

import contextlib
import sys

import atheris

with atheris.instrument_imports(include=["pipeline.masks.rle", "pipeline.inputs.prompts", "model.prompts"]):
    from pipeline.inputs.prompts import parse_prompts
    from pipeline.masks.rle import decode_rle

_COLUMNS = ("frame_index", "pts_seconds", "points_xy", "point_labels", "box_xyxy", "mask_rle")


def fuzz_rle(data: bytes) -> None:
    """Two bytes of size, then the code of a mask."""
    if len(data) < 2:
        return
    size_hw = data[0] % 64 + 1, data[1] % 64 + 1
    with contextlib.suppress(ValueError):
        mask = decode_rle(size_hw, data[2:])
        assert mask.shape == size_hw


def fuzz_prompts(data: bytes) -> None:
    """Rows of the prompts table with any values of their columns' types."""
    source = atheris.FuzzedDataProvider(data)
    rows = [_row(source) for _ in range(source.ConsumeIntInRange(1, 4))]
    objects = parse_prompts(rows).objects
    assert len(objects) == len({row["object_id"] for row in rows if row["object_id"] is not None})
    for one in objects:
        assert bool(one.prompts) != bool(one.error)
        for _, prompt in one.prompts:
            with contextlib.suppress(ValueError):
                prompt.fit((20, 30))


def _row(source: atheris.FuzzedDataProvider) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(_COLUMNS)
    row["object_id"] = source.ConsumeIntInRange(-1, 2) if source.ConsumeBool() else None
    row["category"] = source.ConsumeUnicodeNoSurrogates(3)
    if source.ConsumeBool():
        row["frame_index"] = source.ConsumeInt(4) if source.ConsumeBool() else source.ConsumeFloat()
    if source.ConsumeBool():
        row["pts_seconds"] = source.ConsumeFloat()
    if source.ConsumeBool():
        row["points_xy"] = [_numbers(source, 3) for _ in range(source.ConsumeIntInRange(0, 3))]
        row["point_labels"] = [source.ConsumeIntInRange(-2, 2) for _ in range(source.ConsumeIntInRange(0, 3))]
    if source.ConsumeBool():
        row["box_xyxy"] = _numbers(source, 5)
    if source.ConsumeBool():
        code = source.ConsumeBytes(20)
        size = [source.ConsumeInt(4) for _ in range(source.ConsumeIntInRange(0, 3))]
        row["mask_rle"] = code if source.ConsumeBool() else {"size": size, "counts": code.decode("latin-1")}
    return row


def _numbers(source: atheris.FuzzedDataProvider, most: int) -> list[float | None]:
    return [source.ConsumeFloat() if source.ConsumeBool() else None for _ in range(source.ConsumeIntInRange(0, most))]


if __name__ == "__main__":
    target = {"rle": fuzz_rle, "prompts": fuzz_prompts}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
