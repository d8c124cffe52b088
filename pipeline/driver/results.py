"""The driver's side of a commit: the workers' segments and its own rows, for videos that no worker labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from pipeline.commits.committer import SegmentKeeper
from pipeline.output.rows import Provenance, labeled_video, rows_without_masks
from pipeline.output.segment_writer import SegmentWriter
from pipeline.records import Outcome, Segment, Status, WorkItem

_VIDEOS_PER_SEGMENT = 2_000


class JobLedger:
    """Makes results final. All methods raise `StorageError` if storage is away, and may be called again."""

    def __init__(self, keeper: SegmentKeeper, writer: SegmentWriter, provenance: Provenance) -> None:
        self._keeper = keeper
        self._writer = writer
        self._provenance = provenance
        self._own: list[Segment] = []

    def commit(self, segments: Sequence[Segment], strikes: dict[str, int]) -> list[Outcome]:
        """Commit published segments, rows that wait here, and strikes, in one log entry.

        Returns the outcomes of all of them, also of videos that were finished before and are taken out: a call that
        is repeated, because the answer to the first was lost, must say what that one committed.
        """
        self._publish()
        if not segments and not strikes and not self._own:
            return []
        committed = [*segments, *self._own]
        self._keeper.commit(committed, strikes)
        self._own = []
        return [outcome for segment in committed for outcome in segment.outcomes]

    def record(
        self, outcomes: Iterable[Outcome], must_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Outcome]]:
        """Write and commit rows of videos that are not for a worker: no prompts, refused rows.

        Gives what was committed, a batch at a time, until `must_stop`: what is left is for the next run.
        """
        remaining = iter(outcomes)
        while not must_stop() and (batch := list(islice(remaining, _VIDEOS_PER_SEGMENT))):
            rows = rows_without_masks(batch, self._provenance)
            yield self.commit([self._writer.publish_rows(batch, rows)], {})

    def write_quarantined(self, item: WorkItem, message: str) -> None:
        """Have a row for a video that no worker survives; it is published with the next commit."""
        error = ("crash", message)
        self._writer.add(labeled_video(item, Status.QUARANTINED, self._provenance, error=error))

    def _publish(self) -> None:
        while (segment := self._writer.flush()) is not None:
            self._own.append(segment)
