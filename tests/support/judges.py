"""Outside judges of a video file: the `ffmpeg` command, from a package so that it is always there, and OpenCV."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from pipeline.arrays import UInt8Array


@dataclass(frozen=True)
class Judged:
    """The frames of a file as `ffmpeg` shows them: times in seconds in the file, and RGB `[T, H, W, 3]`, upright."""

    times: list[float]
    frames_THW3: UInt8Array

    def __len__(self) -> int:
        return len(self.times)


def ffmpeg(*arguments: str | Path, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the command; what it prints is in `stdout` and `stderr`."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=False)


def judge(path: Path) -> Judged:
    """What `ffmpeg` makes of a file when it is told to leave frames and times as they are."""
    # Frames are scaled to the size of the first, as a raw output needs; `showinfo` comes before that.
    done = ffmpeg(
        "-copyts", "-i", path, "-vf", "showinfo=checksum=0", "-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f",
        "rawvideo", "-",
    )  # fmt: skip
    told = done.stderr.decode(errors="replace")
    time_base = Fraction(re.findall(r"config in time_base: (\d+/\d+)", told)[0])
    times = [float(int(pts) * time_base) for pts in re.findall(r"Parsed_showinfo.* n: *\d+ pts: *(-?\d+)", told)]
    (size,) = re.findall(r"Stream #0:0.*: Video: rawvideo.*?, (\d+x\d+)", told)[-1:]
    width, height = (int(part) for part in size.split("x"))
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    assert len(frames) == len(times) > 0, told
    return Judged(times, frames)


def opencv_count(path: Path) -> int:
    """How many frames OpenCV reads of a file."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count
