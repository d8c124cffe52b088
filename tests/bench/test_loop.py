"""The loop pays: the queue gains more in the same seconds than chance. The masks of the bench are those of a job."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline import run, tables
from pipeline.demo.inputs import write_inputs
from pipeline.masks.rle import decode_rle
from tests.bench.doubt_clips import clips as drawn_clips
from tests.bench.loop import FEW_BAD, KEPT, at_mark, report
from tests.bench.loop_clicks import click, iou, next_click
from tests.bench.loop_clips import LoopClip
from tests.bench.loop_rounds import Work, work
from tests.bench.loop_tracks import Tracks
from tests.support.rounds import correct, rle_of


@pytest.fixture(scope="module")
def kept() -> Tracks:
    """The tracks of the bench, as it measured them before and after each correction."""
    return Tracks(pq.read_table(KEPT))


@pytest.fixture(scope="module")
def found(kept: Tracks) -> dict[str, Any]:
    return report(kept)


@pytest.fixture(scope="module")
def few(kept: Tracks) -> dict[str, Any]:
    """The same tracks with the good clips counted so often that one track in ten is bad."""
    return report(kept.diluted(FEW_BAD), num_lots=5)


def test_the_queue_gains_more_in_the_same_time_than_any_of_20_random_orders(found: dict[str, Any]) -> None:
    assert (found["num_tracks"] > 100, found["num_bad"] > 20) == (True, True)
    assert found["j_and_f_after"] > found["j_and_f_before"] + 0.01
    early = {policy: one["early"] for policy, one in found["policies"].items()}
    assert early["doubt"][0] > max(early["random"]) + 0.05
    assert early["value"][0] > np.mean(early["random"]) + 0.2
    assert at_mark(found, "doubt") > max(0.5, at_mark(found, "random") + 0.3, at_mark(found, "all") + 0.1)


@pytest.mark.slow
def test_the_queue_gains_more_still_where_few_tracks_are_bad(few: dict[str, Any]) -> None:
    assert few["num_bad"] / few["num_tracks"] == pytest.approx(FEW_BAD, rel=0.1)
    early = {policy: one["early"] for policy, one in few["policies"].items()}
    assert min(early["doubt"][0], early["value"][0]) > max(early["random"]) + 0.2
    assert at_mark(few, "doubt") > 0.6


def with_doubt(kept: Tracks, doubt: np.ndarray[Any, Any]) -> Tracks:
    table = kept.table
    place = table.schema.get_field_index("doubt")
    return Tracks(table.set_column(place, table.schema.field("doubt"), pa.array(doubt, pa.float32())))


def test_the_bar_is_above_doubt_that_is_turned_round(kept: Tracks) -> None:
    turned = report(with_doubt(kept, 1 - kept.table["doubt"].to_numpy()), num_lots=1)
    assert turned["policies"]["doubt"]["early"][0] < 0.2


def drawn_tracks(**columns: list[Any]) -> Tracks:
    """Two tracks of a video: the second is bad until it is corrected once."""
    rows = {
        "video_id": ["v"] * 4,
        "object_id": [1, 2, 1, 2],
        "category": [None] * 4,
        "num_masks": [40] * 4,
        "num_visible": [40] * 4,
        "doubt": [0.1, 0.9, 0.1, 0.2],
        "doubt_reasons": [[]] * 4,
        "doubt_frame": [0] * 4,
        "states": [[0, 0], [0, 0], [0, 1], [0, 1]],
        "num_corrections": [0, 0, 0, 1],
        "j_and_f": [0.8, 0.3, 0.8, 0.7],
        "is_bad": [False, True, False, False],
        "num_clicks": [0, 3, 0, 0],
        "is_saved": [False, True, False, False],
    }
    return Tracks(pa.table(rows | columns))


def test_seconds_are_those_of_the_cost_model() -> None:
    """30 s for 300 frames, 1 s to find a frame, 1.5 s a click; what was corrected is looked through once more."""
    steps = [(now.seconds, now.j_and_f()) for now in work(drawn_tracks(), "doubt")]
    assert steps == pytest.approx(np.array([(9.5, 0.75), (13.5, 0.75), (17.5, 0.75), (17.5, 0.75)]))
    assert next(now.seconds for now in work(drawn_tracks(), "all")) == pytest.approx(4.0)


def test_a_mask_that_is_no_better_is_not_saved_and_the_track_is_not_looked_at_again() -> None:
    last = list(work(drawn_tracks(is_saved=[False] * 4), "doubt"))[-1]
    assert (last.seconds, last.j_and_f()) == pytest.approx((13.5, 0.55))
    assert last.done == {("v", 1), ("v", 2)}


def test_a_round_ends_when_its_seconds_are_spent() -> None:
    """A third of 12 s is spent by the first track; the next round begins with what the queue knows then."""
    steps = [(now.seconds, Counter(now.corrections)) for now in work(drawn_tracks(), "doubt", 12.0)]
    assert [seconds for seconds, _ in steps] == pytest.approx([9.5, 13.5, 13.5])
    assert steps[-1][1] == {("v", 2): 1}


def test_the_best_order_begins_with_what_gains_most_in_a_second() -> None:
    now = Work(drawn_tracks())
    assert (now.gain(("v", 1)), now.gain(("v", 2))) == pytest.approx((0.0, 0.4))
    assert next(one.seconds for one in work(drawn_tracks(), "best")) == pytest.approx(9.5)


def square(left: int, right: int) -> np.ndarray[Any, Any]:
    mask_HW = np.zeros((20, 40), np.bool_)
    mask_HW[5:15, left:right] = True
    return mask_HW


def test_a_click_goes_to_the_middle_of_the_largest_error() -> None:
    (x, y), label = next_click(square(0, 10), square(0, 26))
    assert (label, 14 <= x <= 22, 9 <= y <= 11) == (1, True, True)
    (x, y), label = next_click(square(0, 30), square(0, 10))
    assert (label, 14 <= x <= 26, 9 <= y <= 11) == (0, True, True)


class Answers:
    """A decoder that gives these masks, and what it was asked."""

    def __init__(self, *masks: np.ndarray[Any, Any]) -> None:
        self.masks = list(masks)
        self.asked: list[Any] = []

    def click(self, point_xy: tuple[float, float], label: int) -> np.ndarray[Any, Any]:
        self.asked.append(label)
        return self.masks.pop(0)

    def box(self, box_xyxy: tuple[float, float, float, float]) -> np.ndarray[Any, Any]:
        self.asked.append(box_xyxy)
        return self.masks.pop(0)


def test_an_annotator_clicks_once_and_draws_a_box_where_that_is_not_enough() -> None:
    wanted = square(0, 30)
    one, both = Answers(wanted), Answers(square(0, 20), wanted)
    found = click(square(30, 40), wanted, one, is_anew=True)
    assert (one.asked, found.num_clicks, found.iou, found.is_saved) == ([1], 1, 1.0, True)
    found = click(square(0, 40), wanted, both, is_anew=False)
    assert (both.asked, found.num_clicks, found.iou) == ([0, (0.0, 5.0, 30.0, 15.0)], 3, 1.0)


def test_an_annotator_keeps_the_best_mask_and_saves_none_that_is_no_better() -> None:
    before, wanted = square(0, 20), square(0, 30)
    worse = click(before, wanted, Answers(square(30, 40), square(20, 40)), is_anew=False)
    assert (worse.num_clicks, worse.is_saved) == (3, False)
    assert iou(worse.mask_HW, before) == 1.0
    better = click(before, wanted, Answers(square(0, 26), square(0, 24)), is_anew=False)
    assert better.is_saved
    assert iou(better.mask_HW, square(0, 26)) == 1.0
    assert click(wanted, wanted, Answers(), is_anew=False).num_clicks == 0


@pytest.mark.slow
def test_a_job_makes_the_masks_of_the_bench_before_and_after_a_correction(tmp_path: Path) -> None:
    """The bench propagates each object by a session of its own, the job all of them, then the corrected one alone."""
    from model import load_model

    ((clip, prompts),) = drawn_clips(range(3001, 3002), 6, 0.5)
    videos, table = write_inputs(str(tmp_path / "in"), [clip], prompts)
    words = [f"videos={videos}", f"prompts={table}", f"output={tmp_path / 'out'}", "model=mini", "cluster=serial"]
    bench = LoopClip(clip, prompts, load_model("mini"))
    clicks = bench.correction(1, (), 3)
    assert clicks.num_clicks
    for corrected in ((), (3,)):
        if corrected:
            correct(tmp_path / "out", clip.name, 1, 3, mask_rle=rle_of(clicks.mask_HW))
        assert run.main([*words, "model.device=cpu"]) == 0
        masks = tables.open(str(tmp_path / "out")).masks().to_table()
        for object_id in bench.prompts:
            job = masks.filter(pc.field("object_id") == object_id)
            ours = bench.labels(object_id, corrected if object_id == 1 else ())
            same = [
                iou(*(decode_rle(tuple(rle["size"]), rle["counts"]) for rle in pair))
                for pair in zip(ours.rows["rle"].to_pylist(), job["rle"].to_pylist(), strict=True)
            ]
            assert min(same) > 0.95, (corrected, object_id, same)
    before, after = (bench.labels(1, state).rows["area"].to_numpy() for state in ((), (3,)))
    assert (np.abs(after / before - 1) > 0.06).any(), "masks of before the correction would not pass"
