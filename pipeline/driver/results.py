"""The driver's side of a commit: segments of workers, and rows of its own for videos that no worker labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from pipeline.commits.committer import SegmentKeeper
from pipeline.driver.hosts import host_of
from pipeline.output.rows import Provenance, labeled_video, rows_without_masks
from pipeline.output.segment_writer import SegmentWriter
from pipeline.records import Outcome, Segment, Status, WorkItem
from pipeline.tables import JobTables

_VIDEOS_PER_SEGMENT = 2_000


class JobLedger:
    """Makes results final. All methods raise `StorageError` if storage is away, and may be called again."""

    def __init__(
        self,
        keeper: SegmentKeeper,
        writer: SegmentWriter,
        provenance: Provenance,
        open_tables: Callable[[], JobTables],
    ) -> None:
        self._keeper = keeper
        self._writer = writer
        self._provenance = provenance
        self._open_tables = open_tables
        self._own: list[Segment] = []

    def commit(self, segments: Sequence[Segment], strikes: dict[str, int]) -> list[Outcome]:
        """Commit published segments, rows that wait here, and strikes, in one log entry.

        Returns the outcomes of all of them, also of videos that were finished before and are left out of the entry.
        When the answer to a first call is lost, the call that repeats it must say what the first one committed.
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
        """Write and commit the rows of videos without prompts, and of rows of the input tables that were refused.

        Yields what was committed, up to 2,000 videos at a time. After `must_stop` the rest is left to the next run.
        """
        remaining = iter(outcomes)
        while not must_stop() and (batch := list(islice(remaining, _VIDEOS_PER_SEGMENT))):
            rows = rows_without_masks(batch, self._provenance)
            yield self.commit([self._writer.publish_rows(batch, rows)], {})

    def write_quarantined(self, item: WorkItem, message: str) -> None:
        """Write the row of a video that no worker survives. It is published with the next commit."""
        error = ("crash", message)
        self._writer.add(labeled_video(item, Status.QUARANTINED, self._provenance, error=error))

    def write_unreachable(self, item: WorkItem, message: str) -> None:
        """Write the row of a video whose host never answered. It is published with the next commit."""
        self._writer.add(labeled_video(item, Status.FAILED, self._provenance, error=("input", message)))

    def hosts_read(self) -> frozenset[str]:
        """The hosts from which videos of the tables were read, in all runs of the job."""
        return frozenset(host_of(uri) for uri in self._open_tables().places_read())

    def _publish(self) -> None:
        while (segment := self._writer.flush()) is not None:
            self._own.append(segment)
