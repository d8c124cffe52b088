"""Finished videos waiting on a worker's disk, until they are published together as one segment."""

from __future__ import annotations

import logging
import shutil
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.config.cluster_config import ClusterConfig
from pipeline.config.worker_config import FlushConfig
from pipeline.errors import describe
from pipeline.output.digest import digest_of
from pipeline.output.schema import SORT_KEYS, TABLES
from pipeline.output.segment_files import BuiltSegment, SegmentOrigin, build_segment
from pipeline.output.segments import publish
from pipeline.output.unwritable import as_failed
from pipeline.records import Outcome, Segment, Status
from pipeline.redact import redact
from pipeline.storage.atomic_files import deleted_on_error, spool_errors
from pipeline.storage.job_storage import JobStorage

_log = logging.getLogger(__name__)
_SPOOL_BATCH_ROWS = 16_384
_FLEET = 1_000


@dataclass(frozen=True)
class LabeledVideo:
    """One finished video: rows of the three tables (`video` has one) and how many masks there had to be."""

    masks: pa.Table
    tracks: pa.Table
    video: pa.Table
    outcome: Outcome
    expected_masks: int


@dataclass(frozen=True)
class FlushPolicy:
    """When the videos that wait are published: the first one at once, later ones when any of these limits is reached.

    `max_elapsed_share` bounds what a crash can cost: no video waits longer than this share of the writer's age. A job
    of many workers loses less by the crash of one, so the share is that of one worker times their number.
    """

    max_bytes: int = 64 << 20
    max_seconds: float = 300.0
    max_elapsed_share: float = 0.05
    max_videos: int = 2_000

    @classmethod
    def of(cls, flush: FlushConfig, cluster: ClusterConfig | None = None) -> FlushPolicy:
        """The limits that a config asks for. A cluster of unknown size counts as a large one."""
        share = flush.elapsed_fraction * (1 if cluster is None else _num_workers(cluster))
        return cls(int(flush.megabytes * (1 << 20)), flush.seconds, share)


def _num_workers(cluster: ClusterConfig) -> int:
    """At least so many workers a job has, as far as its config says; a cluster that is there already may have many."""
    unknown = _FLEET if cluster.kind == "existing" else 1
    return cluster.actors or cluster.min_actors or cluster.max_actors or unknown


@dataclass(frozen=True)
class _Waiting:
    """A video in the spool: masks on disk, where they take `num_bytes`, the few other rows in memory."""

    outcome: Outcome
    masks: Path
    num_bytes: int
    tracks: pa.Table
    video: pa.Table


class SegmentWriter:
    """Collects finished videos and publishes them as segments.

    Memory does not grow with the masks, because they wait in files under `spool_dir`, which must be on local disk. A
    worker that starts again begins with an empty spool. The videos in the old one were never reported, so that the
    driver has them labeled again.
    """

    def __init__(
        self,
        storage: JobStorage,
        spool_dir: Path,
        origin: SegmentOrigin,
        policy: FlushPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._spool = Path(spool_dir) / f"segments-{uuid.uuid4().hex}"
        self._origin = origin
        self._policy = policy or FlushPolicy()
        self._clock = clock
        self._started = clock()
        self._oldest: float | None = None
        self._waiting: dict[str, _Waiting] = {}
        self._by_themselves: set[str] = set()  # of those that wait
        self._num_bytes = 0
        self._built: BuiltSegment | None = None
        self._has_published = False

    @property
    def unflushed(self) -> tuple[str, ...]:
        """Ids of videos that are added and not yet published."""
        built = self._built.segment.outcomes if self._built else ()
        return (*(outcome.video_id for outcome in built), *self._waiting)

    def add(self, video: LabeledVideo) -> None:
        """Put a finished video into the spool.

        Raises:
            ValueError: its rows do not fit the schema or its expected number of masks; names the video.
            StorageError: the spool's disk refuses.
        """
        outcome = video.outcome
        if outcome.video_id in self.unflushed:
            raise ValueError(f"video {outcome.video_id!r} was added before")
        masks, tracks, row = (
            _conform(name, rows, outcome.video_id)
            for name, rows in (("masks", video.masks), ("tracks", video.tracks), ("videos", video.video))
        )
        if not masks.num_rows == video.expected_masks == outcome.num_masks:
            raise ValueError(
                f"video {outcome.video_id!r}: {masks.num_rows} masks were labeled, {video.expected_masks} were "
                f"expected, its outcome says {outcome.num_masks}"
            )
        if row.num_rows != 1 or row["status"][0].as_py() != outcome.status:
            raise ValueError(f"video {outcome.video_id!r}: needs one row in `videos`, with status {outcome.status}")
        path = self._spool / f"{uuid.uuid4().hex}.arrow"
        with spool_errors(self._spool):
            self._spool.mkdir(parents=True, exist_ok=True)
            with deleted_on_error([path]):
                _spool(path, masks)
            num_bytes = path.stat().st_size
        self._num_bytes += num_bytes
        self._waiting[outcome.video_id] = _Waiting(outcome, path, num_bytes, tracks, row)
        if self._oldest is None:
            self._oldest = self._clock()

    def should_flush(self) -> bool:
        """Whether it is time to call `flush`."""
        if self._built:
            return True
        if self._oldest is None:
            return False
        now = self._clock()
        longest_wait = min(self._policy.max_seconds, self._policy.max_elapsed_share * (now - self._started))
        return (
            not self._has_published
            or self._num_bytes >= self._policy.max_bytes
            or len(self._waiting) >= self._policy.max_videos
            or now - self._oldest >= longest_wait
        )

    def flush(self) -> Segment | None:
        """Publish what waits; None if nothing does. Call it until then: what waits may become several segments.

        A video whose rows cannot be written is published as one that failed.

        Raises:
            StorageError: not published, or not known to be; call again, and the same segment is sent again.
        """
        if self._built is None:
            if not self._waiting:
                return None
            with spool_errors(self._spool):
                self._built = self._build()
        segment = publish(self._storage, self._built)
        self._built = None
        self._has_published = True
        return segment

    def publish_rows(self, outcomes: Sequence[Outcome], videos: pa.Table) -> Segment:
        """Publish videos without masks as a segment of their own; `videos` are their rows, in the order of `outcomes`.

        Raises `StorageError`; nothing of it is kept then.
        """
        order = sorted(range(len(outcomes)), key=lambda number: outcomes[number].video_id)
        batches = {"masks": (), "tracks": (), "videos": videos.take(order).to_batches()}
        with spool_errors(self._spool):
            self._spool.mkdir(parents=True, exist_ok=True)
            built = build_segment(self._origin, outcomes, batches, self._spool)
        with deleted_on_error(built.files.values()):
            return publish(self._storage, built)

    def close(self) -> None:
        """Delete the spool, and with it what was not flushed."""
        shutil.rmtree(self._spool, ignore_errors=True)

    def _build(self) -> BuiltSegment:
        """What waits as one segment; if that fails, one video in a segment of its own, because it may be one's fault.

        A video that fails by itself has failed rows in place of its own. Errors of the disk and of memory pass.
        """
        chosen = sorted(self._by_themselves)[:1] or sorted(self._waiting)
        try:
            return self._built_of(chosen)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            if len(chosen) > 1:
                _log.warning("%d videos in one segment: %s; each gets its own now", len(chosen), describe(error))
                self._by_themselves.update(chosen)
                return self._build()
            if self._waiting[chosen[0]].outcome.status is Status.FAILED:
                raise
            self._fail(chosen[0], error)
            return self._built_of(chosen)

    def _built_of(self, video_ids: Sequence[str]) -> BuiltSegment:
        waiting = [self._waiting[video_id] for video_id in video_ids]
        built = build_segment(
            self._origin,
            [video.outcome for video in waiting],
            {
                "masks": (batch for video in waiting for batch in _unspool(video.masks)),
                "tracks": (batch for video in waiting for batch in video.tracks.to_batches()),
                "videos": (batch for video in waiting for batch in video.video.to_batches()),
            },
            self._spool,
        )
        rows = {
            "tracks": pa.concat_tables([video.tracks for video in waiting]),
            "videos": pa.concat_tables([video.video for video in waiting]),
        }
        built = replace(built, segment=replace(built.segment, digest=digest_of(built.segment.name, rows)))
        for video_id in video_ids:
            video = self._waiting.pop(video_id)
            video.masks.unlink()
            self._num_bytes -= video.num_bytes
        self._by_themselves.difference_update(video_ids)
        if not self._waiting:
            self._oldest = None
        return built

    def _fail(self, video_id: str, error: Exception) -> None:
        """Put rows that tell of the error in place of those that cannot be written."""
        trace = redact("".join(traceback.format_exception(error)))
        _log.error("video %r: its rows cannot be written: %s", video_id, trace)
        message = f"its masks cannot be written ({describe(error)}); this is a fault of maskmill, please report it"
        video = self._waiting[video_id]
        outcome, tracks, row = as_failed(video.outcome, video.tracks, video.video, message)
        _spool(video.masks, TABLES["masks"].empty_table())
        self._num_bytes -= video.num_bytes
        self._waiting[video_id] = _Waiting(outcome, video.masks, 0, tracks, row)


def _conform(name: str, rows: pa.Table, video_id: str) -> pa.Table:
    """Rows in the schema of table `name`, sorted, all of this video, each key once."""
    schema, keys = TABLES[name], SORT_KEYS[name]
    try:
        rows = rows.select(schema.names).cast(schema)
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"video {video_id!r}: rows of {name} do not fit the schema: {error}") from error
    ids = rows["video_id"].unique().to_pylist()
    if ids not in ([], [video_id]):
        raise ValueError(f"video {video_id!r}: rows of {name} carry other ids: {ids[:3]}")
    if not _is_sorted(rows, keys[1:]):
        rows = rows.sort_by([(key, "ascending") for key in keys])
    if rows.num_rows > 1:
        same = np.ones(rows.num_rows - 1, bool)
        for key in keys[1:]:
            values = rows[key].to_numpy()
            same &= values[1:] == values[:-1]
        if same.any():
            where = {key: rows[key][int(same.argmax())].as_py() for key in keys}
            raise ValueError(f"two rows of {name} have the same key: {where}")
    return rows


def _is_sorted(rows: pa.Table, keys: Sequence[str]) -> bool:
    """Whether rows of one video are in order. If they are, a long video's file need not be read whole to sort it."""
    if not keys or rows.num_rows < 2:
        return True
    order = np.lexsort([rows[key].to_numpy() for key in reversed(keys)])
    return bool((np.diff(order) == 1).all())


def _spool(path: Path, rows: pa.Table) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema, options=options) as writer:
        writer.write_table(rows, max_chunksize=_SPOOL_BATCH_ROWS)


def _unspool(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path), "rb") as source, pa.ipc.open_file(source) as reader:
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
