from __future__ import annotations

import functools
import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model import Media
from pipeline.arrays import UInt8Array
from pipeline.config.compose import job_config
from pipeline.records import FramePosition
from pipeline.video.frames import DecodeOptions, VideoFrames
from pipeline.video.selection import FrameSelection
from tests.support.media_files import encode, gray_of, media_of, pictures, textured_pictures, with_edit_list
from tests.support.waiting import wait_until

X264 = {"bf": "2", "g": "5", "preset": "ultrafast"}
OPEN_GOP = {"bf": "3", "g": "6", "x264-params": "open-gop=1:scenecut=0:b-pyramid=0"}
SINGLE_KEY = {"bf": "2", "g": "999", "x264-params": "scenecut=0"}

KINDS: dict[str, Callable[[list[UInt8Array]], bytes]] = {
    "closed-gop": lambda frames: encode(frames, options=X264),
    "open-gop": lambda frames: encode(frames, options=OPEN_GOP),
    "single-key": lambda frames: encode(frames, options=SINGLE_KEY),
    "hevc-open-gop": lambda frames: encode(
        frames, codec="libx265", options={"x265-params": "keyint=6:open-gop=1:bframes=3:log-level=none:pools=none"}
    ),
    "intra-refresh": lambda frames: encode(frames, options={"x264-params": "intra-refresh=1:keyint=6:bframes=0"}),
    "mpegts": lambda frames: encode(frames, options=OPEN_GOP, container="mpegts"),
    "mpeg2-ts": lambda frames: encode(
        frames, codec="mpeg2video", container="mpegts", rate=25, options={"g": "5", "bf": "2"}
    ),
    "vp9-webm": lambda frames: encode(
        frames, codec="libvpx-vp9", container="webm", options={"g": "5", "deadline": "realtime"}
    ),
    "mpeg4-avi": lambda frames: encode(frames, codec="mpeg4", container="avi", options={"g": "5", "bf": "2"}),
    "raw-h264": lambda frames: encode(frames, container="h264", options=X264),
    "gif": lambda frames: encode(frames, codec="gif", container="gif", pix_fmt="rgb8"),
}

# Kinds whose decoders can share the parts of a frame: slices, rows or tiles.
MANY_SLICES = {
    "h264-slices": lambda frames: encode(frames, options={"x264-params": "slices=4:keyint=8:bframes=2"}),
    "hevc-rows": lambda frames: encode(
        frames, codec="libx265", options={"x265-params": "keyint=6:ctu=16:wpp=1:log-level=none"}
    ),
    "av1": lambda frames: encode(frames, codec="libsvtav1", container="webm", options={"svtav1-params": "tile-rows=1"}),
    "ffv1": lambda frames: encode(frames, codec="ffv1", container="matroska", options={"slices": "4", "level": "3"}),
    **{kind: KINDS[kind] for kind in ("mpeg2-ts", "vp9-webm", "mpeg4-avi", "open-gop", "single-key")},
}


@functools.cache
def encoded(kind: str) -> bytes:
    """24 frames of one of the kinds."""
    return KINDS[kind](pictures(24))


def as_bytes(frame_pixels: torch.Tensor) -> bytes:
    return frame_pixels.numpy().tobytes()


def brightness(pixels: torch.Tensor) -> float:
    return float(pixels[-8:].float().mean())


def test_all_frames_come_in_order_with_their_times() -> None:
    with VideoFrames(media_of(encode(pictures(12), options=X264))) as frames:
        found = list(frames.forward(0))
        assert [frame.index for frame in found] == list(range(12))
        for frame in found:
            assert frame.pixels_HW3.shape == (48, 64, 3)
            assert frame.pixels_HW3.dtype == torch.uint8
            assert brightness(frame.pixels_HW3) == pytest.approx(gray_of(frame.index), abs=3)
        assert frames.num_frames == 12
        assert frames.size_hw == (48, 64)
        assert frames.position(7) == FramePosition(7, 0.7)
        assert frames.info.fps == 10
        assert frames.info.num_frames_claimed == 12


def test_what_is_prepared_is_decoded_before_it_is_asked_for_and_only_once() -> None:
    opened: list[int] = []  # each pass opens the file once
    data = encode(pictures(12), options=X264)
    media = Media("clip", (lambda: (opened.append(1), io.BytesIO(data))[1],))
    with VideoFrames(media) as frames:
        num_before = len(opened)
        frames.prepare([2, 5], 2)
        wait_until(lambda: len(opened) == num_before + 1)  # for the prompted frames; the walk goes on with a pass
        assert [frame.index for frame in frames.at([5, 2])] == [2, 5]
        assert [frame.index for frame in frames.forward(2)] == list(range(2, 12))
        assert len(opened) == num_before + 1
        assert [frame.index for frame in frames.forward(2)] == list(range(2, 12))
        assert len(opened) == num_before + 2


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spool_bytes", [1 << 20, 1], ids=["spooled", "decoded-again"])
def test_backward_frames_are_bit_equal_to_forward_ones(kind: str, spool_bytes: int) -> None:
    data = encoded(kind)
    with VideoFrames(media_of(data), options=DecodeOptions(spool_bytes=spool_bytes, stretch_frames=4)) as frames:
        forward = {frame.index: as_bytes(frame.pixels_HW3) for frame in frames.forward(0)}
        assert len(forward) == 24
        backward = [(frame.index, as_bytes(frame.pixels_HW3)) for frame in frames.backward(24)]
        assert backward == [(index, forward[index]) for index in reversed(range(24))]
        assert [frame.index for frame in frames.backward(3)] == [2, 1, 0]


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("kind", KINDS)
def test_frames_in_the_middle_are_bit_equal_to_those_of_a_whole_pass(kind: str) -> None:
    with VideoFrames(media_of(encoded(kind))) as frames:
        whole = {frame.index: as_bytes(frame.pixels_HW3) for frame in frames.forward(0)}
        for start in (1, 6, 13, 23):
            assert [(f.index, as_bytes(f.pixels_HW3)) for f in frames.forward(start)] == list(whole.items())[start:]
        assert [(f.index, as_bytes(f.pixels_HW3)) for f in frames.at([22, 3, 3, 12, 99])] == [
            (index, whole[index]) for index in (3, 12, 22)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", MANY_SLICES)
def test_frames_are_bit_equal_for_any_number_of_threads(kind: str) -> None:
    data = MANY_SLICES[kind](textured_pictures(24))
    decoded = []
    for num_threads in (1, 2, 3, 16, 64):
        with VideoFrames(media_of(data), options=DecodeOptions(num_threads=num_threads, stretch_frames=10)) as frames:
            forward = [(frame.index, as_bytes(frame.pixels_HW3)) for frame in frames.forward(0)]
            assert [(frame.index, as_bytes(frame.pixels_HW3)) for frame in frames.backward(24)] == forward[::-1]
            decoded.append(forward)
    assert len(decoded[0]) == 24
    assert all(frames == decoded[0] for frames in decoded[1:])


@pytest.mark.parametrize(
    ("overrides", "num_threads"),
    [
        ([], 1),
        (["cluster.cpus_per_actor=4"], 4),
        (["cluster.cpus_per_actor=40"], 16),
        (["decode.threads=3", "cluster.cpus_per_actor=8"], 3),
        (["decode.threads=64"], 64),
        (["decode.threads=auto", "cluster.cpus_per_actor=2"], 2),
    ],
)
def test_the_config_says_how_many_threads_decode_or_the_cpus_of_the_worker_do(
    overrides: list[str], num_threads: int, tmp_path: Path
) -> None:
    options = DecodeOptions.of(job_config("label", ["prompts=p", "output=o", *overrides]), tmp_path)
    assert (options.num_threads, options.spool_folder) == (num_threads, tmp_path)


def test_prompted_frames_off_the_stride_are_labeled() -> None:
    prompted = [FramePosition(7, None), FramePosition(None, 1.04), FramePosition(9, None)]
    with VideoFrames(media_of(encode(pictures(12))), FrameSelection(stride=3), prompted=prompted) as frames:
        assert [frames.position(frame.index).frame_index for frame in frames.forward(0)] == [0, 3, 6, 7, 9, 10]
        assert [frames.locate(position) for position in prompted] == [3, 5, 4]
        assert [brightness(frame.pixels_HW3) for frame in frames.at([3])] == [pytest.approx(gray_of(7), abs=3)]
        assert frames.length_up_to(4) == 4
        assert frames.length_up_to(99) == 6


@pytest.mark.parametrize(
    "position",
    [FramePosition(12, None), FramePosition(10**9, None), FramePosition(None, 1.31), FramePosition(None, 99.0)],
)
def test_a_prompt_beyond_the_end_is_nowhere(position: FramePosition) -> None:
    with VideoFrames(media_of(encode(pictures(12))), prompted=[position]) as frames:
        assert frames.locate(position) is None
        assert frames.length_up_to(99) == 12


def test_a_time_is_that_of_the_nearest_frame() -> None:
    prompted = [FramePosition(None, seconds) for seconds in (0.0, 0.26, 0.24, 1.15)]
    with VideoFrames(media_of(encode(pictures(12))), prompted=prompted) as frames:
        assert [frames.locate(position) for position in prompted] == [0, 3, 2, 11]


def test_a_rate_picks_the_frame_nearest_to_each_tick() -> None:
    data = encode(pictures(10), times=[0, 1, 2, 3, 4, 10, 11, 12, 25, 26], container="matroska")
    with VideoFrames(media_of(data), FrameSelection(fps=4)) as frames:
        seconds = [frames.position(frame.index).pts_seconds for frame in frames.forward(0)]
        # Ticks at 0, 0.25, 0.5, 0.75 …: the one at 1.25 is nearest to 1.2, and all in the gap to frames that are taken.
        assert seconds == pytest.approx([0.0, 0.2, 0.4, 1.0, 1.2, 2.5])


@pytest.mark.parametrize("kind", ["closed-gop", "open-gop", "single-key", "mpegts", "vp9-webm"])
def test_a_range_counts_its_frames_from_its_start(kind: str) -> None:
    data = encoded(kind)
    with VideoFrames(media_of(data)) as whole:
        all_frames = [as_bytes(frame.pixels_HW3) for frame in whole.forward(0)]
        times = [whole.position(index).pts_seconds or 0.0 for index in range(24)]
    selection = FrameSelection(stride=2, start_seconds=times[8], end_seconds=times[15])
    with VideoFrames(media_of(data), selection, prompted=[FramePosition(3, None)]) as frames:
        found = list(frames.forward(0))
        assert [frames.position(f.index) for f in found] == [FramePosition(i, times[8 + i]) for i in (0, 2, 3, 4, 6)]
        assert [as_bytes(frame.pixels_HW3) for frame in found] == [all_frames[8 + i] for i in (0, 2, 3, 4, 6)]
        assert [as_bytes(f.pixels_HW3) for f in frames.backward(5)] == [as_bytes(f.pixels_HW3) for f in reversed(found)]


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        ("libx264", "mp4", {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}),
        ("mpeg4", "avi", {"g": "12", "bf": "2", "sc_threshold": "1000000000"}),
        ("mpeg4", "mpeg", {"g": "12", "bf": "2", "sc_threshold": "1000000000"}),
    ],
    ids=["intra-refresh", "avi", "mpeg-ps"],
)
def test_a_range_has_the_frames_of_the_whole_video(codec: str, container: str, options: dict[str, str]) -> None:
    data = encode(textured_pictures(60), codec=codec, container=container, options=options)
    with VideoFrames(media_of(data)) as whole:
        expected = [(f.index, as_bytes(f.pixels_HW3)) for f in whole.forward(0)]
        times = [whole.position(index).pts_seconds for index, _ in expected]
    for first in (9, 21, 54, 57):
        with VideoFrames(media_of(data), FrameSelection(start_seconds=times[first])) as frames:
            found = [(first + f.index, as_bytes(f.pixels_HW3)) for f in frames.forward(0)]
            assert found == expected[first:]
            assert [frames.position(index - first).pts_seconds for index, _ in found] == times[first:]


def test_a_variable_rate_keeps_its_times() -> None:
    times = [0, 1, 5, 6, 20, 21]
    with VideoFrames(media_of(encode(pictures(6), times=times, container="matroska"))) as frames:
        assert [frames.position(f.index).pts_seconds for f in frames.forward(0)] == pytest.approx(
            [t / 10 for t in times]
        )


@pytest.mark.parametrize("bframes", ["0", "2"])
def test_an_edit_list_is_obeyed_and_both_ways_agree(bframes: str) -> None:
    data = with_edit_list(encode(pictures(20), options={"bf": bframes, "g": "99"}), 0.75, 1.0)
    with VideoFrames(media_of(data)) as frames:
        forward = {frame.index: frame.pixels_HW3 for frame in frames.forward(0)}
        expected = [pytest.approx(gray_of(index), abs=3) for index in range(8, 18)]
        assert [brightness(pixels) for pixels in forward.values()] == expected
        assert [(f.index, as_bytes(f.pixels_HW3)) for f in frames.backward(len(forward))] == [
            (index, as_bytes(forward[index])) for index in reversed(forward)
        ]


def test_frames_are_transformed_in_the_helper_thread() -> None:
    threads = set()

    def shrink(pixels_HW3: torch.Tensor) -> torch.Tensor:
        threads.add(threading.current_thread().name)
        return pixels_HW3[::2, ::2].contiguous()

    with VideoFrames(media_of(encode(pictures(6))), transform=shrink) as frames:
        assert [tuple(frame.pixels_HW3.shape) for frame in frames.forward(0)] == [(24, 32, 3)] * 6
        assert [tuple(frame.pixels_HW3.shape) for frame in frames.backward(6)] == [(24, 32, 3)] * 6
        assert frames.size_hw == (48, 64)
    assert threads == {"decode-ahead"}


def decoding_threads() -> set[threading.Thread]:
    """Those that decode ahead now; some may be of a test before, and about to end."""
    return {thread for thread in threading.enumerate() if thread.name == "decode-ahead"}


class CountedFile(io.BytesIO):
    """Counts how many files are open."""

    num_open = 0

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        CountedFile.num_open += 1

    def close(self) -> None:
        CountedFile.num_open -= not self.closed
        super().close()


def test_frames_that_are_decoded_on_the_way_to_a_labeled_one_are_told() -> None:
    with VideoFrames(media_of(encoded(next(iter(KINDS)))), FrameSelection(stride=23)) as frames:
        assert frames.length_up_to(2) == 2
        before = frames.num_passed
        assert next(frames.backward(2)).index == 1
        assert frames.num_passed - before >= 23


@pytest.mark.parametrize("way", ["closed iterator", "dropped iterator", "closed video", "end"])
def test_threads_and_files_end_with_their_iterator(way: str) -> None:
    CountedFile.num_open = 0
    data = encode(pictures(30))
    frames = VideoFrames(Media("clip", (lambda: CountedFile(data),)), options=DecodeOptions(ahead_bytes=1))
    others = decoding_threads()
    for walk in (lambda: frames.forward(0), lambda: frames.backward(20), lambda: frames.at(range(20))):
        iterator = walk()
        assert next(iterator).index in (0, 19)
        assert len(decoding_threads() - others) == 1
        if way == "closed iterator":
            iterator.close()  # type: ignore[attr-defined]
        elif way == "closed video":
            frames.close()
            assert next(iterator, None) is None
        elif way == "end":
            assert len(list(iterator)) >= 19
        del iterator
        wait_until(lambda: not decoding_threads() - others)
        assert CountedFile.num_open == 0
    frames.close()


def test_only_a_few_frames_are_decoded_ahead() -> None:
    made: list[int] = []

    def note(pixels_HW3: torch.Tensor) -> torch.Tensor:
        made.append(1)
        return pixels_HW3

    data = encode(pictures(40))
    with VideoFrames(media_of(data), transform=note, options=DecodeOptions(ahead_bytes=4 * 48 * 64 * 3)) as frames:
        iterator = frames.forward(0)
        next(iterator)
        wait_until(lambda: len(made) >= 2)
        time.sleep(0.1)
        assert len(made) <= 7


def test_the_same_video_decodes_to_the_same_bits_twice() -> None:
    data = encode(pictures(10))
    with VideoFrames(media_of(data)) as one, VideoFrames(media_of(data)) as other:
        for first, second in zip(one.forward(0), other.forward(0), strict=True):
            assert np.array_equal(first.pixels_HW3.numpy(), second.pixels_HW3.numpy())
