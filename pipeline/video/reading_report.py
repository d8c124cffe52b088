"""What a person is told of how a video was read: what its labels should be read with, and why a prompt has no frame."""

from __future__ import annotations

from dataclasses import dataclass

from model import VideoInfo
from pipeline.records import FramePosition
from pipeline.text import counted
from pipeline.video.findings import Findings
from pipeline.video.selection import FrameIndex
from pipeline.video.time_range import TimeBounds

_LATE_START_SECONDS = 0.25  # many files start a few frames after 0
_SQUARE = 0.005


@dataclass(frozen=True)
class ReadingReport:
    """One video as it was read so far."""

    info: VideoInfo
    bounds: TimeBounds
    index: FrameIndex
    findings: Findings

    def remarks(self) -> list[str]:
        """Clauses for the video's message."""
        found = (self._missing(), *self.findings.texts(), self._late_start(), self._pixel_aspect())
        return [text for text in found if text]

    def absence(self, position: FramePosition, frame: int | None) -> str:
        """Why a prompt has no label, and the remedy. `frame` is where it is, if it is anywhere."""
        if frame is not None:
            return f"the frame cannot be read ({self.index.fault_of(frame)}); repair it or prompt another frame"
        if position.frame_index is not None:
            is_whole = self.index.complete
            length = counted(self.index.num_labeled, "labeled frame") if is_whole else "its length is not known"
            return f"the video ends before it ({length}); give another frame_index or remove the prompt"
        span = self.index.span_seconds() if self.info.has_times else None
        if span is None:
            return "the video has no times; give frame_index in place of pts_seconds"
        return (
            f"the video has no frame then, its times go from {span[0]:g} s to {span[1]:g} s; give another pts_seconds "
            "or remove the prompt"
        )

    def _missing(self) -> str:
        """Several passes may have seen the whole video where none has read it from its start to its end."""
        if self.info.claims is None or not self.index.complete or self.bounds.is_bounded:
            return ""
        return self.info.claims.what_is_missing(self.index.num_known, self.index.span_seconds())

    def _late_start(self) -> str:
        start = self.info.start_seconds
        if not self.bounds.is_bounded or start is None:
            return ""
        if start - (self.bounds.start_seconds or 0.0) < _LATE_START_SECONDS:
            return ""
        return f"start_seconds and end_seconds are times of the file, which starts at {start:g} s"

    def _pixel_aspect(self) -> str:
        aspect = self.info.display.pixel_aspect
        if abs(aspect - 1) < _SQUARE:
            return ""
        height, width = self.info.size_hw
        return (
            f"its pixels are not square ({aspect:.3g} times as wide as high): masks have the stored {width} × {height} "
            f"pixels, which players show as {round(width * aspect)} × {height}"
        )
