"""Boxes of a detector are read, put onto labeled frames, and told apart by category."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.inputs.boxes import FractionBox
from pipeline.inputs.detections import Detection, VideoDetections, parse_detections
from pipeline.records import FramePosition
from pipeline.seeds.detected import DetectedMask, Said
from pipeline.seeds.discovery import Discovery, DiscoveryRules
from pipeline.worker.placed_boxes import PlacedBoxes
from tests.pipeline.seeds.test_discovery import block, found

SIZE = (40, 60)


def row(
    frame: int | None, box: list[float] | None = None, score: float | None = 0.9, **more: object
) -> dict[str, object]:
    return {"frame_index": frame, "pts_seconds": None, "box_xyxy": box or [1.0, 2.0, 9.0, 8.0], "score": score} | more


def placed(*rows: dict[str, object], min_score: float = 0.35, frame_seconds: float = 0.1) -> PlacedBoxes:
    return PlacedBoxes(parse_detections(rows), min_score, SIZE, frame_seconds)


def scores(boxes: PlacedBoxes, *frames: int) -> list[list[float | None]]:
    """Of frames 0.1 s apart, of which these are labeled, one after the other."""
    return [[said.score for _, said in boxes.at(index, FramePosition(n, n / 10))] for index, n in enumerate(frames)]


def test_boxes_come_to_their_frame_the_best_first_and_those_at_times_to_the_nearest() -> None:
    rows = [row(3, score=0.5), row(3, score=0.8), row(None, pts_seconds=0.34), row(None, pts_seconds=0.56, score=None)]
    boxes = placed(*rows)
    assert scores(boxes, 0, 1, 2, 3, 4, 5, 6) == [[], [], [], [0.9, 0.8, 0.5], [], [], [None]]
    assert boxes.remark() == ""


def test_boxes_at_times_come_to_the_nearest_frame_where_frames_do_not_come_at_the_rate_of_the_file() -> None:
    """Four frames 33 ms apart, 3 s of nothing, and four more. Every second one is labeled."""
    times = [*(0.033 * index for index in range(4)), *(3.1 + 0.033 * index for index in range(4))]
    gaps = [math.inf, *np.diff(times).tolist(), math.inf]
    given = parse_detections([row(None, pts_seconds=at, score=0.5 + index / 100) for index, at in enumerate(times)])
    boxes = PlacedBoxes(given, 0.35, SIZE, 0.2, lambda index: (gaps[index], gaps[index + 1]))
    found = [
        [said.score for _, said in boxes.at(label, FramePosition(n, times[n]))] for label, n in enumerate((0, 2, 4, 6))
    ]
    assert found == [[0.5], [0.52], [0.54], [0.56]]
    assert boxes.remark() == "4 detections left out: 4 on frames that are not labeled"


def test_a_frame_is_asked_for_several_times_and_has_the_same_boxes() -> None:
    boxes = placed(row(2))
    assert boxes.at(1, FramePosition(2, 0.2)) == boxes.at(1, FramePosition(2, 0.2)) != ()


def test_what_is_left_out_is_counted_and_one_reason_is_told() -> None:
    rows = [row(0, score=0.3), row(1), row(None, pts_seconds=0.1), row(4, [70.0, 0.0, 90.0, 9.0]), row(9)]
    boxes = placed(*rows, row(0, [5.0, 5.0, 1.0, 9.0]), row(None), row(0, score=float("nan")))
    assert scores(boxes, 0, 2, 4) == [[], [], []]
    assert boxes.remark().startswith(
        "8 detections left out: 1 below discover.min_score, 3 on frames that are not labeled, 4 that are no boxes "
        "there ("
    )


@pytest.mark.parametrize(
    ("frames", "are_dense"), [((0, 10, 20), True), ((0, 10), False), ((0, 20, 60), False), ((0, 1, 2, 3), True)]
)
def test_boxes_at_least_once_a_second_are_dense(frames: tuple[int, ...], are_dense: bool) -> None:
    assert placed(*(row(frame) for frame in frames)).are_dense is are_dense


def test_fractions_are_boxes_of_the_frame_and_no_category_is_none() -> None:
    (one,) = parse_detections([{"frame_index": 0, "box_xyxyn": [0.0, 0.5, 0.5, 1.0], "category": ""}]).boxes
    assert one == Detection(FramePosition(0, None), FractionBox((0.0, 0.5, 0.5, 1.0)), None, None)
    boxes = PlacedBoxes(VideoDetections((one,)), 0.35, SIZE, 0.1)
    assert boxes.at(0, FramePosition(0, None))[0][0].box_xyxy == (0.0, 20.0, 30.0, 40.0)


def detected(x0: int, category: str, score: float | None = 0.9) -> DetectedMask:
    return DetectedMask(**vars(found(x0, 0, 20, 20)), said=Said(category, score))


def test_a_mask_of_another_category_neither_covers_nor_confirms_nor_is_a_duplicate() -> None:
    discovery = Discovery(DiscoveryRules(sure_score=0.7))
    assert len(discovery.look(0, [detected(0, "shirt"), detected(0, "person", 0.5), detected(1, "shirt")], {}).new) == 2
    tracks = {1: block(0, 0, 20, 20), 2: block(0, 0, 20, 20)}
    for frame in (8, 16):
        assert discovery.look(frame, [detected(0, "shirt")], tracks).new == ()
    end = discovery.end()
    assert [(one.category, one.object_id) for one in end.objects] == [("shirt", 1)]
    assert (end.duplicates, end.num_unconfirmed) == ((), 1)


def test_a_box_without_a_score_is_certain() -> None:
    discovery = Discovery(DiscoveryRules(max_looks=1))
    discovery.look(0, [detected(0, "cup", None)], {})
    discovery.look(8, [], {})
    assert [one.category for one in discovery.end().objects] == ["cup"]
