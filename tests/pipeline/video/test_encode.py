from __future__ import annotations

import io
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.encode import Mp4Writer, encode_mp4
from tests.support.clips import moving_clip


def decode(video: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_written_video_reads_back_as_h264_with_all_frames() -> None:
    frames = moving_clip().frames_THW3
    video = encode_mp4(frames, 12)
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 12)
    decoded = decode(video)
    assert len(decoded) == len(frames)
    assert max(np.abs(one.astype(int) - other).mean() for one, other in zip(decoded, frames, strict=True)) < 3


def test_the_same_frames_give_the_same_bytes() -> None:
    frames = moving_clip().frames_THW3
    assert encode_mp4(frames, 12) == encode_mp4(list(frames), 12)


def test_odd_sizes_are_padded() -> None:
    decoded = decode(encode_mp4(np.full((2, 33, 47, 3), 50, np.uint8), 5))
    assert decoded[0].shape == (34, 48, 3)
    assert np.abs(decoded[0].astype(int) - 50).max() < 6


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame"),
        ([np.zeros((32, 32, 3), np.uint8), np.zeros((32, 34, 3), np.uint8)], r"frame 1: .* \[32, 34, 3\]"),
        ([np.zeros((32, 32, 3), np.float32)], "frame 0: .* float32"),
        ([np.zeros((2, 17_000, 3), np.uint8)], "frames of 17000 x 2 pixels: H.264 takes up to 16,384 on a side"),
    ],
)
def test_frames_that_cannot_be_written_are_refused(frames: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_mp4(frames, 12)


def test_frames_with_times_keep_them_and_a_file_on_disk_begins_with_its_index(tmp_path: Path) -> None:
    path, seconds = tmp_path / "a.mp4", [0.0, 0.1, 0.5, 0.5, 2.0]
    writer = Mp4Writer(str(path), Fraction(24), pixel_aspect=Fraction(4, 3))
    with closing(writer):
        for value in seconds:
            writer.add(np.full((16, 16, 3), 80, np.uint8), value)
    assert writer.num_frames == 5
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        found = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    np.testing.assert_allclose(found, seconds, atol=1e-4)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
