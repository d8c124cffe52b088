"""Tracks as a report shows them: a heading, why they are there, a strip of frames, and their course over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.pages.charts import Timeline, timeline
from pipeline.pages.thumbnails import Strip, StripMaker, frames_to_show
from pipeline.quality.doubt import Doubt


@dataclass(frozen=True)
class Card:
    """One track. `row` is its row in `tracks`; `timeline` is None if its rows are gone."""

    doubt: Doubt
    row: Mapping[str, Any]
    strip: Strip
    timeline: Timeline | None


def cards(doubts: Sequence[Doubt], tracks: pa.Table, maker: StripMaker | None, num_pictures: int) -> list[Card]:
    """The cards of these tracks, in their order. Without a `maker` they have neither pictures nor a course."""
    rows = _rows(doubts, tracks)
    return [_card(doubt, rows[doubt.video_id, doubt.object_id], maker, num_pictures) for doubt in doubts]


def _rows(doubts: Sequence[Doubt], tracks: pa.Table) -> dict[tuple[str, int], dict[str, Any]]:
    videos = pa.array(list({doubt.video_id for doubt in doubts}), pa.string())
    found = tracks.filter(pc.is_in(tracks["video_id"], videos)).to_pylist()
    return {(row["video_id"], row["object_id"]): row for row in found}


def _card(doubt: Doubt, row: Mapping[str, Any], maker: StripMaker | None, num_pictures: int) -> Card:
    if maker is None:
        return Card(doubt, row, Strip(why_empty="No pictures: pictures=false."), None)
    try:
        clip = maker.clip(doubt.video_id)
        table = clip.track(doubt.object_id).table
    except KeyError as error:  # a running job labels it again
        return Card(doubt, row, Strip(why_empty=f"No picture: {error.args[0]}"), None)
    frame_indexes, areas = table["frame_index"].to_pylist(), table["area"].to_pylist()
    if not frame_indexes:
        return Card(doubt, row, Strip(why_empty="No picture: the track has no rows."), None)
    marked, prompts = doubt.frame_index, row["prompt_frames"]
    frames = frames_to_show(frame_indexes, areas, marked, prompts[0] if prompts else None, num_pictures)
    strip = maker.strip(clip, doubt.object_id, frames, marked)
    return Card(doubt, row, strip, _course(table, marked, prompts))


def _course(table: pa.Table, marked: int | None, prompts: Sequence[int]) -> Timeline:
    areas = table["area"].to_numpy().astype(np.float64)
    ious = np.where(areas > 0, table["predicted_iou"].to_numpy().astype(np.float64), np.nan)
    look = "" if marked is None else f" Look at frame {marked}."
    summary = f"Area and predicted IoU over {len(areas)} frames, hidden on {int((areas == 0).sum())} of them.{look}"
    frames = table["frame_index"].to_numpy().astype(np.float64)
    return timeline(frames, areas, ious, mark=marked, prompts=prompts, summary=summary)
