"""What becomes of each video of a published segment when it is committed.

Its rows are new, they take the place of others, they are left out because the attempt failed, or come too late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.commits.snapshot import JobState
from pipeline.output.layout import epoch_of_segment
from pipeline.output.merge import MERGER_ID
from pipeline.output.segment_files import SegmentOrigin
from pipeline.records import BAD, Outcome, Reason, Segment

DRIVER_ID = "driver"
"""The worker id in segments that a driver makes: copies, and rows of videos that no worker labels."""

MaySwap = Callable[[Segment, str], bool]
"""Whether the rows of a video in a segment may take the place of those that it has."""


@dataclass(frozen=True)
class Sorted:
    """The videos of one segment, without those that another attempt has finished.

    `new` ones are unfinished. Rows of `again` take the place of those of videos that are set aside. `failed` are set
    aside and keep their rows, because this attempt ended badly.
    """

    segment: Segment
    new: list[Outcome] = field(default_factory=list)
    again: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)

    def is_whole(self, some: list[Outcome]) -> bool:
        """Whether these are all videos of the segment."""
        return len(some) == len(self.segment.outcomes)

    @property
    def is_left_out(self) -> bool:
        """Whether the segment itself counts never, because copies or nothing of it does."""
        return not (self.is_whole(self.new) or self.is_whole(self.again))


def sort_out(segments: Iterable[Segment], state: JobState, may_swap: MaySwap) -> list[Sorted]:
    """What becomes of the videos of those segments that the log does not name. The first of several attempts counts."""
    found: list[Sorted] = []
    taken: set[str] = set()
    for segment in segments:
        if segment.name in state.segments or segment.name in state.removed:
            continue
        found.append(Sorted(segment))
        for outcome in segment.outcomes:
            video_id = outcome.video_id
            if video_id in taken:
                continue
            if video_id not in state.finished:
                found[-1].new.append(outcome)
            elif not (state.is_set_aside(video_id) and may_swap(segment, video_id)):
                continue
            elif outcome.status in BAD:
                found[-1].failed.append(outcome)
            else:
                found[-1].again.append(outcome)
            taken.add(video_id)
    return found


def reason_of(outcome: Outcome, state: JobState) -> Reason:
    """Why the rows of a video that is set aside are replaced: it has other corrections, or it was tried again."""
    is_same = state.finished[outcome.video_id].review_hash == outcome.details.review_hash
    return Reason.RETRY if is_same else Reason.REVIEW


def may_swap_when_adopted(state: JobState, origins: Mapping[str, SegmentOrigin]) -> MaySwap:
    """Which videos a killed run has labeled again: those of workers' segments that came after the setting aside.

    Drivers and compactions make copies of rows. Segments of `origins`, by name, that came before the setting aside
    have labels of the round before. The segment with a video's rows tells its epoch; one of a later epoch, when others
    of it were replaced since, at worst has the video labeled once more.
    """
    epochs = {v: epoch_of_segment(state.finished[v].segment) for v in state.set_aside()}

    def may_swap(segment: Segment, video_id: str) -> bool:
        origin = origins[segment.name]
        is_copy = origin.worker_id in (DRIVER_ID, MERGER_ID)
        return not is_copy and video_id in epochs and origin.epoch >= epochs[video_id]

    return may_swap
