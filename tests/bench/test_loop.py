"""The loop pays: the queue gains more in the same seconds than chance. The masks of the bench are those of a job."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
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
from tests.bench.loop import (
    EARLY,
    FEW_BAD,
    MARK,
    at_mark,
    file_of,
    intervals,
    report,
    shares_at_mark,
    ways_of_the_seconds,
)
from tests.bench.loop_clicks import Box, Clicks, Point, iou, mend, next_click
from tests.bench.loop_clips import Frames, LoopClip, TrackLabels
from tests.bench.loop_rounds import Habit, Work, work
from tests.bench.loop_tracks import Look, Tracks, looks
from tests.support.rounds import correct, rle_of


@pytest.fixture(scope="module")
def kept() -> Tracks:
    """The tracks of the bench, as it measured them before and after each correction."""
    return Tracks(pq.read_table(file_of(200)))


@pytest.fixture(scope="module")
def short() -> Tracks:
    """Tracks of clips of 40 frames, through which a look is quick."""
    return Tracks(pq.read_table(file_of(40)))


_SHARES = (0.1, MARK, EARLY)


@pytest.fixture(scope="module")
def found(kept: Tracks) -> dict[str, Any]:
    return report(kept, num_lots=5, shares=_SHARES)


@pytest.fixture(scope="module")
def few(kept: Tracks) -> dict[str, Any]:
    """The same tracks with the good clips counted so often that one track in ten is bad."""
    return report(kept.diluted(FEW_BAD[0]), num_lots=3, shares=_SHARES)


@pytest.mark.slow
def test_the_queue_gains_more_in_the_same_time_than_random_orders(found: dict[str, Any]) -> None:
    assert (found["num_tracks"] > 200, found["num_bad"] > 60) == (True, True)
    assert found["j_and_f_after"] > found["j_and_f_before"] + 0.04
    early = {policy: one["early"] for policy, one in found["policies"].items()}
    assert min(early["value"][0], early["doubt"][0]) > max(early["random"]) + 0.1, "more than any of 5"
    least = max(0.7, at_mark(found, "random") + 0.3, at_mark(found, "all") + 0.3)
    assert min(at_mark(found, "value"), at_mark(found, "doubt")) > least
    assert at_mark(found, "mendable") > at_mark(found, "value") + 0.05


@pytest.mark.slow
def test_the_queue_gains_more_still_where_few_tracks_are_bad(few: dict[str, Any]) -> None:
    assert few["num_bad"] / few["num_tracks"] == pytest.approx(FEW_BAD[0], rel=0.1)
    early = {policy: one["early"] for policy, one in few["policies"].items()}
    assert min(early["doubt"][0], early["value"][0]) > max(early["random"]) + 0.1
    assert min(at_mark(few, "value"), at_mark(few, "doubt")) > 0.8


def test_a_fifth_of_the_seconds_gives_most_where_one_track_in_twenty_is_bad(kept: Tracks) -> None:
    found = shares_at_mark(kept.diluted(FEW_BAD[1]), ("value", "doubt"))
    assert min(found.values()) > 0.85


def test_few_seconds_of_the_first_fifth_go_to_good_tracks_by_the_queue(found: dict[str, Any]) -> None:
    """Where the seconds go says what would help: here the bad tracks of which no mask is worth saving."""
    seconds = {policy: one["seconds"] for policy, one in found["policies"].items()}
    assert all(sum(shares.values()) == pytest.approx(1.0) for shares in seconds.values())
    assert max(seconds["doubt"]["good"], seconds["value"]["good"]) < 0.25 < 0.4 < seconds["random"]["good"]
    assert seconds["value"]["not mended"] > 0.12 > 0.1 > seconds["mendable"]["not mended"]


def test_who_skips_a_track_at_the_first_frame_that_gives_no_mask_gains_less(kept: Tracks) -> None:
    """Of the bad tracks that can be mended many are at the second frame."""
    stays, skips = (shares_at_mark(kept, ("value", "doubt"), one) for one in ("glances", "skips"))
    assert min(stays[policy] - skips[policy] for policy in stays) > 0.2


def test_who_looks_through_tracks_last_gains_more_where_many_are_bad_and_most_where_they_are_long(
    kept: Tracks, short: Tracks
) -> None:
    for tracks, more in ((kept, 0.1), (short, 0.02)):
        looks_through, glances = (
            shares_at_mark(tracks, ("value", "doubt"), one) for one in ("looks through", "glances")
        )
        assert min(glances[policy] - looks_through[policy] for policy in glances) > more


def test_the_interval_of_a_share_holds_it_and_is_that_of_other_clips(kept: Tracks) -> None:
    share = shares_at_mark(kept, ("value",))["value"]
    low, high = intervals(kept, num_drawn=12, policies=("value",))["value"]
    assert 0 < low < share < high < 1
    assert high - low > 0.1


def with_doubt(kept: Tracks, doubt: np.ndarray[Any, Any]) -> Tracks:
    table = kept.table
    place = table.schema.get_field_index("doubt")
    return Tracks(table.set_column(place, table.schema.field("doubt"), pa.array(doubt, pa.float32())))


def test_the_bar_is_above_doubt_that_is_turned_round(kept: Tracks) -> None:
    turned = shares_at_mark(with_doubt(kept, 1 - kept.table["doubt"].to_numpy()), ("doubt",))
    assert turned["doubt"] < 0.15


GOOD = Look(1, 0, 40, 0, None)
"""At a track that is good: the doubtful frame, then all frames."""


def drawn_tracks(**columns: list[Any]) -> Tracks:
    """Two tracks of a video: the second is bad until it is corrected once. Frame 3 is where it is mended."""
    rows = {
        "video_id": ["v"] * 4,
        "object_id": [1, 2, 1, 2],
        "category": [None] * 4,
        "num_masks": [40] * 4,
        "num_visible": [40] * 4,
        "doubt": [0.1, 0.9, 0.1, 0.2],
        "doubt_reasons": [[]] * 4,
        "doubt_frame": [0] * 4,
        "correction": [None, None, None, "fix"],
        "states": [[0, 0], [0, 0], [0, 1], [0, 1]],
        "num_corrections": [0, 0, 0, 1],
        "j_and_f": [0.8, 0.3, 0.8, 0.7],
        "is_bad": [False, True, False, False],
        "looks": [[GOOD], [Look(1, 0, 5, 3, 3)], [GOOD], [GOOD]],
    }
    columns = rows | columns
    columns["looks"] = [[asdict(one) for one in ahead] for ahead in columns["looks"]]
    return Tracks(pa.table(columns))


def test_seconds_are_those_of_the_cost_model() -> None:
    """30 s for 300 frames, 1 s for a frame by itself, 1.5 s a click; what was corrected is looked at once more."""
    steps = [(now.seconds, now.j_and_f()) for now in work(drawn_tracks(), "doubt")]
    assert steps == pytest.approx(np.array([(6.0, 0.75), (11.0, 0.75), (16.0, 0.75), (16.0, 0.75)]))
    assert next(now.seconds for now in work(drawn_tracks(), "all")) == pytest.approx(5.0)


def test_a_track_of_which_no_mask_is_saved_is_not_looked_at_again() -> None:
    hopeless = [[GOOD], [Look(1, 0, 5, 3, None)], [GOOD], [GOOD]]
    last = list(work(drawn_tracks(looks=hopeless), "doubt"))[-1]
    assert (last.seconds, last.j_and_f()) == pytest.approx((11.0, 0.55))
    assert last.done == {("v", 1), ("v", 2)}


def steps(tracks: Tracks, habit: Habit, budget: float | None = None) -> list[tuple[float, float]]:
    return [(now.seconds, now.j_and_f()) for now in work(tracks, "doubt", budget, habit=habit)]


def test_who_stays_tries_all_frames_at_once_and_who_skips_comes_back_behind_all_others() -> None:
    """A second try costs 4.5 s, and 1 s more for whoever has left the track."""
    twice = drawn_tracks(looks=[[GOOD], [Look(1, 0, 5, 3, None), Look(0, 0, 0, 3, 3)], [GOOD], [GOOD]])
    assert steps(twice, "looks through")[:2] == pytest.approx(np.array([(10.5, 0.75), (15.5, 0.75)]))
    assert steps(twice, "skips")[:3] == pytest.approx(np.array([(6.0, 0.55), (11.0, 0.55), (16.5, 0.75)]))
    budget = 12.0  # a round of 4 s ends behind the first look of each
    assert next(work(twice, "doubt", budget, habit="skips")).skipped == {("v", 2): 1}
    *_, last = work(twice, "doubt", budget, habit="skips")
    assert (last.seconds, last.corrections) == (16.5, {("v", 2): 1})


def test_who_glances_leaves_a_track_after_a_second_and_looks_through_it_when_all_others_are_done() -> None:
    """A look through the good track is 5 s, 1 s of which opens it: the glance before costs 1 s more."""
    first = drawn_tracks(doubt=[0.9, 0.1, 0.9, 0.1])  # the good track comes first
    assert steps(first, "looks through")[:2] == pytest.approx(np.array([(5.0, 0.55), (11.0, 0.75)]))
    assert steps(first, "glances")[:3] == pytest.approx(np.array([(1.0, 0.55), (7.0, 0.75), (12.0, 0.75)]))
    *_, last = work(first, "doubt", 6.0, habit="glances")  # a round of 2 s ends behind the second track
    assert (last.corrections, last.done) == ({("v", 2): 1}, set())
    assert ways_of_the_seconds(first, "doubt", 6.0) == pytest.approx(
        {"mended": 6 / 7, "no better": 0.0, "not mended": 0.0, "good": 1 / 7}
    )


def test_who_glances_leaves_the_look_through_a_track_that_two_frames_did_not_mend_to_the_end_as_well() -> None:
    """Two tries are 10.5 s. The look through 40 frames is 4 s, the frame there 4.5 s, and the page opens once more."""
    hard = [Look(1, 0, 5, 3, None), Look(0, 0, 0, 3, None), Look(0, 0, 40, 3, 30)]
    last = drawn_tracks(looks=[[GOOD], hard, [GOOD], [GOOD]])
    assert steps(last, "looks through")[:2] == pytest.approx(np.array([(19.0, 0.75), (24.0, 0.75)]))
    assert steps(last, "glances")[:4] == pytest.approx(
        np.array([(10.5, 0.55), (11.5, 0.55), (21.0, 0.75), (26.0, 0.75)])
    )


def test_a_track_without_a_doubtful_frame_has_nothing_to_glance_at() -> None:
    unknown = drawn_tracks(looks=[[Look(0, 0, 40, 0, None)], [Look(1, 0, 5, 3, 3)], [Look(0, 0, 40, 0, None)], [GOOD]])
    assert steps(unknown, "glances")[:2] == pytest.approx(np.array([(6.0, 0.75), (10.0, 0.75)]))


def test_an_order_that_knows_what_can_be_mended_has_the_others_last() -> None:
    hopeless = drawn_tracks(looks=[[Look(1, 0, 5, 3, 3)], [Look(1, 0, 5, 3, None)], [Look(1, 0, 5, 3, 3)], [GOOD]])
    first = next(work(hopeless, "mendable"))
    assert first.corrections == {("v", 1): 1}
    assert next(work(hopeless, "value")).done == {("v", 2)}


def test_a_clip_that_counts_twice_has_tracks_of_its_own() -> None:
    two = drawn_tracks().of_clips(["v", "v"])
    assert two.keys == [("v", 1), ("v", 2), ("v+2", 1), ("v+2", 2)]
    rows = two.rows({("v+2", 2): 1}).select(["video_id", "object_id", "doubt"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("v", 1, 0.1), ("v", 2, 0.9), ("v+2", 1, 0.1), ("v+2", 2, 0.2)]
    assert drawn_tracks().of_clips(["v"] * 3).of_clips(["v"]).keys == drawn_tracks().keys


def test_a_round_ends_when_its_seconds_are_spent() -> None:
    """A third of 12 s is spent by the first track; the next round begins with what the queue knows then."""
    steps = [(now.seconds, Counter(now.corrections)) for now in work(drawn_tracks(), "doubt", 12.0)]
    assert [seconds for seconds, _ in steps] == pytest.approx([6.0, 11.0, 16.0, 16.0])
    assert steps[-1][1] == {("v", 2): 1}


def test_the_best_order_begins_with_what_gains_most_in_a_second() -> None:
    now = Work(drawn_tracks())
    assert (now.gain(("v", 1)), now.gain(("v", 2))) == pytest.approx((0.0, 0.4))
    assert next(one.seconds for one in work(drawn_tracks(), "best")) == pytest.approx(6.0)


def track_of(j: list[float], areas: list[int], j_and_f: float = 0.4, first_frame: int = 10) -> TrackLabels:
    rows = pa.table({"frame_index": range(first_frame, first_frame + len(j))})
    return TrackLabels(rows, first_frame, np.array(j), np.array(areas), j_and_f, 0.0)


def test_an_annotator_goes_back_to_where_a_fault_begins_and_takes_the_first_frame_that_shows_the_object_well() -> None:
    labels = track_of([0.9, 0.3, 0.9, 0.2, 0.1, 0.1, 0.9], [100, 100, 100, 20, 80, 100, 100])
    assert labels.way_back(15) == (1, 1, 11), "he passes over the right mask of frame 12"
    assert labels.way_back(11) == (1, 1, 11)
    assert [labels.is_wrong_on(frame) for frame in (12, 13)] == [False, True]
    assert labels.first_clear_frame == 11
    assert track_of([0.1, 0.2], [50, 100]).way_back(11) == (1, 0, 11), "a track that is wrong from its begin"


def test_an_annotator_goes_back_by_tens_and_knows_only_the_frames_that_he_has_seen() -> None:
    """Frames 10 to 21 are right. From frame 44 he sees 34, 24 and 14, which is right, then 15 to 22."""
    j, areas = [0.9] * 12 + [0.1] * 28, [100] * 12 + [20] * 3 + [90] * 25
    assert track_of(j, areas).way_back(44) == (3, 8, 34), "the object hardly shows on 22 and 24"
    assert track_of(j, [100] * 12 + [20] * 28).way_back(44) == (3, 8, 44), "none shows it well, and he stays"
    assert track_of(j, [100] * 40).way_back(24) == (1, 8, 22)


def test_a_frame_that_does_not_show_the_object_is_not_one_to_mend() -> None:
    assert not track_of([0.0, 0.9], [0, 50]).is_wrong_on(10)
    assert track_of([0.0, 0.2, 0.8], [0, 10, 50]).first_clear_frame == 11
    assert track_of([0.7, 0.6, 0.8], [50, 50, 50]).first_clear_frame == 11, "without a wrong frame: the worst one"


class DrawnClip:
    """One track, on whose frames a box gives masks with these IoUs, as `looks` asks for them."""

    def __init__(self, labels: TrackLabels, opened: int | None, ious: dict[int, float]) -> None:
        self._labels, self._opened, self._ious = labels, opened, ious

    def labels(self, object_id: int, corrected: Frames) -> TrackLabels:
        return self._labels

    def doubtful_frame(self, object_id: int, corrected: Frames) -> int | None:
        return self._opened

    def correction(self, object_id: int, frame_index: int) -> Clicks:
        return Clicks(3, square(0, 5), self._ious[frame_index])

    def is_saved(self, object_id: int, corrected: Frames, frame_index: int) -> bool:
        return self._ious[frame_index] > 0.5


def tries(labels: TrackLabels, opened: int | None, ious: dict[int, float] | None = None) -> list[Look]:
    return looks(DrawnClip(labels, opened, ious or {}), 1, ())  # type: ignore[arg-type]


def test_an_annotator_mends_a_wrong_doubtful_frame_without_looking_through_the_track() -> None:
    bad = track_of([0.9, 0.2, 0.2, 0.2, 0.9], [100] * 5)
    assert tries(bad, 13, {11: 0.8}) == [Look(1, 1, 1, 3, 11)]
    failed = Look(1, 1, 1, 3, None)
    assert tries(bad, 13, {11: 0.4, 13: 0.8}) == [failed, Look(0, 0, 0, 3, 13)], "the fault's begin gives no mask"
    none = [failed, Look(0, 0, 0, 3, None), Look(1, 0, 5, 0, None)]
    assert tries(bad, 13, {11: 0.4, 13: 0.4}) == none, "none does, also where he would look next"
    assert tries(bad, 14, {11: 0.8}) == [Look(2, 0, 5, 3, 11)], "the doubtful frame is right, and the track is bad"
    assert tries(bad, None, {11: 0.8}) == [Look(1, 0, 5, 3, 11)]
    assert tries(track_of([0.9] * 5, [100] * 5, 0.9), 12) == [Look(1, 0, 5, 0, None)]
    assert tries(track_of([0.9] * 5, [100] * 5, 0.9), None) == [Look(0, 0, 5, 0, None)]


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

    def box(self, box_xyxy: Box) -> np.ndarray[Any, Any]:
        self.asked.append(box_xyxy)
        return self.masks.pop(0)

    def box_and_click(self, box_xyxy: Box, point_xy: Point, label: int) -> np.ndarray[Any, Any]:
        self.asked.append((box_xyxy, label))
        return self.masks.pop(0)


def test_an_annotator_draws_a_box_and_clicks_where_that_is_not_enough() -> None:
    wanted = square(0, 30)
    one, both = Answers(wanted), Answers(square(0, 20), wanted)
    found = mend(wanted, one)
    assert (one.asked, found.num_clicks, found.iou) == ([(0.0, 5.0, 30.0, 15.0)], 2, 1.0)
    found = mend(wanted, both)
    assert (both.asked[1], found.num_clicks, found.iou) == (((0.0, 5.0, 30.0, 15.0), 1), 3, 1.0)
    assert iou(found.mask_HW, wanted) == 1.0


def test_an_annotator_keeps_the_better_mask() -> None:
    wanted = square(0, 30)
    found = mend(wanted, Answers(square(0, 26), square(0, 20)))
    assert (found.num_clicks, iou(found.mask_HW, square(0, 26))) == (3, 1.0)
    found = mend(wanted, Answers(square(0, 20), square(0, 26)))
    assert iou(found.mask_HW, square(0, 26)) == 1.0


@pytest.mark.slow
def test_a_job_makes_the_masks_of_the_bench_before_and_after_a_correction(tmp_path: Path) -> None:
    """The bench propagates each object by a session of its own, the job all of them, then the corrected one alone.

    Both forget what the track had followed up to the corrected frame.
    """
    from model import load_model

    ((clip, prompts),) = drawn_clips(range(3002, 3003), 6, 0.5)
    videos, table = write_inputs(str(tmp_path / "in"), [clip], prompts)
    words = [f"videos={videos}", f"prompts={table}", f"output={tmp_path / 'out'}", "model=mini", "cluster=serial"]
    bench, keeping = (LoopClip(clip, prompts, load_model("mini"), forgets=forgets) for forgets in (True, False))
    for one in (bench, keeping):
        clicks = one.correction(1, 3)
    for corrected in ((), (3,)):
        if corrected:
            correct(tmp_path / "out", clip.name, 1, 3, mask_rle=rle_of(clicks.mask_HW))
        assert run.main([*words, "model.device=cpu"]) == 0
        masks = tables.open(str(tmp_path / "out")).masks().to_table()
        for object_id in bench.prompts:
            job = masks.filter(pc.field("object_id") == object_id)
            ours = bench.labels(object_id, corrected if object_id == 1 else ())
            assert min(overlaps(ours.rows, job)) > 0.95, (corrected, object_id)
    job = masks.filter(pc.field("object_id") == 1)
    assert min(overlaps(bench.labels(1).rows, job)) < 0.9, "masks of before the correction would not pass"
    assert min(overlaps(keeping.labels(1, (3,)).rows, job)) < 0.9, "nor would those of a walk that forgets nothing"
    j_after, j_kept = (float(one.labels(1, (3,)).j_T[4:].mean()) for one in (bench, keeping))
    assert j_after > j_kept + 0.1, "what comes after the correction is right for longer"


def overlaps(first: pa.Table, second: pa.Table) -> list[float]:
    """The IoU of the masks of two tables, row by row."""
    return [
        iou(*(decode_rle(tuple(rle["size"]), rle["counts"]) for rle in pair))
        for pair in zip(first["rle"].to_pylist(), second["rle"].to_pylist(), strict=True)
    ]
