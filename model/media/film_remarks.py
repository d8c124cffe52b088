"""What is missing of a film that was read from its start to its end."""

from __future__ import annotations

from dataclasses import dataclass

_MISSING_SHARE = 0.05  # of its claimed duration that a film may lack, because its sound may be longer
_MISSING_STEPS = 3


@dataclass
class Reading:
    """What one reading of a film has given so far. `num_lost`: parts of the file that gave no picture."""

    num_frames: int = 0
    num_lost: int = 0
    start_seconds: float | None = None
    end_seconds: float | None = None
    step_seconds: float = 0.0

    def note(self, pts_seconds: float | None, step_seconds: float) -> None:
        """Count a frame."""
        self.num_frames += 1
        self.step_seconds = step_seconds
        if pts_seconds is not None:
            end = pts_seconds + step_seconds
            self.start_seconds = pts_seconds if self.start_seconds is None else min(self.start_seconds, pts_seconds)
            self.end_seconds = end if self.end_seconds is None else max(self.end_seconds, end)

    def what_is_missing(self, num_claimed: int, claimed_seconds: float | None) -> str:
        """A clause for the message of a film of which less could be read than its file claims; empty if it is whole.

        `num_claimed` frames (0 = no claim) and so many seconds are what the container says.
        """
        if self.num_frames < num_claimed:
            return (
                f"{self.num_frames} of {num_claimed} frames could be read; the file is damaged, cut off, or claims "
                "too many"
            )
        if claimed_seconds is not None and self.start_seconds is not None and self.end_seconds is not None:
            seconds = self.end_seconds - self.start_seconds
            missing = claimed_seconds - seconds
            if missing > max(_MISSING_STEPS * self.step_seconds, _MISSING_SHARE * claimed_seconds):
                return f"the frames last {seconds:g} s, the file claims {claimed_seconds:g} s; it may be cut off"
        if self.num_lost:
            plural = "" if self.num_lost == 1 else "s"
            return f"{self.num_lost} part{plural} of the file could not be decoded, so frames may be missing"
        return ""
