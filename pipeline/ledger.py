"""The driver's side of a commit: the workers' segments and its own rows, for videos that no worker labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.reconcile import SegmentKeeper
from pipeline.rows import Provenance, labeled_video
from pipeline.segments import SegmentWriter
from pipeline.work import Outcome, Segment, Status, WorkItem


class JobLedger:
    """Makes results final. All methods raise `StorageError` if storage is away, and may be called again."""

    def __init__(self, keeper: SegmentKeeper, writer: SegmentWriter, provenance: Provenance) -> None:
        self._keeper = keeper
        self._writer = writer
        self._provenance = provenance
        self._own: list[Segment] = []

    def commit(self, segments: Sequence[Segment], strikes: dict[str, int]) -> list[Outcome]:
        """Commit published segments, rows that wait here, and strikes, in one log entry; returns their outcomes."""
        self._publish()
        if not segments and not strikes and not self._own:
            return []
        committed = [*segments, *self._own]
        self._keeper.commit(committed, strikes)
        self._own = []
        return [outcome for segment in committed for outcome in segment.outcomes]

    def record(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Write and commit rows of videos that are not for a worker: no prompts, refused rows. Returns what counts."""
        committed: list[Outcome] = []
        for outcome in outcomes:
            item = WorkItem(outcome.video_id, None, None, (), outcome.prompt_hash)
            error = (outcome.error_class, outcome.message)
            self._writer.add(labeled_video(item, outcome.status, self._provenance, error=error))
            if self._writer.should_flush():
                committed += self.commit([], {})
        return committed + self.commit([], {})

    def write_quarantined(self, item: WorkItem, message: str) -> None:
        """Have a row for a video that no worker survives; it is published with the next commit."""
        error = ("crash", message)
        self._writer.add(labeled_video(item, Status.QUARANTINED, self._provenance, error=error))

    def _publish(self) -> None:
        while (segment := self._writer.flush()) is not None:
            self._own.append(segment)
