"""A prompt far into a film is found without decoding all that comes before it."""

from __future__ import annotations

import functools

import pytest
import torch

from pipeline.records import FramePosition
from pipeline.video.frames import VideoFrames
from pipeline.video.selection import FrameSelection
from tests.model.media.test_film_faults import with_damage
from tests.support.films import Film, drawn
from tests.support.media_files import media_of

NUM_FRAMES = 120
LATE = 101


@functools.cache
def film(container: str = "mp4", more: str = "scenecut=0") -> bytes:
    options = (("preset", "ultrafast"), ("bf", "2"), ("g", "10"), ("x264-params", more))
    return drawn(Film(container, options=options, times=tuple(range(NUM_FRAMES))))


@functools.cache
def all_frames(container: str = "mp4", more: str = "scenecut=0") -> list[torch.Tensor]:
    with VideoFrames(media_of(film(container, more))) as frames:
        return [frame.pixels_HW3 for frame in frames.forward(0)]


@pytest.mark.parametrize("position", [FramePosition(LATE, None), FramePosition(None, LATE / 10)], ids=["index", "time"])
@pytest.mark.parametrize(
    ("container", "more"),
    [("mp4", "scenecut=0"), ("matroska", "scenecut=0"), ("mp4", "scenecut=0:open-gop=1")],
    ids=["mp4", "matroska", "open gop"],
)
def test_a_late_prompt_is_on_its_frame_and_few_are_decoded_for_it(
    container: str, more: str, position: FramePosition
) -> None:
    with VideoFrames(media_of(film(container, more)), prompted=[position]) as frames:
        assert frames.locate(position) == LATE
        assert frames.num_counted > LATE - 40
        assert frames.num_frames is None
        for frame in (*frames.at([LATE]), *frames.forward(LATE - 3), *frames.backward(5)):
            assert torch.equal(frame.pixels_HW3, all_frames(container, more)[frame.index])
        assert frames.num_frames == NUM_FRAMES


def test_frames_that_are_counted_are_decoded_when_they_are_walked() -> None:
    with VideoFrames(media_of(film()), prompted=[FramePosition(LATE, None)]) as frames:
        found = list(frames.forward(0))
        assert frames.num_counted == 0
        assert all(torch.equal(one.pixels_HW3, other) for one, other in zip(found, all_frames(), strict=True))
        assert frames.remarks() == ()


def test_a_range_and_a_rate_number_counted_frames_as_decoded_ones() -> None:
    selection = FrameSelection(fps=5, start_seconds=3.3, end_seconds=11.4)
    position = FramePosition(60, None)
    with VideoFrames(media_of(film()), selection, prompted=[position]) as frames:
        assert frames.num_counted > 20
        label = frames.locate(position)
        assert label is not None
        (found,) = frames.at([label])
        assert torch.equal(found.pixels_HW3, all_frames()[33 + 60])
        assert frames.position(label) == FramePosition(60, pytest.approx(9.3))


def test_behind_damage_frames_are_decoded_and_have_the_numbers_that_a_whole_pass_gives_them() -> None:
    data = with_damage(film(), 30, share=0.0, num_bytes=40)
    with VideoFrames(media_of(data)) as frames:
        whole = [frame.pixels_HW3 for frame in frames.forward(0)]
    with VideoFrames(media_of(data), prompted=[FramePosition(LATE, None)]) as frames:
        assert frames.num_counted == 0
        (found,) = frames.at([LATE])
        assert torch.equal(found.pixels_HW3, whole[LATE])
