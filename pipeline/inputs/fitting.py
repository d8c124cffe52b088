"""A prompt of the table made to fit a video of known size, with a warning where it looks like a mistake."""

from __future__ import annotations

from collections.abc import Iterable

from model import BoxPrompt, PointPrompt, Prompt
from pipeline.inputs.boxes import FractionBox, as_in_table, form_of, remedy
from pipeline.inputs.prompts import SeedPrompt


def fitted(prompt: SeedPrompt, size_hw: tuple[int, int], told: str = "") -> tuple[Prompt, str]:
    """The prompt for a video of that size, and a warning, mostly empty. Raises `ValueError` if it does not fit.

    Nothing is logged, because whoever asks tells the warning. `told` is what tells the form of a box
    (`ObjectPrompts.box_told`), so that messages show it as its table has it.
    """
    if not isinstance(prompt, BoxPrompt | FractionBox):
        return prompt.fit(size_hw), ""
    is_fraction = isinstance(prompt, FractionBox)
    told = told or ("xyxyn" if is_fraction else "xyxy")
    in_table = as_in_table(prompt.box_xyxyn if isinstance(prompt, FractionBox) else prompt.box_xyxy, told)
    shown = "" if form_of(told) == "xyxy" else f" (in the table {in_table})"
    try:
        asked = prompt.in_pixels(size_hw) if isinstance(prompt, FractionBox) else prompt
        found = asked.clamped(size_hw)
    except ValueError as error:
        if isinstance(prompt, FractionBox) and prompt.looks_like_pixels:
            unit = "percent" if told.endswith("_percent") else "fractions"
            raise ValueError(
                f"{error}; {in_table} are no {unit} of the frame: if they are pixels, {remedy(told, '')}"
            ) from error
        raise ValueError(f"{error}{shown}") from error
    if asked != found:
        return found, f"box {asked.box_xyxy}{shown} was clamped to the frame"
    x0, y0, x1, y1 = found.box_xyxy
    if min(x1 - x0, y1 - y0) < 1:
        advice = "" if is_fraction else f"; if it is in fractions of the frame, {remedy(told, 'n')}"
        return found, f"box {found.box_xyxy}{shown} is less than a pixel wide or high{advice}"
    return found, ""


def says_only_what_it_is_not(prompts: Iterable[SeedPrompt]) -> bool:
    """Whether all prompts of an object are clicks with label 0, so that none says where the object is."""
    given = list(prompts)
    return bool(given) and all(isinstance(prompt, PointPrompt) and 1 not in prompt.labels for prompt in given)
