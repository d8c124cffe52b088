"""A prompt of the table made to fit a video of known size, with a warning where it looks like a mistake."""

from __future__ import annotations

from collections.abc import Iterable

from model import BoxPrompt, PointPrompt, Prompt
from pipeline.inputs.boxes import FractionBox
from pipeline.inputs.prompts import SeedPrompt


def fitted(prompt: SeedPrompt, size_hw: tuple[int, int]) -> tuple[Prompt, str]:
    """The prompt for a video of that size, and a warning, mostly empty. Raises `ValueError` if it does not fit."""
    found = prompt.fit(size_hw)
    if not isinstance(found, BoxPrompt):
        return found, ""
    asked = prompt.in_pixels(size_hw) if isinstance(prompt, FractionBox) else prompt
    if isinstance(asked, BoxPrompt) and asked != found:
        return found, f"box {asked.box_xyxy} was clamped to the frame"
    x0, y0, x1, y1 = found.box_xyxy
    if min(x1 - x0, y1 - y0) < 1:
        advice = (
            "" if isinstance(prompt, FractionBox) else "; if it is in fractions of the frame, give box_format=xyxyn"
        )
        return found, f"box {found.box_xyxy} is less than a pixel wide or high{advice}"
    return found, ""


def says_only_what_it_is_not(prompts: Iterable[SeedPrompt]) -> bool:
    """Whether all prompts of an object are clicks with label 0, so that none says where the object is."""
    given = list(prompts)
    return bool(given) and all(isinstance(prompt, PointPrompt) and 1 not in prompt.labels for prompt in given)
