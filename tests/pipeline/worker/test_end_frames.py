"""Digests of the first and the last frame with masks, held against the frames that PyAV decodes."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
import pyarrow as pa
import pytest
import torch

from model import MediaError
from pipeline.arrays import UInt8Array
from pipeline.records import FramePosition
from pipeline.video.frames import Handoff, VideoFrames
from pipeline.video.selection import FrameSelection
from pipeline.worker.end_frames import EndFrames
from tests.support.media_files import encode, media_of, pictures

NUM_FRAMES = 30


@functools.cache
def clip() -> bytes:
    return encode(pictures(NUM_FRAMES), options={"bf": "2", "g": "5", "preset": "ultrafast"})


@functools.cache
def decoded() -> list[tuple[float | None, str]]:
    with av.open(io.BytesIO(clip())) as container:
        frames = [(one.time, one.to_ndarray(format="rgb24").tobytes()) for one in container.decode(video=0)]
    return [(time, hashlib.sha256(pixels).hexdigest()) for time, pixels in frames]


def opened(ends: EndFrames, selection: FrameSelection | None = None, prompted: Sequence[int] = ()) -> VideoFrames:
    return VideoFrames(
        media_of(clip()),
        selection,
        prompted=[FramePosition(index, None) for index in prompted],
        transform=lambda pixels_HW3: pixels_HW3[:4, :4].contiguous(),
        handoff=Handoff(seen=ends.see),
    )


def masks_on(indexes: Sequence[int]) -> pa.Table:
    """Rows of two objects, the later one first, as `masks` has them by object."""
    both = [*indexes[1:], *indexes] if len(indexes) > 1 else list(indexes)
    times = [decoded()[index][0] for index in both]
    return pa.table({"frame_index": pa.array(both, pa.int32()), "pts_seconds": pa.array(times, pa.float64())})


def of_frame(end: str, index: int, start: int = 0) -> dict[str, object]:
    time, digest = decoded()[index]
    return {
        f"{end}_frame_index": index - start,
        f"{end}_pts_seconds": time,
        f"{end}_frame_sha256": digest,
    }


@dataclass
class OnceOnly:
    """Frames of which none can be read once more. `frames` know their labels."""

    frames: VideoFrames

    def find(self, position: FramePosition) -> int | None:
        return self.frames.find(position)

    def pixels_at(self, indexes: Sequence[int]) -> Iterator[tuple[int, UInt8Array]]:
        raise MediaError(f"frames {indexes} are gone")


def test_frames_that_a_walk_decodes_are_hashed_and_decoded_no_more() -> None:
    ends = EndFrames()
    with opened(ends, FrameSelection(stride=4), prompted=[6, 9]) as frames:
        ends.expect({2})
        frames.prepare([2, 4], 0)  # labels of the frames 6 and 9: a session encodes some frames before the first prompt
        assert [frame.index for frame in frames.at([2, 4])] == [2, 4]
        walked = [frames.position(frame.index).frame_index or 0 for frame in frames.forward(0)]
        assert walked == [0, 4, 6, 8, 9, 12, 16, 20, 24, 28]
        masks = masks_on(walked[2:])
        ends.settle(OnceOnly(frames), masks)
        assert ends.columns(frames, masks, None) == of_frame("first", 6) | of_frame("last", 28)


def test_a_walk_backward_begins_at_the_last_prompt_and_ends_at_the_first_frame() -> None:
    ends = EndFrames()
    with opened(ends, prompted=[12]) as frames:
        ends.expect({0, 12})
        walked = [frame.index for frame in frames.backward(13)]
        masks = masks_on(sorted(walked))
        ends.settle(OnceOnly(frames), masks)
        assert ends.columns(frames, masks, None) == of_frame("first", 0) | of_frame("last", 12)


def test_a_walk_both_ways_keeps_the_last_frame_while_it_walks_back() -> None:
    ends = EndFrames()
    with opened(ends, prompted=[12]) as frames:
        ends.expect({0})
        walked = [frame.index for frame in frames.forward(12)] + [frame.index for frame in frames.backward(12)]
        masks = masks_on(sorted(walked))
        ends.settle(OnceOnly(frames), masks)
        assert ends.columns(frames, masks, None) == of_frame("first", 0) | of_frame("last", NUM_FRAMES - 1)


def test_numbers_count_in_the_range_and_times_in_the_file() -> None:
    ends, start = EndFrames(), 10
    selection = FrameSelection(start_seconds=decoded()[start][0], end_seconds=decoded()[20][0])
    with opened(ends, selection, prompted=[0]) as frames:
        ends.expect({0})
        walked = [frame.index for frame in frames.forward(0)]
        assert walked == list(range(10))
        rows = masks_on(range(start, 20))
        masks = rows.set_column(0, "frame_index", pa.array([one.as_py() - start for one in rows[0]], pa.int32()))
        ends.settle(OnceOnly(frames), masks)
        wanted = of_frame("first", start, start) | of_frame("last", 19, start)
        assert ends.columns(frames, masks, None) == wanted


def test_a_frame_that_nobody_expected_is_decoded_again_and_never_gets_the_digest_of_another_one() -> None:
    """As where the first object failed, or the video goes on where it was saved."""
    ends = EndFrames()
    with opened(ends, prompted=[0, 7]) as frames:
        ends.expect({0})
        list(frames.forward(0))
        masks = masks_on(range(7, 21))
        gone = OnceOnly(frames)
        ends.settle(gone, masks)
        known = ends.columns(frames, masks, None)
        assert (known["first_frame_sha256"], known["last_frame_sha256"]) == (None, None)
        assert (known["first_frame_index"], known["last_frame_index"]) == (7, 20)
        ends.settle(frames, masks)
        assert ends.columns(frames, masks, None) == of_frame("first", 7) | of_frame("last", 20)


def test_after_a_round_a_frame_that_was_not_decoded_keeps_the_digest_that_it_had() -> None:
    ends = EndFrames()
    with opened(ends, prompted=[7]) as frames:
        ends.expect({7})
        list(frames.forward(7))
        ends.settle(frames, masks_on(range(7, NUM_FRAMES)))
        whole = masks_on(range(2, NUM_FRAMES))  # with the rows of an object that was not labeled again
        last = of_frame("last", NUM_FRAMES - 1)
        noted = {f"{end}_frame_{what}": None for end in ("first", "last") for what in ("index", "sha256")}
        for former, digest in (
            (noted | {"first_frame_index": 2, "first_frame_sha256": "of frame 2"}, "of frame 2"),
            (noted | {"first_frame_index": 0, "first_frame_sha256": "of frame 0"}, None),
            (noted, None),
        ):
            found = ends.columns(frames, whole, former)
            assert found == of_frame("first", 2) | {"first_frame_sha256": digest} | last


def test_a_video_without_masks_has_no_such_frame() -> None:
    ends, nothing = EndFrames(), masks_on([])
    with opened(ends) as frames:
        ends.settle(frames, nothing)
        assert ends.columns(frames, nothing, None) == {}


@pytest.mark.parametrize("label", [0, 1])
def test_of_two_threads_that_decode_the_same_frame_one_hashes_it(label: int) -> None:
    hashed = []

    class Pixels(torch.Tensor):
        def numpy(self, *arguments: object, **options: object) -> np.ndarray:
            hashed.append(label)
            return np.zeros((1, 1, 3), np.uint8)

    ends = EndFrames()
    ends.expect({0})
    for _ in range(2):
        ends.see(label, torch.zeros(1, 1, 3).as_subclass(Pixels))
    assert hashed == [0] * (label == 0)
