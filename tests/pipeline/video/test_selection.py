from __future__ import annotations

import math

import pytest

from pipeline.records import FramePosition
from pipeline.video.selection import FrameIndex, FrameSelection, InconsistentFrames


def index_of(times: list[float], selection: FrameSelection | None = None, keys: tuple[int, ...] = (0,)) -> FrameIndex:
    index = FrameIndex(selection or FrameSelection())
    for frame, seconds in enumerate(times):
        index.record(frame, seconds, frame in keys)
    return index


TENTHS = [frame / 10 for frame in range(20)]


def labeled(index: FrameIndex) -> list[int]:
    return [index.frame_of(label) for label in range(index.num_labeled)]


def test_a_stride_labels_every_nth_frame_and_the_prompted_ones() -> None:
    index = index_of(TENTHS, FrameSelection(stride=6))
    assert labeled(index) == [0, 6, 12, 18]
    index.set_prompted([7, 12, 40])
    assert labeled(index) == [0, 6, 7, 12, 18]
    assert [index.label_of(frame) for frame in (7, 8, 18)] == [2, None, 4]
    assert [index.first_label_from(frame) for frame in (0, 7, 8, 19)] == [0, 2, 3, 5]


def test_frames_prompted_in_advance_are_labeled_when_they_come() -> None:
    index = FrameIndex(FrameSelection(stride=10))
    index.set_prompted([13])
    for frame, seconds in enumerate(TENTHS):
        index.record(frame, seconds, False)
    assert labeled(index) == [0, 10, 13]


@pytest.mark.parametrize(
    ("fps", "expected"), [(2.0, [0, 5, 10, 15]), (3.0, [0, 3, 7, 10, 13, 17]), (100.0, list(range(20)))]
)
def test_a_rate_is_kept_over_the_whole_range(fps: float, expected: list[int]) -> None:
    index = index_of([5 + seconds for seconds in TENTHS], FrameSelection(fps=fps))
    assert labeled(index) == expected[: index.num_labeled]
    index.finish(20)
    assert labeled(index) == expected


def test_a_position_by_time_is_the_nearest_frame_the_earlier_of_two() -> None:
    index = index_of([0.0, 1.0, 2.0, 4.0])
    for seconds, frame in (
        (0.0, 0),
        (0.5, 0),
        (0.6, 1),
        (2.9, 2),
        (3.1, 3),
        (6.0, 3),
        (6.1, None),
        (-0.5, 0),
        (-1.1, None),
    ):
        assert index.find(FramePosition(None, seconds)) == frame, seconds


def test_a_position_in_a_gap_is_the_frame_that_is_shown_then() -> None:
    index = index_of([0.0, 0.1, 0.2, 5.0, 5.1])
    for seconds, frame in ((0.25, 2), (0.35, 2), (2.0, 2), (4.0, 2), (4.89, 2), (4.95, 3), (5.0, 3), (5.04, 3)):
        assert index.find(FramePosition(None, seconds)) == frame, seconds


def test_a_position_by_index_must_exist() -> None:
    index = index_of(TENTHS)
    assert [index.find(FramePosition(frame, None)) for frame in (0, 19, 20, -1)] == [0, 19, None, None]


def test_more_must_be_decoded_until_a_position_is_certain() -> None:
    index = index_of([0.0, 1.0])
    assert index.covers(FramePosition(1, None))
    assert not index.covers(FramePosition(2, None))
    assert index.covers(FramePosition(None, 0.9))
    assert not index.covers(FramePosition(None, 1.0))  # a frame at 1.0001 could follow
    index.finish(2)
    assert index.covers(FramePosition(None, 99.0))


def test_a_pass_that_meets_other_frames_is_noticed() -> None:
    index = index_of(TENTHS)
    index.record(5, 0.5, False)
    with pytest.raises(InconsistentFrames, match=r"frame 5 was at 0\.5 s before"):
        index.record(5, 0.51, False)
    with pytest.raises(InconsistentFrames, match="frame 22 follows on 20 frames"):
        index.record(22, 2.2, False)
    with pytest.raises(InconsistentFrames, match="19 frames, 20 were known"):
        index.finish(19)
    index.finish(20)
    with pytest.raises(InconsistentFrames):
        index.record(20, 2.0, False)


def test_decoding_starts_at_key_frames_unless_times_repeat() -> None:
    index = index_of(TENTHS, keys=(0, 8, 16))
    assert [index.key_before(frame) for frame in (0, 7, 8, 19)] == [0, 0, 8, 16]
    assert index_of(TENTHS, keys=()).key_before(5) is None
    assert index_of([0.0, 1.0, 1.0, 2.0], keys=(0, 3)).key_before(3) is None
    index.forbid_seeking()
    assert index.key_before(19) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stride": 0}, "stride: expected 1 or more, got 0"),
        ({"fps": 0.0}, "fps: expected a number above 0"),
        ({"fps": math.nan}, "fps: expected a number above 0"),
        ({"fps": 2.0, "stride": 2}, "give stride or fps, not both"),
        ({"start_seconds": math.inf}, "start_seconds: expected a finite number"),
        ({"start_seconds": 3.0, "end_seconds": 3.0}, r"end_seconds \(3\.0\) must be after start_seconds \(3\.0\)"),
        ({"end_seconds": -1.0}, "must be after"),
    ],
)
def test_a_selection_of_nothing_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameSelection(**values)  # type: ignore[arg-type]


def test_the_gaps_around_a_frame_are_told_where_times_rise() -> None:
    index = index_of([0.0, 0.1, 0.4, 0.4, math.nan, 0.9])
    gaps = [index.gaps_of(frame) for frame in range(6)]
    none = math.inf
    assert [before for before, _ in gaps] == pytest.approx([none, 0.1, 0.3, none, none, none])
    assert [after for _, after in gaps] == pytest.approx([0.1, 0.3, none, none, none, none])
