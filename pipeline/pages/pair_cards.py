"""Tracks of which two masks are compared: pictures of both and of their difference, and their agreement over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipeline.arrays import BoolArray, Float64Array, UInt8Array
from pipeline.masks.overlay import outline
from pipeline.masks.rle import decode_rle
from pipeline.notebook.clip import Clip
from pipeline.pages.charts import Timeline, timeline
from pipeline.pages.thumbnails import SmallCut, Strip, Thumbnail, Tries, cut_around, data_uri
from pipeline.quality.series import TrackSeries
from pipeline.tables import JobTables

_SIDE = 300
_NUM_FRAMES = 3
_BOTH, _FIRST, _SECOND = (70, 180, 110), (240, 130, 20), (40, 120, 245)
"""Colors of pixels in both masks, in the first alone, in the second alone. The style has them as well."""


@dataclass(frozen=True)
class PairCard:
    """One track: its row, its pictures, and its agreement over time."""

    row: Mapping[str, Any]
    strip: Strip
    course: Timeline | None


class PairDealer:
    """Makes cards of tracks of one job.

    `words` name the two sides, as `output` and `truth`. Without `has_pictures` no video is opened. With `are_jobs` the
    second side is a job too, whose prompts are marked.
    """

    def __init__(
        self,
        job: JobTables,
        words: tuple[str, str],
        videos_root: str | None = None,
        has_pictures: bool = True,
        are_jobs: bool = False,
    ) -> None:
        self._are_jobs = are_jobs
        self._job = job
        self._words = words
        self._videos_root = videos_root
        self._has_pictures = has_pictures
        self._tries = Tries()

    def card(self, row: Mapping[str, Any], series: TrackSeries) -> PairCard:
        """The card of a track; `row` has its `video_id`."""
        if not len(series.frames_T):
            return PairCard(row, Strip(why_empty="No frame of it was labeled by both."), None)
        places = series.worst(_NUM_FRAMES, row["worst_frame"])
        return PairCard(row, self._strip(row["video_id"], series, places), self._course(series, places[0]))

    def _strip(self, video_id: str, series: TrackSeries, places: Sequence[int]) -> Strip:
        if not self._has_pictures:
            return Strip(why_empty="No pictures: pictures=false.")
        return self._tries.strip(
            lambda: self._pictures(self._job.video(video_id, videos_root=self._videos_root), series, places)
        )

    def _pictures(self, clip: Clip, series: TrackSeries, places: Sequence[int]) -> list[Thumbnail]:
        """The worst frame with either mask and with their difference, then the differences on the other frames."""
        masks = {
            place: (_mask(series, series.first_T, place), _mask(series, series.second_T, place)) for place in places
        }
        boxes = [box for pair in masks.values() for box in map(_box, pair)]
        cut = SmallCut(cut_around(boxes, series.size_hw), _SIDE)
        frames = [int(series.frames_T[place]) for place in places]
        plain = {one.frame_index: one.pixels_HW3 for one in clip.drawn(frames, object_ids=[])}
        nothing = np.zeros(series.size_hw, np.bool_)
        found = []
        for number, (place, frame) in enumerate(zip(places, frames, strict=True)):
            first, second = masks[place]
            score = f"IoU {100 * series.scores.j[place]:.1f}"
            if number == 0:
                found.append(_thumbnail(plain[frame], first, nothing, cut, f"frame {frame} · {self._words[0]}"))
                found.append(_thumbnail(plain[frame], nothing, second, cut, f"frame {frame} · {self._words[1]}"))
            words = f"frame {frame} · difference, {score}"
            found.append(_thumbnail(plain[frame], first, second, cut, words, is_marked=number == 0))
        return found

    def _course(self, series: TrackSeries, worst: int) -> Timeline:
        scores, frames = series.scores, series.frames_T.astype(np.float64)
        summary = (
            f"Overlap (J) of {self._words[0]} and {self._words[1]} over {len(frames)} frames, and the pixels of "
            f"{self._words[1]}. The lowest is {100 * scores.j[worst]:.1f} on frame {series.frames_T[worst]}."
        )
        areas = scores.true_areas.astype(np.float64)
        mark = int(series.frames_T[worst])
        others = series.prompts_of_second if self._are_jobs else ()
        return timeline(
            frames, areas, scores.j, mark=mark, prompts=series.prompts, other_prompts=others, summary=summary
        )


def _mask(series: TrackSeries, counts_T: Any, place: int) -> BoolArray:
    counts = counts_T[place].as_py()
    return np.zeros(series.size_hw, np.bool_) if counts is None else decode_rle(series.size_hw, counts)


def _box(mask_HW: BoolArray) -> Float64Array:
    """Left, top, right, bottom of a mask; nan for an empty one."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if not len(rows):
        return np.full(4, np.nan)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def _thumbnail(
    pixels_HW3: UInt8Array,
    first_HW: BoolArray,
    second_HW: BoolArray,
    cut: SmallCut,
    words: str,
    is_marked: bool = False,
) -> Thumbnail:
    """The cut in small, with the pixels of both masks, of the first and of the second alone in their colors."""
    first, second = cut.mask(first_HW), cut.mask(second_HW)
    canvas = cut.pixels(pixels_HW3).astype(np.float32)
    for where, color, strength in (
        (first & second, _BOTH, 0.4),
        (first & ~second, _FIRST, 0.65),
        (second & ~first, _SECOND, 0.65),
    ):
        canvas[where] += strength * (np.array(color, np.float32) - canvas[where])
    if not (first.any() and second.any()):  # lines around both would hide a thin difference
        for mask, color in ((first, _FIRST), (second, _SECOND)):
            canvas[outline(mask, thickness_px=2)] = color
    image = Image.fromarray(canvas.round().astype(np.uint8))
    return Thumbnail(data_uri(image), image.width, image.height, words, words, is_marked)
