"""How much there is to label, and how long it may take: from the videos that were opened, and from finished ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.check.look import Looked, Opened
from pipeline.check.rates import NO_WORK, Rates, Work, fit
from pipeline.check.room import BYTES_PER_MASK, OnDisk
from pipeline.commits.job_record import device_in
from pipeline.driver.job import Job
from pipeline.errors import ConfigError
from pipeline.pages.job_figures import times
from pipeline.records import Status
from pipeline.redact import redact_uri
from pipeline.storage.uris import is_local
from pipeline.tables import JobTables
from pipeline.tables import open as open_tables

_BLOCK_BYTES = 4 << 20  # of a remote video, a request each
_VIDEOS_MEASURED = 2_000


@dataclass
class Decoded:
    """Videos that the check itself has opened, frames that it has decoded, and the seconds that these took."""

    num_videos: int = 0
    num_frames: int = 0
    seconds: float = 0.0


@dataclass
class Volume:
    """Sums over the videos that were looked at. `num_counted` of the opened ones say how many frames they have.

    `counted` is the work of these, and `longest` that of the one with most frames. `num_failing` videos will fail as a
    whole and are no work. `num_kept` objects keep their masks, because reviewers have corrected others of their video.
    """

    num_videos: int = 0
    num_objects: int = 0
    num_kept: int = 0
    num_counted: int = 0
    num_failing: int = 0
    counted: Work = NO_WORK
    longest: Work = NO_WORK
    decoded: Decoded = field(default_factory=Decoded)

    def add(self, one: Looked, direction: str, only: Collection[int] | None = None) -> None:
        """Count one more video. `only` are the objects that are labeled, if others keep their masks."""
        self.num_videos += 1
        num_objects = len(one.prompts.objects) if one.prompts is not None else 0
        self.num_objects += num_objects
        self.num_kept += 0 if only is None else num_objects - len(only)
        self.num_failing += one.fails
        if one.opened is None:
            return
        self.decoded.num_videos += 1
        self.decoded.num_frames += one.opened.decoded[0]
        self.decoded.seconds += one.opened.decoded[1]
        if one.opened.num_labeled is not None and not one.fails:
            self.num_counted += 1
            work = _work_of(one, one.opened, one.opened.num_labeled, direction, only)
            self.counted = self.counted.plus(work)
            self.longest = max(self.longest, work)

    @property
    def num_opened(self) -> int:
        """Of how many videos the file was opened."""
        return self.decoded.num_videos

    def expect_objects(self, objects: Objects) -> None:
        """Where the run finds the objects: it will find as many as in the videos that were measured.

        Masks follow the frames, and objects follow the videos.
        """
        self.counted = self.counted._replace(masks=self.counted.frames * objects.masks_per_frame)
        self.longest = self.longest._replace(masks=self.longest.frames * objects.masks_per_frame)
        self.num_objects = round(objects.per_video * self.num_working)

    @property
    def num_working(self) -> int:
        """Videos of which nothing says that they will fail."""
        return self.num_videos - self.num_failing

    @property
    def num_to_label(self) -> int:
        """Objects that are labeled: those with prompts, without those that keep their masks in a round of reviews."""
        return self.num_objects - self.num_kept

    @property
    def in_all(self) -> Work:
        """The work of all videos, if the others are like those that are counted."""
        return self.counted.times(self.num_working / max(1, self.num_counted))

    @property
    def frames_in_all(self) -> int:
        """Frames to label in all videos."""
        return round(self.in_all.frames)

    @property
    def masks_in_all(self) -> int:
        """Rows of `masks` of all videos."""
        return round(self.in_all.masks)


def _work_of(one: Looked, opened: Opened, num_frames: int, direction: str, only: Collection[int] | None) -> Work:
    info, uri = opened.info, one.item.source.uri
    height, width = info.size_hw
    is_remote = uri is not None and not is_local(uri)
    return Work(
        frames=num_frames,
        masks=one.num_masks(direction, only),
        megapixels=num_frames * height * width / 1e6,
        video_seconds=(opened.num_frames or 0) / info.fps if info.fps else 0.0,
        num_bytes=opened.num_bytes,
        num_reads=1 + math.ceil(opened.num_bytes / _BLOCK_BYTES) if is_remote else 0,
    )


class Objects(NamedTuple):
    """How many there were in labeled videos: rows of `masks` for a labeled frame, and rows of `tracks` for a video."""

    masks_per_frame: float = 0.0
    per_video: float = 0.0


NO_OBJECTS = Objects()


@dataclass(frozen=True)
class Experience:
    """What labeled videos took of one worker, and on disk. Zero frames mean that there are none.

    `seconds` are those in which the worker had any of them in hand, on `device`. `source` says in words where it was
    measured. A row of `masks` takes `bytes_of_mask` on disk (0: not known).
    """

    num_videos: int = 0
    num_frames: int = 0
    seconds: float = 0.0
    bytes_of_mask: float = 0.0
    rates: Rates | None = None
    device: str = ""
    source: str = ""
    objects: Objects = NO_OBJECTS

    @classmethod
    def of(cls, job: Job) -> Experience:
        """From the tables of a job, of its newest videos that were labeled with the weights that are asked for now."""
        if job.record_before is None or not job.log.state.finished:
            return cls()
        return cls._of_tables(JobTables(job.storage, job.log.state), job, "finished {videos} of this job")

    @classmethod
    def of_other(cls, output: str, job: Job) -> Experience:
        """From another job, which has labeled with the same weights.

        Raises:
            ConfigError: it has not.
            FileNotFoundError: there is no job.
            StorageError: the store does not answer.
        """
        tables = open_tables(output, job.config.storage_options)
        found = cls._of_tables(tables, job, f"{{videos}} of {redact_uri(output)}")
        if job.config.discover is not None and not tables.job_config().get("config", {}).get("discover"):
            raise ConfigError(
                f"measured={redact_uri(output)}: its objects came from prompts, which does not say how long it takes "
                "to find them. Name a job of conf=discover, or use probe=3"
            )
        if found.rates is None:
            raise ConfigError(
                f"measured={redact_uri(output)}: none of its newest videos was labeled with {job.weights}. Name a job "
                "with these weights, or use probe=3"
            )
        return found

    @classmethod
    def _of_tables(cls, tables: JobTables, job: Job, source: str) -> Experience:
        rows = tables.newest_videos(_VIDEOS_MEASURED)
        on_disk = OnDisk.of(tables.state.segments.values())
        return cls.measured(rows.filter(pc.equal(rows["checkpoint"], str(job.weights))), on_disk, source)

    @classmethod
    def measured(cls, videos: pa.Table, on_disk: OnDisk, source: str) -> Experience:
        """From rows of `videos`. `on_disk` is what these or more videos take.

        Videos of rounds of reviews, of which some objects were labeled alone, count only where there are no others. Of
        several devices the one with most videos counts. `{videos}` in `source` becomes how many they are.
        """
        ok = videos.filter(pc.and_(pc.equal(videos["status"], Status.OK.value), pc.greater(videos["num_frames"], 0)))
        ok = ok.filter(pc.greater(pc.fill_null(ok["wall_seconds"], 0.0), 0.0))
        whole = ok.filter(pc.is_null(ok["kept_since"]))  # where objects kept their masks, no time went into these
        ok = whole if whole.num_rows else ok
        if not ok.num_rows:
            return cls()
        devices = [device_in(text) for text in ok["versions"].to_pylist()]
        (device, _), *_ = Counter(devices).most_common()
        ok = ok.filter(pa.array([one == device for one in devices]))
        seconds = times(ok).worker_seconds
        noun = "video" if ok.num_rows == 1 else "videos"
        return cls(
            ok.num_rows,
            pc.sum(ok["num_frames"]).as_py(),
            seconds,
            on_disk.bytes_of_mask,
            _rates(ok, seconds),
            device,
            f"{ok.num_rows} {source.format(videos=noun)}",
            Objects(float(np.sum(ok["num_masks"]) / np.sum(ok["num_frames"])), pc.mean(ok["num_tracks"]).as_py()),
        )

    @property
    def frames_per_second(self) -> float:
        """Of one worker; 0 where nothing is known."""
        return self.num_frames / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_mask(self) -> tuple[float, float]:
        """What a row of `masks` takes on disk, at least and at most: the same where it was measured."""
        return (self.bytes_of_mask, self.bytes_of_mask) if self.bytes_of_mask else BYTES_PER_MASK


def _rates(videos: pa.Table, seconds: float) -> Rates | None:
    """Fitted to the videos; each is given its share of the seconds, because a worker labels several at a time."""
    wall_N = videos["wall_seconds"].to_numpy()
    frames_N = videos["num_frames"].to_numpy().astype(np.float64)
    height_N, width_N = (pc.fill_null(videos[name], 0).to_numpy() for name in ("height", "width"))
    amounts_N3 = np.stack([frames_N, videos["num_masks"].to_numpy(), frames_N * height_N * width_N / 1e6], axis=1)
    return fit(amounts_N3.astype(np.float64), wall_N * (seconds / wall_N.sum()))


def first_of(items: Iterable[str], number: int) -> list[str]:
    """The first few texts, and how many more there are."""
    every = list(items)
    return [*every[:number], *([f"… and {len(every) - number} more"] if len(every) > number else [])]
