"""How much there is to label, and how long it may take: from the videos that were opened, and from finished ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow.compute as pc

from pipeline.check.look import Looked
from pipeline.driver.job import Job
from pipeline.records import Status
from pipeline.tables import JobTables

BYTES_PER_MASK = (50, 1000)
"""Where no mask of the job is finished: what a row of `masks` takes on disk, for most objects. A row holds the outline,
so that the width of the object decides."""


@dataclass
class Decoded:
    """Frames that the check itself has decoded, and the seconds that this took."""

    num_frames: int = 0
    seconds: float = 0.0


@dataclass
class Volume:
    """Sums over the videos that were looked at. `num_counted` of the opened ones say how many frames they have.

    `num_failing` videos will fail as a whole and are no work.
    """

    num_videos: int = 0
    num_objects: int = 0
    num_opened: int = 0
    num_counted: int = 0
    num_failing: int = 0
    num_frames: int = 0
    num_masks: int = 0
    decoded: Decoded = field(default_factory=Decoded)

    def add(self, one: Looked, direction: str) -> None:
        """Count one more video."""
        self.num_videos += 1
        self.num_objects += len(one.prompts.objects)
        self.num_failing += one.fails
        if one.opened is None:
            return
        self.num_opened += 1
        self.decoded.num_frames += one.opened.decoded[0]
        self.decoded.seconds += one.opened.decoded[1]
        if one.opened.num_labeled is not None and not one.fails:
            self.num_counted += 1
            self.num_frames += one.opened.num_labeled
            self.num_masks += one.num_masks(direction)

    @property
    def num_working(self) -> int:
        """Videos of which nothing says that they will fail."""
        return self.num_videos - self.num_failing

    @property
    def frames_in_all(self) -> int:
        """Frames to label in all videos, if the others are like those that are counted."""
        return round(self.num_frames * self.num_working / max(1, self.num_counted))

    @property
    def masks_in_all(self) -> int:
        """Rows of `masks` of all videos, if the others are like those that are counted."""
        return round(self.num_masks * self.num_working / max(1, self.num_counted))


@dataclass(frozen=True)
class Experience:
    """What finished videos of the same job took: of one worker, and on disk. Zero frames mean that there are none."""

    num_videos: int = 0
    num_frames: int = 0
    num_masks: int = 0
    seconds: float = 0.0
    num_bytes: int = 0

    @classmethod
    def of(cls, job: Job) -> Experience:
        """From the tables of a job, of the videos that were labeled with what is asked for now."""
        if job.record_before is None or not job.log.state.finished:
            return cls()
        videos = JobTables(job.storage, job.log.state).videos()
        ok = videos.filter(
            pc.and_(
                pc.equal(videos["status"], Status.OK.value), pc.equal(videos["config_hash"], job.record.config_hash)
            )
        )
        ok = ok.filter(pc.greater(ok["num_frames"], 0))
        if not ok.num_rows:
            return cls()
        sizes = job.log.state.segments.values()
        in_flight = job.config.worker.in_flight(on_gpu=job.config.model.device == "cuda")
        num_masks = sum(size.num_masks for size in sizes)
        return cls(
            ok.num_rows,
            pc.sum(ok["num_frames"]).as_py(),
            num_masks,
            (pc.sum(ok["wall_seconds"]).as_py() or 0.0) / in_flight,
            sum(size.num_bytes for size in sizes) if num_masks else 0,
        )

    @property
    def frames_per_second(self) -> float:
        """Of one worker; 0 where nothing is known."""
        return self.num_frames / self.seconds if self.seconds else 0.0


def first_of(items: Iterable[str], number: int) -> list[str]:
    """The first few texts, and how many more there are."""
    every = list(items)
    return [*every[:number], *([f"… and {len(every) - number} more"] if len(every) > number else [])]
