"""Measures charts: where bars, lines and words stand. Templates draw them as SVG (`templates/parts.html`).

Lengths are in the units of the SVG's view box, x to the right, y down.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.arrays import Float64Array

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 400.0, 168.0, 4.0, 22.0, 8.0
_MOST_TICKS = 6


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram; `words` are its tooltip."""

    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True)
class Tick:
    """A word below the axis; `anchor` is how the word stands to its place."""

    x: float
    words: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Histogram:
    """How often which values are. `summary` says it to those who do not see the picture."""

    title: str
    summary: str
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    width: ClassVar[float] = _WIDTH
    height: ClassVar[float] = _HEIGHT
    base: ClassVar[float] = _HEIGHT - _BOTTOM


def histogram(
    title: str,
    edges: Sequence[float],
    counts: Sequence[int],
    words: Sequence[str],
    *,
    what: str = "masks",
    summary: str = "",
) -> Histogram:
    """Bars of equal width for `N` counts between `N + 1` edges; `words` name the edges, and every few are shown.

    Raises `ValueError` if the numbers of edges, counts and words do not fit.
    """
    if not len(edges) == len(words) == len(counts) + 1:
        raise ValueError(f"{len(counts)} counts need {len(counts) + 1} edges and words, not {len(edges)}, {len(words)}")
    step = (_WIDTH - 2 * _LEFT) / max(len(counts), 1)
    base, most, total = _HEIGHT - _BOTTOM, max([*counts, 1]), max(sum(counts), 1)
    bars = []
    for place, count in enumerate(counts):
        height = 0.0 if not count else max(1.5, (base - _TOP) * count / most)
        told = f"{words[place]} to {words[place + 1]}: {count:,} {what}, {100 * count / total:.1f} %"
        bars.append(Bar(_LEFT + place * step + 1, base - height, step - 2, height, told))
    every = math.ceil(len(counts) / _MOST_TICKS) if counts else 1
    chosen = range(0, len(words), every)
    ticks = tuple(
        Tick(
            _LEFT + place * step,
            words[place],
            "start" if place == 0 else "end" if place == len(counts) else "middle",
        )
        for place in chosen
    )
    return Histogram(title, summary, tuple(bars), ticks)


@dataclass(frozen=True)
class Part:
    """A part of a whole: its name, value and share, and the number of its color (1 … 6, in the style)."""

    name: str
    value: float
    share: float
    color: int
    x: float


def parts(values: Sequence[tuple[str, float]]) -> tuple[Part, ...]:
    """Parts of a bar that is 100 wide, in the given order; those without any value are left out."""
    total = sum(value for _, value in values)
    found: list[Part] = []
    at = 0.0
    for place, (name, value) in enumerate(values):
        if value > 0:
            share = value / total
            found.append(Part(name, value, share, place % 6 + 1, at))
            at += 100 * share
    return tuple(found)


@dataclass(frozen=True)
class Timeline:
    """Values of a track over its frames: a filled line of areas, a line of scores, and marks.

    `area` and `score` are points of SVG paths in a view box of 600 × 64. `mark` is where to look, `prompts` where the
    prompts are, and `other_prompts` those of another job. `summary` says it in words.
    """

    area: str
    score: str
    mark: float | None
    prompts: tuple[float, ...]
    first: int
    last: int
    summary: str
    other_prompts: tuple[float, ...] = ()
    width: ClassVar[float] = 600.0
    height: ClassVar[float] = 64.0


def timeline(
    frame_indexes: Float64Array,
    areas: Float64Array,
    scores: Float64Array,
    *,
    mark: int | None = None,
    prompts: Sequence[int] = (),
    other_prompts: Sequence[int] = (),
    summary: str = "",
    most_points: int = 300,
) -> Timeline:
    """A track's areas and scores (0 … 1; nan where there is none) by frame, `[T]`; T is at least 1.

    A longer track is shown by the smallest area of each of `most_points` stretches, so that a short loss stays visible.
    """
    width, height = Timeline.width, Timeline.height
    first, last = int(frame_indexes[0]), int(frame_indexes[-1])
    span = max(last - first, 1)
    places = _stretches(areas, most_points)
    xs = np.round((frame_indexes[places] - first) / span * width, 1)
    top = max(float(np.max(areas)), 1.0)
    ys = np.round(height - areas[places] / top * (height - 4), 1)
    line = " ".join(f"L{x:g} {y:g}" for x, y in zip(xs, ys, strict=True))
    area = f"M{xs[0]:g} {height:g} {line} L{xs[-1]:g} {height:g} Z"

    def at(frames: Sequence[int]) -> tuple[float, ...]:
        return tuple(round((frame - first) / span * width, 1) for frame in frames if first <= frame <= last)

    return Timeline(
        area,
        _score_path(xs, scores[places], height),
        None if mark is None else round((mark - first) / span * width, 1),
        at(prompts),
        first,
        last,
        summary,
        at(other_prompts),
    )


def _stretches(areas: Float64Array, most: int) -> list[int]:
    """The place of the smallest area in each of `most` stretches, and both ends."""
    count = len(areas)
    if count <= most:
        return list(range(count))
    edges = np.linspace(0, count, most + 1).astype(int)
    inner = [int(a + np.argmin(areas[a:b])) for a, b in itertools.pairwise(edges)]
    return sorted({0, *inner, count - 1})


def _score_path(xs: Float64Array, scores: Float64Array, height: float) -> str:
    """A line that is broken where a score is missing."""
    path, is_drawing = [], False
    for x, score in zip(xs, scores, strict=True):
        if np.isnan(score):
            is_drawing = False
            continue
        y = height - 2 - float(np.clip(score, 0, 1)) * (height - 4)
        path.append(f"{'L' if is_drawing else 'M'}{x:g} {y:.1f}")
        is_drawing = True
    return " ".join(path)
