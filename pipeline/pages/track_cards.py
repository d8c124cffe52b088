"""Tracks as a report shows them: a heading, why they are there, a strip of frames, and their course over time."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.pages.charts import Timeline, timeline
from pipeline.pages.thumbnails import Strip, StripMaker, frames_to_show
from pipeline.quality.reasons import Doubt
from pipeline.text import ProgressLine


@dataclass(frozen=True)
class Card:
    """One track. `row` is its row in `tracks`; `timeline` is None if its rows are gone."""

    doubt: Doubt
    row: Mapping[str, Any]
    strip: Strip
    timeline: Timeline | None


@dataclass(frozen=True)
class Dealer:
    """Makes cards. Without a `maker` of strips they have neither pictures nor a course.

    `has_marks` says whether the frame to look at is marked.
    """

    tracks: pa.Table
    maker: StripMaker | None
    num_pictures: int = 5
    has_marks: bool = True

    def cards(self, doubts: Sequence[Doubt]) -> list[Card]:
        """The cards of these tracks, in their order. What a running job has added since `tracks` were read waits."""
        rows = _rows(doubts, self.tracks)
        found = []
        with contextlib.closing(ProgressLine(len(doubts), "track")) as line:
            for doubt in doubts:
                row = rows.get((doubt.video_id, doubt.object_id))
                found += [] if row is None else [self._card(doubt, row)]
                line.advance(1)
        return found

    def _card(self, doubt: Doubt, row: Mapping[str, Any]) -> Card:
        if self.maker is None:
            return Card(doubt, row, Strip(why_empty="No pictures: pictures=false."), None)
        try:
            clip = self.maker.clip(doubt.video_id)
            table = clip.track(doubt.object_id).table
        except (KeyError, ValueError) as error:  # a running job labels it again, or its size is not known
            return Card(doubt, row, Strip(why_empty=f"No picture: {error.args[0]}"), None)
        frame_indexes, areas = table["frame_index"].to_pylist(), table["area"].to_pylist()
        if not frame_indexes:
            return Card(doubt, row, Strip(why_empty="No picture: the track has no rows."), None)
        marked, prompts = doubt.frame_index if self.has_marks else None, row["prompt_frames"]
        frames = frames_to_show(frame_indexes, areas, marked, prompts[0] if prompts else None, self.num_pictures)
        strip = self.maker.strip(clip, doubt.object_id, frames, marked)
        return Card(doubt, row, strip, _course(table, marked, prompts))


def _rows(doubts: Sequence[Doubt], tracks: pa.Table) -> dict[tuple[str, int], dict[str, Any]]:
    videos = pa.array(list({doubt.video_id for doubt in doubts}), pa.string())
    found = tracks.filter(pc.is_in(tracks["video_id"], videos)).to_pylist()
    return {(row["video_id"], row["object_id"]): row for row in found}


def _course(table: pa.Table, marked: int | None, prompts: Sequence[int]) -> Timeline:
    areas = table["area"].to_numpy().astype(np.float64)
    ious = np.where(areas > 0, table["predicted_iou"].to_numpy().astype(np.float64), np.nan)
    look = "" if marked is None else f" Look at frame {marked}."
    summary = f"Area and predicted IoU over {len(areas)} frames, hidden on {int((areas == 0).sum())} of them.{look}"
    frames = table["frame_index"].to_numpy().astype(np.float64)
    return timeline(frames, areas, ious, mark=marked, prompts=prompts, summary=summary)
