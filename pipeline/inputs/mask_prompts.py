"""Masks in the table of prompts: COCO run lengths in the forms in which tools store them.

A struct or a JSON text with `size` and `counts`, or the counts alone. Counts are COCO's compressed code, that code in
base64, or (in JSON) the run lengths as numbers.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model import MaskPrompt
from pipeline.masks.rle import compress, decode_rle


@dataclass(frozen=True)
class RleMask:
    """A mask prompt as the table has it; `fit` decodes it. `size_hw` is `None` if the table gives the counts alone."""

    size_hw: tuple[int, int] | None
    counts: bytes

    def fit(self, size_hw: tuple[int, int]) -> MaskPrompt:
        """The mask for a video of `size_hw`. Raises `ValueError` for another size, a wrong code or an empty mask."""
        if self.size_hw is not None and self.size_hw != size_hw:
            raise ValueError(
                f"mask_rle: size is {list(self.size_hw)} (height, width), but the video is {list(size_hw)}; "
                "encode the mask at the size of the video"
            )
        try:
            return MaskPrompt(decode_rle(size_hw, self.counts))
        except ValueError as error:
            # What is no code of this many pixels, and is one in base64, is not so by chance.
            inner = _from_base64(self.counts)
            if inner is None:
                raise
            try:
                return MaskPrompt(decode_rle(size_hw, inner))
            except ValueError:
                raise error from None


def mask_prompt(value: Mapping[str, Any] | str | bytes | None) -> RleMask | None:
    """The mask of a row; `None` if it has none. Raises `ValueError` for what is neither a code nor a size with one."""
    if isinstance(value, str | bytes) and value[:1] in ("{", b"{"):
        value = _from_json(value)
    if isinstance(value, Mapping):
        size = tuple(-1 if number is None else int(number) for number in value["size"] or ()) or None
        counts = value["counts"]
    else:
        size, counts = None, value
    if not counts and size is None:
        return None
    if size is not None and len(size) != 2:
        raise ValueError(f"mask_rle: size must be [height, width], got {list(size)}")
    code = counts.encode() if isinstance(counts, str) else counts or b""
    return RleMask(None if size is None else (size[0], size[1]), code)


def _from_json(text: str | bytes) -> dict[str, Any]:
    """`size` and `counts` of a JSON text, which pandas and databases keep in place of a struct."""
    try:
        found = json.loads(text)
        size, counts = found["size"], found["counts"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("mask_rle: the text is no JSON with size and counts") from error
    if not _are_counts(size) or not (isinstance(counts, str) or _are_counts(counts)):
        raise ValueError("mask_rle: the JSON needs size [height, width], and counts as a text or as whole numbers")
    return {"size": size, "counts": counts if isinstance(counts, str) else compress(np.array(counts, dtype=np.int64))}


def _are_counts(values: Any) -> bool:
    if not isinstance(values, Sequence) or isinstance(values, str):
        return False
    return all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 for value in values)


def _from_base64(code: bytes) -> bytes | None:
    try:
        return base64.b64decode(code, validate=True)
    except binascii.Error:
        return None
