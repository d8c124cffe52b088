"""Frames on their way from the decoding threads to the thread that takes them: how many wait, and in which memory."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from model import Frame, FrameBuffers
from pipeline.video.frames import MAX_FRAMES_WAITING, DecodeOptions, Handoff, VideoFrames
from tests.support.media_files import encode, media_of, pictures
from tests.support.pretended_gpu import pretended_gpu
from tests.support.waiting import wait_until

GROUP = 8  # frames that a walk takes at a time


@functools.cache
def clip(num_frames: int) -> bytes:
    return encode(pictures(num_frames), options={"bf": "2", "g": "5", "preset": "ultrafast"})


def test_a_video_is_ready_when_the_next_group_of_its_frames_is_decoded() -> None:
    gate, arrivals = threading.Semaphore(0), threading.Semaphore(0)

    def gated(pixels_HW3: torch.Tensor) -> torch.Tensor:
        assert gate.acquire(timeout=100)
        return pixels_HW3

    with VideoFrames(media_of(clip(6)), transform=gated, handoff=Handoff(arrived=arrivals.release)) as frames:
        assert frames.ready(4)  # nothing is being decoded that could be waited for
        walk = frames.forward(0)
        assert not frames.ready()
        gate.release(4)
        for _ in range(4):
            assert arrivals.acquire(timeout=100)
        assert (frames.ready(4), frames.ready(5)) == (True, False)
        assert (next(walk).index, frames.ready(4)) == (0, False)
        gate.release(2)
        for _ in range(3):  # two frames and the end
            assert arrivals.acquire(timeout=100)
        assert frames.ready(8)


def small(pixels_HW3: torch.Tensor) -> torch.Tensor:
    return pixels_HW3[:4, :4].contiguous()


@pytest.mark.parametrize(("num_bytes", "num_ahead"), [(16 * 48, 16), (5 * 48, 5), (1, 2)])
def test_as_many_frames_wait_as_fit_in_the_size_that_they_are_resized_to(num_bytes: int, num_ahead: int) -> None:
    """A frame of 4K takes no more memory here than one of 720p."""
    made: list[int] = []

    def resized(pixels_HW3: torch.Tensor) -> torch.Tensor:
        made.append(1)
        return small(pixels_HW3)

    options = DecodeOptions(ahead_bytes=num_bytes)
    with VideoFrames(media_of(clip(40)), transform=resized, options=options) as frames:
        walk = frames.forward(0)
        wait_until(lambda: frames.ready(40))
        wait_until(lambda: len(made) == num_ahead + 1)  # one more is in the hands of the thread
        time.sleep(0.05)
        assert len(made) == num_ahead + 1
        del walk


@pytest.mark.parametrize(("num_threads", "goes_on"), [(1, False), (2, True)])
def test_with_two_threads_frames_are_decoded_while_others_are_converted(num_threads: int, goes_on: bool) -> None:
    """Most films have one slice a frame, which no two threads of a decoder can share."""
    gate, waits = threading.Event(), threading.Event()

    def gated(pixels_HW3: torch.Tensor) -> torch.Tensor:
        waits.set()
        assert gate.wait(100)
        return pixels_HW3

    options = DecodeOptions(num_threads=num_threads)
    with VideoFrames(media_of(clip(40)), transform=gated, options=options) as frames:
        walk = frames.forward(17)
        assert waits.wait(100)
        num_decoded = frames.num_decoded
        if goes_on:
            wait_until(lambda: frames.num_decoded >= 20)
        else:
            time.sleep(0.1)
            assert frames.num_decoded == num_decoded < 20
        gate.set()
        assert [frame.index for frame in walk] == list(range(17, 40))


def taken_in_groups(walk: Iterator[Frame], frames: VideoFrames) -> list[torch.Tensor]:
    """The pixels of a walk. Before each group the helper decodes as far as it can, as while a segment is published."""
    found: list[torch.Tensor] = []
    while True:
        wait_until(lambda: frames.ready(99))
        time.sleep(0.005)
        group = [frame.pixels_HW3 for _, frame in zip(range(GROUP), walk, strict=False)]
        if not group:
            return found
        found += group


@pytest.mark.parametrize("way", ["forward", "backward", "prompted", "two videos"])
def test_every_frame_waits_in_pinned_memory_however_late_it_is_taken(way: str) -> None:
    with pretended_gpu():
        buffers = FrameBuffers((4, 4, 3), torch.device("cuda"))
        handoff = Handoff(place=buffers.fill, taken=buffers.take, dropped=buffers.refill)
        videos = [
            VideoFrames(media_of(clip(40)), transform=small, handoff=handoff)
            for _ in range(2 if way == "two videos" else 1)
        ]
        for _ in videos:
            buffers.reserve(MAX_FRAMES_WAITING)
        walks = []
        for frames in videos:
            frames.prepare(range(0, 40, 2), 0)
            prompted = frames.at(range(0, 40, 2)) if way == "prompted" else iter(())
            walks += [prompted, frames.backward(40) if way == "backward" else frames.forward(0)]
        found = [pixels for walk in walks for pixels in taken_in_groups(walk, videos[-1])]
        num_frames = {"prompted": 20 + 40, "two videos": 2 * 40}.get(way, 40)
        assert (len(found), buffers.num_missed) == (num_frames, 0)
        assert all(pixels.is_pinned() for pixels in found)
        for frames in videos:
            frames.close()


def test_frames_at_the_size_of_the_video_are_shown_to_whoever_wants_them_before_they_are_resized() -> None:
    shown: dict[int, torch.Tensor] = {}
    with VideoFrames(media_of(clip(6)), transform=small, handoff=Handoff(whole=shown.__setitem__)) as frames:
        resized = [frame.pixels_HW3 for frame in frames.forward(0)]
        size_hw = frames.size_hw
    with VideoFrames(media_of(clip(6))) as frames:
        wanted = [frame.pixels_HW3 for frame in frames.forward(0)]
    assert sorted(shown) == list(range(6))
    assert all(shown[index].equal(pixels) for index, pixels in enumerate(wanted))
    assert (wanted[0].shape, resized[0].shape) == ((*size_hw, 3), (4, 4, 3))


def test_fewer_frames_wait_where_each_may_be_kept_whole_as_well() -> None:
    """One whole frame of the clip fits into the bytes, so that two wait, the fewest there are; resized ones all do."""
    held: set[int] = set()
    gate = threading.Event()

    def keep(index: int, pixels_HW3: torch.Tensor) -> None:
        held.add(index)
        if len(held) == 4:  # two that wait, one that is taken, and one in the thread
            gate.set()

    media = media_of(clip(40))
    with VideoFrames(media) as whole:
        num_bytes = 3 * whole.size_hw[0] * whole.size_hw[1]
    options = DecodeOptions(ahead_bytes=num_bytes + 1)
    with VideoFrames(media_of(clip(40)), transform=small, options=options, handoff=Handoff(whole=keep)) as frames:
        walk = frames.forward(0)
        next(walk)
        assert gate.wait(100)
        assert frames.ready(16)  # which counts what may wait at most
        assert len(held) == 4
