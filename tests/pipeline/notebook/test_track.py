"""One object of a video over time."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from pipeline import tables
from pipeline.notebook.charts import Line, line_chart
from tests.pipeline.notebook.conftest import Filmed
from tests.support.drawn_job import DrawnVideo, write_job

SVG = "{http://www.w3.org/2000/svg}"


def test_a_track_has_masks_boxes_and_areas_over_time(job: tables.JobTables, filmed: Filmed) -> None:
    track = job.video("clip-1").track(7)
    masks = track.array()
    np.testing.assert_array_equal(track.frame_indexes, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(masks, [filmed.truth["clip-1", 7, frame] for frame in (1, 2, 3, 4, 5)])
    np.testing.assert_array_equal(track.areas, masks.sum(axis=(1, 2)))
    for (_, mask), box in zip(track.masks(), track.boxes, strict=True):
        ys, xs = np.nonzero(mask)
        expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [np.nan] * 4
        np.testing.assert_array_equal(box, expected)
    frame = track.to_pandas().set_index("frame_index")
    assert frame.loc[4, "area"] == 0
    assert frame.loc[2, "area"] == masks[1].sum()


def test_a_track_shows_itself_with_cut_outs_and_charts(job: tables.JobTables) -> None:
    track = job.video("clip-1").track(7)
    assert repr(track) == "<track 7 (cat) of video 'clip-1': visible on 4 of 5 frames, predicted IoU 0.70>"
    shown = track._repr_html_()
    assert shown.count("<img") == 4
    assert shown.count("<svg") == 2
    failed = job.video("c").track(9)
    assert repr(failed) == "<track 9 of video 'c': failed, no such frame>"
    assert "no such frame" in failed._repr_html_()
    assert "<img" not in job.video("c").track(5)._repr_html_()


def test_a_chart_is_an_svg_with_a_gap_where_the_object_is_hidden(job: tables.JobTables) -> None:
    (area, _) = job.video("clip-1").track(7).plot().svgs
    lines = ElementTree.fromstring(area).findall(f"{SVG}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [3, 2]
    left = float(lines[0].attrib["points"].split()[0].split(",")[0])
    right = float(lines[1].attrib["points"].split()[-1].split(",")[0])
    assert left == 46.0
    assert right == 416.0


def test_a_chart_of_texts_of_others_escapes_them_and_one_of_nothing_is_refused() -> None:
    frames = np.arange(2)
    chart = line_chart("<b>", [Line("<i>", frames, np.array([1.0, np.inf]), '"><script>')])
    assert next(ElementTree.fromstring(chart).iter(f"{SVG}text")).text == "<b>"
    assert "<script>" not in chart
    with pytest.raises(ValueError, match="at least one line"):
        line_chart("nothing", [])


def test_what_others_wrote_of_a_track_moves_no_cursor(tmp_path: Path) -> None:
    odd = "cat\x1b[2J\n"
    video = DrawnVideo("v", {1: odd}, failed={2: f"no {odd}"})
    clip = tables.open(write_job(tmp_path, (video,), broken=())[0]).video("v")
    assert repr(clip.track(1)).startswith("<track 1 (cat\\x1b[2J\\n) of video 'v': visible on")
    assert repr(clip.track(2)) == "<track 2 of video 'v': failed, no cat\\x1b[2J\\n>"
