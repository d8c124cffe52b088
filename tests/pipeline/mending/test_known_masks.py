"""Which masks of the job make the memory of a frame again, without any network."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import tables
from pipeline.errors import NotInJob
from pipeline.masks.rle import rle_of_runs
from pipeline.mending.clip_frames import ClipFrames
from pipeline.mending.known_masks import End, KnownObject, find_end, look_up
from pipeline.reviews.corrections import Correction
from tests.support.drawn_job import FPS, HEIGHT, WIDTH, DrawnVideo, Truth, write_job

LENGTH, STRIDE, CUT = 60, 2, 25


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Truth]:
    """Object 1 is prompted on the first of 60 labeled frames; in `late`, on the 40th. Every second frame is labeled."""
    folder = tmp_path_factory.mktemp("known")
    videos = (
        DrawnVideo("early", {1: None}, num_frames=LENGTH, stride=STRIDE, failed={9: "no such frame"}),
        DrawnVideo("cut", {1: None}, num_frames=LENGTH, stride=STRIDE, cuts_seconds=(CUT * STRIDE / FPS,)),
        DrawnVideo("late", {1: None}, num_frames=LENGTH, stride=STRIDE, prompt_frame=40 * STRIDE),
    )
    return write_job(folder, videos, broken=())


class Looked:
    """Looks objects up as a reviewer on a frame would."""

    def __init__(self, uri: str) -> None:
        self.job = tables.open(uri)

    def up(
        self, video_id: str, place: int, direction: str = "forward", said: Any = (), object_id: int = 1
    ) -> KnownObject:
        frames = ClipFrames(self.job.video(video_id), 64)
        return look_up(self.job, frames, object_id, place, direction, said)

    def end(self, video_id: str, place: int, said: Any = (), object_id: int = 1) -> End:
        return find_end(ClipFrames(self.job.video(video_id), 64), object_id, place, said)


@pytest.fixture(scope="module")
def looked(written: tuple[str, Truth]) -> Looked:
    return Looked(written[0])


def corrected(place: int, *, hidden: bool = False, object_id: int = 1) -> Correction:
    code = rle_of_runs(_RUNS, HEIGHT).counts
    rle = None if hidden else {"size": [HEIGHT, WIDTH], "counts": code}
    return Correction(object_id, place * STRIDE, rle, "ann", datetime(2026, 1, 3, tzinfo=UTC))


def _runs() -> Any:
    from pipeline.masks.rle import Runs

    return Runs(np.array([10, 20, HEIGHT * WIDTH - 30], np.int64))


_RUNS = _runs()


@pytest.mark.slow
def test_three_frames_are_walked_and_six_before_them_come_from_rows(looked: Looked, written: tuple[str, Truth]) -> None:
    known = looked.up("early", 30)
    assert (known.heading, known.walk_from) == (1, 27)
    assert sorted(known.recalled) == [21, 22, 23, 24, 25, 26]
    assert sorted(known.prompts) == [0]
    for place, mask in {**known.recalled, **known.prompts}.items():
        assert np.array_equal(mask, written[1]["early", 1, place * STRIDE])
    assert known.here is not None
    assert np.array_equal(known.here, written[1]["early", 1, 60])


def test_near_the_prompt_there_is_less_to_remember(looked: Looked) -> None:
    assert (looked.up("early", 0).walk_from, looked.up("early", 1).walk_from) == (0, 1)
    third = looked.up("early", 3)
    assert (third.walk_from, dict(third.recalled)) == (1, {})
    assert sorted(looked.up("early", 6).recalled) == [1, 2]


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_before_the_prompt_the_frames_after_are_remembered(looked: Looked, direction: str) -> None:
    known = looked.up("late", 20, direction)
    assert (known.heading, known.walk_from) == (-1, 23)
    assert sorted(known.recalled) == [24, 25, 26, 27, 28, 29]


def test_behind_the_prompt_a_walk_both_ways_goes_forward(looked: Looked) -> None:
    assert looked.up("late", 50, "both").heading == 1
    assert looked.up("late", 50, "forward").walk_from == 47


def test_behind_a_correction_the_walk_begins_at_it_and_the_mask_of_the_job_is_out_of_date(looked: Looked) -> None:
    known = looked.up("early", 30, said=[corrected(25)])
    assert (known.walk_from, known.is_behind_a_correction, known.here) == (25, True, None)
    assert sorted(known.recalled) == [19, 20, 21, 22, 23, 24]
    assert sorted(known.prompts) == [0, 25]
    assert looked.up("early", 20, said=[corrected(25)]).is_behind_a_correction is False


def test_rows_between_two_corrections_are_not_remembered(looked: Looked) -> None:
    known = looked.up("early", 30, said=[corrected(28), corrected(26)])
    assert (known.walk_from, sorted(known.recalled)) == (28, [27])


def test_far_behind_a_correction_at_most_32_frames_are_walked(looked: Looked) -> None:
    known = looked.up("early", 50, said=[corrected(5)])
    assert (known.walk_from, dict(known.recalled)) == (18, {})


def test_the_mask_of_a_corrected_frame_is_that_of_the_correction(looked: Looked) -> None:
    here = looked.up("early", 30, said=[corrected(30)]).here
    assert here is not None
    assert here.sum() == 20
    hidden = looked.up("early", 30, said=[corrected(30, hidden=True)])
    assert hidden.here is not None
    assert not hidden.here.any()
    assert not hidden.prompts[30].any()


def test_an_added_object_is_known_by_its_corrections_alone(looked: Looked) -> None:
    assert looked.up("early", 30, object_id=5).prompts == {}
    known = looked.up("early", 30, said=[corrected(25, object_id=5)], object_id=5)
    assert (sorted(known.prompts), known.walk_from, known.is_behind_a_correction) == ([25], 26, True)


def test_behind_a_corrected_prompt_no_row_counts(looked: Looked) -> None:
    known = looked.up("early", 5, said=[corrected(0)])
    assert (known.walk_from, dict(known.recalled), known.is_behind_a_correction) == (1, {}, True)
    assert not looked.up("early", 0, said=[corrected(0)]).is_behind_a_correction


def test_the_corrections_of_other_objects_do_not_count(looked: Looked) -> None:
    assert not looked.up("early", 30, said=[corrected(25, object_id=2)]).is_behind_a_correction


def test_many_prompts_are_looked_at_near_the_frame_alone(looked: Looked) -> None:
    known = looked.up("early", 30, said=[corrected(place) for place in range(31, 59)])
    assert sorted(known.prompts) == list(range(31, 39))


def test_an_object_that_failed_is_refused(looked: Looked) -> None:
    with pytest.raises(NotInJob, match="object 9 of video 'early' failed"):
        looked.up("early", 30, object_id=9)


def test_a_frame_between_two_labeled_ones_is_named(looked: Looked, tmp_path: Path) -> None:
    frames = ClipFrames(looked.job.video("early"), 64)
    with pytest.raises(NotInJob, match="those with masks are 0 to 118, every 2"):
        frames.place_of(3)


def test_nothing_is_known_beyond_a_cut(looked: Looked) -> None:
    before = looked.up("cut", CUT - 1)
    assert set(before.recalled) | set(before.prompts) <= set(range(CUT))
    end = looked.end("cut", CUT - 1)
    assert (end.start, end.stop) == (0, CUT)
    assert "a cut comes here" in end.behind
    behind = looked.up("cut", CUT + 4, said=[corrected(CUT - 2), corrected(CUT + 3)])
    assert list(behind.prompts) == [CUT + 3]
    assert behind.recalled == {}
    end = looked.end("cut", CUT + 4)
    assert (end.start, end.stop) == (CUT, LENGTH)
    assert "a cut begins here" in end.before


def test_the_job_follows_an_object_to_where_its_track_was_split(looked: Looked) -> None:
    new = replace(corrected(30, object_id=2), split_from=1)
    said = [corrected(30, hidden=True), new]
    old = looked.end("early", 10, said)
    assert (old.stop, old.behind) == (31, "object 2 begins here, because the track was split")
    assert looked.end("early", 40, said).stop == LENGTH
    assert looked.end("early", 30, said, object_id=2).start == 30
