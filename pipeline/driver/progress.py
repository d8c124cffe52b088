"""What a person sees of a running job: a line now and then, and `_status.json`."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TextIO

from pipeline.cluster.executor import Executor
from pipeline.commits.status_file import RunStatus
from pipeline.driver.clock import DEFAULT_PACE
from pipeline.driver.sample import Sample
from pipeline.driver.status_writer import StatusWriter
from pipeline.records import BAD, Outcome, Status, WorkDone
from pipeline.storage.job_storage import JobStorage
from pipeline.text import OBJECT, WARNING, Causes, counted, printable

_TERMINAL_SECONDS = 1.0
_LOG_SECONDS = 10.0
_RATE_SECONDS = 120.0


class _Counts(NamedTuple):
    """How far a run was at some time."""

    time: float
    num_steps: int = 0
    num_ended: int = 0
    num_labeled: int = 0


class _Rates(NamedTuple):
    """Computed frames, videos that ended, and those of them that are labeled, per second.

    A frame that is computed twice counts twice here, because a rate of 0 would look like a job that hangs.
    """

    frames: float
    ended: float
    labeled: float


class Progress:
    """Counts of one run. Of `num_planned` videos `num_before` were finished when the run began.

    `num_former` videos are finished as well and in no table of the run.
    """

    def __init__(
        self,
        num_planned: int,
        num_before: int,
        storage: JobStorage,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        status_seconds: float = DEFAULT_PACE.status_seconds,
        num_former: int = 0,
    ) -> None:
        self.by_status: Counter[Status] = Counter()
        self.causes = Causes()
        self.num_objects_failed = 0
        self.num_objects_warned = 0
        self.num_frames = 0
        self.num_steps = 0
        self.num_masks = 0
        self.stage_seconds: Counter[str] = Counter()
        self.worker_seconds = 0.0
        self.sample = Sample(0)  # of the videos that are labeled
        self.listing = ""
        self.gone: tuple[str, ...] = ()
        self.retry: tuple[str, ...] = ()
        self.max_attempts: int | None = None
        self.last_error = ""
        self.left_alone: dict[str, str] = {}  # nodes that are used no more, and why
        self._show_status: Callable[[Mapping[str, Any]], None] = lambda status: None
        self._gpus_per_worker = 0.0
        self._num_planned = num_planned
        self._num_before = num_before
        self._num_former = num_former
        self._status_writer = StatusWriter(storage, self.note)
        self._stream = stream or sys.stderr
        self._clock = clock
        self._status_seconds = status_seconds
        self._started = clock()
        self._counted_to = self._started
        self._recent = [_Counts(self._started)]
        self._next_line = self._next_status = self._started
        self._is_terminal = self._stream.isatty()

    @property
    def num_ended(self) -> int:
        """Videos that were finished in this run, whatever their status."""
        return self.by_status.total()

    @property
    def num_bad(self) -> int:
        """Videos that failed or were quarantined in this run."""
        return self.by_status[Status.FAILED] + self.by_status[Status.QUARANTINED]

    def committed(self, outcomes: Iterable[Outcome]) -> None:
        """These videos are in the log."""
        for outcome in outcomes:
            self.by_status[outcome.status] += 1
            self.num_masks += outcome.num_masks - outcome.details.num_masks_kept
            if outcome.status in BAD:
                self.causes.add(outcome.status.value, outcome.error_class, outcome.message, outcome.video_id)
            elif outcome.status is Status.OK:
                self.sample.add(outcome.video_id)
                self._count_objects(outcome)

    def _count_objects(self, outcome: Outcome) -> None:
        if outcome.message:
            self.causes.add(WARNING, "", outcome.message, outcome.video_id)
        self.num_objects_failed += outcome.details.num_tracks_failed or 0
        self.num_objects_warned += outcome.details.num_tracks_warned or 0
        for note in outcome.details.notes:
            kind = WARNING if note.status is Status.OK else OBJECT
            self.causes.add(kind, "", note.message, f"{outcome.video_id} object {note.object_id}")

    def follow(self, executor: Executor) -> None:
        """From now on this executor shows the counts as metrics, and its workers hold GPUs.

        Rates count from here, because the rows that the driver has written itself say nothing about the workers.
        """
        self._recent = [self._counts_now()]
        self._counted_to = self._clock()
        self._show_status = executor.show
        self._gpus_per_worker = executor.gpus_per_worker

    def note(self, error: str) -> None:
        """The last error of the run, for `_status.json`."""
        self.last_error = error

    def worked(self, done: WorkDone) -> None:
        """A worker labeled frames."""
        self.num_frames += done.num_frames
        self.num_steps += done.num_steps
        self.stage_seconds.update(done.stage_seconds)

    def has_workers(self, count: int) -> None:
        """So many workers have loaded their model: the time since the last look is counted for each.

        Those that are asked for may wait for a node that nobody pays yet.
        """
        now = self._clock()
        self.worker_seconds += count * (now - self._counted_to)
        self._counted_to = now

    def tick(self, state: str, num_workers: int, num_starting: int = 0) -> None:
        """Show the line (every second on a terminal, every 10 s elsewhere) and write `_status.json` when it is time.

        `num_workers` have loaded their model, `num_starting` are asked for and have not.
        """
        self.has_workers(num_workers)
        now = self._clock()
        if now >= self._next_line:
            self._next_line = now + (_TERMINAL_SECONDS if self._is_terminal else _LOG_SECONDS)
            self._recent = [entry for entry in self._recent if entry.time >= now - _RATE_SECONDS] or self._recent[-1:]
            line = self.line(num_workers, num_starting)
            self._recent.append(self._counts_now())
            self._show(f"\r\x1b[K{line}" if self._is_terminal else f"{line}\n")
        if now >= self._next_status:
            self._next_status = now + self._status_seconds
            self._status_writer.put(self._shown_status(state, num_workers, num_starting))

    def line(self, num_workers: int, num_starting: int = 0) -> str:
        """`12/40 videos (10 before) · 1280 frames · 35.1 frames/s · ETA 1:20 · 2 failed · 2 workers`."""
        rates = self._rates()
        before = f" ({self._num_before} before)" if self._num_before else ""
        parts = [f"{self._num_before + self.num_ended}/{self._num_planned} videos{before}"]
        parts += [counted(self.num_frames, "frame"), f"{rates.frames:.1f} frames/s"]
        left = self._num_planned - self._num_before - self.num_ended
        parts.append(f"ETA {duration(left / rates.ended)}" if rates.ended else "ETA –")
        parts.append(f"{self.num_bad} failed")
        if self.num_objects_failed:
            parts.append(f"{counted(self.num_objects_failed, 'object')} failed")
        parts.append(counted(num_workers, "worker") + (f" ({num_starting} starting)" if num_starting else ""))
        return " · ".join(parts)

    def end_line(self) -> None:
        """End the progress line of a terminal, so that the next output begins on a line of its own."""
        if self._is_terminal:
            self._show("\n")

    def _show(self, text: str) -> None:
        """Print. A terminal or pipe that has gone does not end the job."""
        with contextlib.suppress(OSError):
            print(printable(text, self._stream), end="", file=self._stream, flush=True)

    def write_status(self, state: str, num_workers: int, num_starting: int = 0) -> None:
        """Write `_status.json` and wait for it. A store that does not take it raises nothing."""
        self._status_writer.finish(self._shown_status(state, num_workers, num_starting))

    def _shown_status(self, state: str, num_workers: int, num_starting: int) -> RunStatus:
        """What the file says now; the executor shows it as metrics."""
        rates = self._rates()
        status = RunStatus(
            state=state,
            num_planned=self._num_planned,
            num_former=self._num_former,
            gone=self.gone,
            listing=self.listing,
            num_before_this_run=self._num_before,
            num_ended={status.value: self.by_status[status] for status in Status},
            failures=self.causes.num_by_class(),
            num_objects_failed=self.num_objects_failed,
            num_objects_warned=self.num_objects_warned,
            num_frames=self.num_frames,
            num_masks=self.num_masks,
            frames_per_second=round(rates.frames, 3),
            videos_per_second=round(rates.labeled, 5),
            num_waiting=self._num_planned - self._num_before - self.num_ended,
            num_workers=num_workers,
            num_workers_starting=num_starting,
            num_gpus=num_workers * self._gpus_per_worker,
            num_nodes_left_alone=len(self.left_alone),
            stage_seconds={stage: round(seconds, 3) for stage, seconds in self.stage_seconds.items()},
            worker_seconds=round(self.worker_seconds, 3),
            last_error=self.last_error,
            retry=self.retry,
            max_attempts=self.max_attempts,
        )
        self._show_status(status.to_dict())
        return status

    def _counts_now(self) -> _Counts:
        return _Counts(self._clock(), self.num_steps, self.num_ended, self.by_status[Status.OK])

    def _rates(self) -> _Rates:
        """What is done per second over the last two minutes."""
        then, now = self._recent[0], self._counts_now()
        seconds = max(now.time - then.time, 1e-3)
        ended, labeled = now.num_ended - then.num_ended, now.num_labeled - then.num_labeled
        return _Rates((now.num_steps - then.num_steps) / seconds, ended / seconds, labeled / seconds)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._started


def duration(seconds: float) -> str:
    """`1:20`, or `2:01:20` with hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
