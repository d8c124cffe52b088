"""What is missing of a film that was read from its start to its end."""

from __future__ import annotations

from dataclasses import dataclass

_MISSING_SHARE = 0.05  # of its claimed duration that a film may lack, because its sound may be longer
_MISSING_STEPS = 3


@dataclass(frozen=True)
class Claims:
    """What a file says of its length. `num_frames` are those that it lists to be shown, `seconds` their time in all.

    `None` = no claim. `step_seconds`: how long a frame lasts. `has_even_rate`: all of them last about as long.
    """

    num_frames: int | None
    seconds: float | None
    step_seconds: float
    has_even_rate: bool = True

    def what_is_missing(self, num_frames: int, span_seconds: tuple[float, float] | None) -> str:
        """A clause for the message of a film of which less could be read than its file claims; empty if it is whole.

        `num_frames` could be read, with times from the first to the second of `span_seconds` (`None` = no times).
        """
        if self.num_frames is not None and num_frames < self.num_frames:
            return (
                f"{num_frames} of {self.num_frames} frames could be read; the file is damaged, cut off, or claims too "
                "many"
            )
        if self.seconds is not None and span_seconds is not None:
            seconds = span_seconds[1] - span_seconds[0] + self.step_seconds
            if self.seconds - seconds > max(_MISSING_STEPS * self.step_seconds, _MISSING_SHARE * self.seconds):
                return f"the frames last {seconds:g} s, the file claims {self.seconds:g} s; it may be cut off"
        return ""


@dataclass
class Reading:
    """What one reading of a film has given so far. `num_lost`: parts of the file that gave no picture."""

    num_packets: int = 0
    num_frames: int = 0
    num_lost: int = 0
    span_seconds: tuple[float, float] | None = None

    def note(self, pts_seconds: float | None) -> None:
        """Count a frame."""
        self.num_frames += 1
        if pts_seconds is not None:
            first, last = self.span_seconds or (pts_seconds, pts_seconds)
            self.span_seconds = min(first, pts_seconds), max(last, pts_seconds)

    def what_is_missing(self, claims: Claims) -> str:
        """As `Claims` says it, or that parts of the file gave nothing."""
        missing = claims.what_is_missing(self.num_frames, self.span_seconds)
        if missing or not self.num_lost:
            return missing
        plural = "" if self.num_lost == 1 else "s"
        return f"{self.num_lost} part{plural} of the file could not be decoded, so frames may be missing"
