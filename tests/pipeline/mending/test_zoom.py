"""A small box is looked at closely: the region around it, its mask in the frame, and what is said there afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from model import ArrayFrames, BoxPrompt, VideoSession, load_model
from pipeline import tables
from pipeline.errors import CannotMend
from pipeline.masks.rle import decode_rle
from pipeline.mending.correction import Said, Seen, answered
from pipeline.mending.known_masks import overlap
from pipeline.mending.mender import Mender
from pipeline.mending.zoom import Point, Region, Zoom, region_around
from tests.bench.doubt_clips import clips as drawn_clips
from tests.support.mendable import Mendable, box_of, worst_click, write_mendable_job

SIZE_HW = (120, 160)
VIDEO, SMALL, LARGE, FRAME = "doubt3536", 4, 2, 3


@pytest.mark.parametrize(
    ("box_xyxy", "region"),
    [
        ((60, 50, 90, 70), Region(30, 15, 90, 90)),
        ((0, 0, 30, 20), Region(0, 0, 90, 90)),
        ((140, 100, 160, 120), Region(96, 56, 64, 64)),
        ((80, 60, 83, 62), Region(50, 29, 64, 64)),
        ((60, 50, 110, 60), Region(10, 0, 150, 120)),
        ((60, 50, 115, 60), None),
    ],
    ids=["middle", "corner", "other corner", "tiny", "as high as the frame", "not small"],
)
def test_a_region_is_three_times_as_long_as_its_box_and_lies_in_the_frame(
    box_xyxy: tuple[float, float, float, float], region: Region | None
) -> None:
    assert region_around(box_xyxy, SIZE_HW, 256) == region
    if region is not None:
        assert region.holds([box_xyxy[:2], (box_xyxy[2] - 0.01, box_xyxy[3] - 0.01)])


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Mendable:
    """Four shapes. The network does not tell the last from its neighbors where it sees the whole frame."""
    ((clip, _),) = drawn_clips([3536], num_frames=6, hardest=0.3)
    return write_mendable_job(tmp_path_factory.mktemp("small"), clip)


@pytest.fixture(scope="module")
def mender(film: Mendable) -> Iterator[Mender]:
    job = tables.open(film.uri)
    mender = Mender(film.storage, lambda: job, job.video)
    yield mender
    mender.close()


def pixels(seen: Seen) -> np.ndarray:
    assert seen.counts is not None
    return decode_rle(seen.size_hw, seen.counts)


def of_the_frame(film: Mendable, object_id: int, *clicks: tuple[Point, int]) -> np.ndarray:
    """What the box of an object, and clicks, give where the network sees the frame."""
    session = VideoSession(load_model("mini"), ArrayFrames(film.frames_THW3))
    points_xy, labels = tuple(point_xy for point_xy, _ in clicks), tuple(label for _, label in clicks)
    prompt = replace(box_of(film.clip.mask(object_id, FRAME)), points_xy=points_xy, labels=labels)
    return session.correct(object_id, FRAME, prompt, heading=None).masks()[0].numpy()


@pytest.mark.slow
def test_a_box_around_a_small_object_gives_a_better_mask_than_the_frame_does(film: Mendable, mender: Mender) -> None:
    truth = film.clip.mask(SMALL, FRAME)
    correction = mender.open(VIDEO, SMALL, FRAME)
    seen = correction.box(box_of(truth).box_xyxy)
    assert seen.size_hw == SIZE_HW
    assert overlap(pixels(seen), truth) > overlap(of_the_frame(film, SMALL), truth) + 0.2
    assert correction.began_afresh


@pytest.mark.slow
def test_a_box_around_a_large_object_gives_what_the_frame_gives(film: Mendable, mender: Mender) -> None:
    seen = mender.open(VIDEO, LARGE, FRAME).box(box_of(film.clip.mask(LARGE, FRAME)).box_xyxy)
    assert overlap(pixels(seen), of_the_frame(film, LARGE)) > 0.99


@pytest.mark.slow
def test_clicks_go_on_from_the_mask_of_the_region_and_beyond_it_from_the_frame(film: Mendable, mender: Mender) -> None:
    truth, far = film.clip.mask(SMALL, FRAME), (150.0, 10.0)
    on_it = worst_click(np.zeros_like(truth), truth)[0]
    correction = mender.open(VIDEO, SMALL, FRAME)
    boxed = correction.box(box_of(truth).box_xyxy)
    clicked = correction.click(on_it, 1)
    assert overlap(pixels(clicked), truth) > overlap(of_the_frame(film, SMALL, (on_it, 1)), truth) + 0.1
    expected = of_the_frame(film, SMALL, (on_it, 1), (far, 0))
    assert overlap(pixels(correction.click(far, 0)), expected) > 0.99
    correction.undo()
    assert correction.undo() == boxed


@pytest.mark.slow
def test_regions_of_a_few_corrections_are_kept_and_the_others_are_encoded_again(
    film: Mendable, mender: Mender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame of a large network has 16 MB of features, and 64 corrections are under way."""
    monkeypatch.setattr("pipeline.mending.mender._MOST_ZOOMS", 1)
    truth = film.clip.mask(SMALL, FRAME)
    on_it = worst_click(np.zeros_like(truth), truth)[0]
    first, second, plain = (mender.open(VIDEO, SMALL, FRAME) for _ in range(3))
    for one in (first, plain):
        mender.correction(one.id).box(box_of(truth).box_xyxy)
    expected = plain.click(on_it, 1)
    mender.correction(second.id).box(box_of(truth).box_xyxy)
    assert [one._zoom is not None for one in (first, second, plain)] == [False, True, False]
    assert mender.correction(first.id).click(on_it, 1) == expected


@pytest.mark.slow
def test_a_click_beside_the_object_takes_a_part_of_the_region_away(film: Mendable) -> None:
    """The click is told in pixels of the frame, and the part lies in those of the region."""
    box_xyxy = box_of(film.clip.mask(SMALL, FRAME)).box_xyxy
    region = region_around(box_xyxy, SIZE_HW, 256)
    assert region is not None
    zoom = Zoom(load_model("mini"), film.frames_THW3[FRAME], region)
    found = zoom.answer(BoxPrompt(box_xyxy), None)
    _, height, width = found.logits_BHW.shape
    two_parts = torch.full_like(found.logits_BHW, -10.0)
    two_parts[:, : height // 2, : width // 2] = 10.0
    two_parts[:, -height // 8 :, -width // 8 :] = 10.0
    corner = region.left + region.width - 2.0, region.top + region.height - 2.0
    said = Said((corner,), (0,), box_xyxy)
    step = answered(replace(found, logits_BHW=two_parts), said, zoom)
    assert step.mask_HW is not None
    assert step.mask_HW[region.top + 2, region.left + 2]
    assert not step.mask_HW[int(corner[1]), int(corner[0])]
    assert step.mask_HW.sum() == pytest.approx(region.width * region.height / 4, rel=0.1)


@pytest.mark.slow
def test_a_box_beyond_the_frame_is_cut_off_or_refused_by_the_size_of_the_frame(film: Mendable, mender: Mender) -> None:
    correction = mender.open(VIDEO, SMALL, FRAME)
    assert correction.box((-2.0, 10.0, 20.0, 30.0)).size_hw == SIZE_HW
    with pytest.raises(CannotMend, match=r"sticks out of the frame \(160 wide, 120 high\)"):
        correction.box((150.0, 10.0, 190.0, 30.0))


@pytest.mark.slow
def test_a_small_box_in_a_video_that_is_gone_is_refused(film: Mendable, mender: Mender) -> None:
    """The picture of the frame was kept, until other frames came."""
    correction = mender.open(VIDEO, SMALL, FRAME)
    mender.wait()
    correction._frames._pictures.clear()
    away = film.path.rename(film.path.with_suffix(".away"))
    try:
        with pytest.raises(CannotMend, match=r"film\.mp4"):
            correction.box((100.0, 60.0, 120.0, 80.0))
    finally:
        away.rename(film.path)
    assert correction.box((100.0, 60.0, 120.0, 80.0)).counts is not None
