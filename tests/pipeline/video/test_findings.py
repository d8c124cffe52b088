"""What a person is told of the frames of a video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model import RawFrame
from pipeline.arrays import UInt8Array
from pipeline.video.findings import Findings


@dataclass(frozen=True)
class Gray:
    """A picture of a size."""

    size_hw: tuple[int, int] = (48, 64)
    num_bytes: int = 0

    def pixels(self, size_hw: tuple[int, int]) -> UInt8Array:
        return np.zeros((*size_hw, 3), np.uint8)


def texts(*raws: RawFrame, tells_sizes: bool = True) -> list[str]:
    findings = Findings(tells_sizes)
    for number, raw in enumerate(raws):
        findings.note(number, raw)
    return findings.texts()


def frame(pts_seconds: float | None, picture: Gray | None = None, is_damaged: bool = False) -> RawFrame:
    return RawFrame(pts_seconds, False, picture or Gray(), is_damaged=is_damaged)


def test_a_sound_video_has_no_findings() -> None:
    assert texts(*(frame(number / 10) for number in range(5)), frame(None)) == []
    assert texts() == []


def test_damaged_frames_are_named_the_first_of_them() -> None:
    assert texts(frame(0.0), frame(0.1, is_damaged=True)) == ["1 damaged frame, labeled all the same: frame 1"]
    (text,) = texts(*(frame(number / 10, is_damaged=True) for number in range(11)))
    assert text == "11 damaged frames, labeled all the same: frame 0, 1, 2, 3, 4, 5, 6, 7 and 3 more"


def test_the_first_other_size_is_told_unless_the_reader_tells_it() -> None:
    raws = (frame(0.0), frame(0.1, Gray((96, 128))), frame(0.2, Gray((10, 10))))
    (text,) = texts(*raws)
    assert text.startswith("the size changes from 64 × 48 to 128 × 96 at frame 1")
    assert texts(*raws, tells_sizes=False) == []


def test_a_clock_that_steps_back_is_told() -> None:
    (text,) = texts(frame(1.0), frame(None), frame(0.5), frame(0.1))
    assert text == "the clock of the file steps back from 1 s to 0.5 s at frame 2"
