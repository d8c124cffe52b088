"""What a job will take: time of workers, room and requests of its store, and what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from pipeline.check.estimate import Experience, Volume
from pipeline.check.rates import Rates, Work
from pipeline.check.room import Room, room_of
from pipeline.config.fields import Group
from pipeline.config.job_config import JobConfig
from pipeline.output.schema import TABLES
from pipeline.output.segment_writer import FlushPolicy
from pipeline.storage.schemes import is_of_this_machine

_GUESSED = Rates(0.05, 0.0, 0.0)  # where nothing was measured, how long videos take, which decides how many segments
_OWNER_SECONDS = _STATUS_SECONDS = 10.0  # between two writes of `_owner.json` and of `_status.json`
_OBJECTS_SAVED = 3  # a document, rows and the state of a session
_AT_START = 20  # reading the log and the input tables, and proving that the store refuses a second driver


class Prices(Group):
    """What things cost, in dollars. Those of stores are the list prices of Amazon S3 Standard in us-east-1.

    Source: https://aws.amazon.com/s3/pricing, read in November 2026; the first 50 TB of a month.
    """

    price_per_gpu_hour: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="What an hour of one GPU costs, with its share of the machine. Left out, price_per_hour of the job "
        "counts, the price of a worker.",
    )
    price_per_gb_month: float = Field(
        default=0.023, ge=0, allow_inf_nan=False, description="What a gigabyte in the store costs for a month."
    )
    price_per_1000_writes: float = Field(
        default=0.005, ge=0, allow_inf_nan=False, description="What 1000 writes and listings of the store cost."
    )
    price_per_1000_reads: float = Field(
        default=0.0004, ge=0, allow_inf_nan=False, description="What 1000 reads of the store cost."
    )


@dataclass(frozen=True)
class Machines:
    """The workers that a forecast is for; `gpus` are those of one."""

    num_workers: int
    gpus: float

    @classmethod
    def of(cls, config: JobConfig, experience: Experience, num_workers: int | None) -> Machines:
        """By the keys `cluster.…`; where they leave it open, by where it was measured. No cluster is asked."""
        cluster = config.cluster
        number = num_workers or cluster.actors or cluster.max_actors or cluster.min_actors or 1
        if cluster.kind == "serial":
            number = num_workers or 1
        on_cpu = config.model.device == "cpu" or experience.device.startswith("CPU")
        gpus = cluster.gpus_per_actor if cluster.gpus_per_actor is not None else (0.0 if on_cpu else 1.0)
        return cls(number, gpus)


@dataclass(frozen=True)
class Requests:
    """Requests to stores: writes and listings, reads, and the segments that the writes make. Local disks take none."""

    num_writes: int
    num_reads: int
    num_segments: int


@dataclass(frozen=True)
class Forecast:
    """What is expected. `worker_seconds`, `seconds` and `requests` are None where nothing was measured.

    `seconds` are those from the first video to the last one: at least those of the longest video. The start of the
    workers comes on top.
    """

    work: Work
    machines: Machines
    worker_seconds: float | None
    seconds: float | None
    room: Room
    requests: Requests | None

    @property
    def gpu_hours(self) -> float | None:
        """Hours of GPUs; None where the time is not known."""
        return None if self.worker_seconds is None else self.worker_seconds / 3600 * self.machines.gpus

    @property
    def worker_hours(self) -> float:
        """Hours of workers; 0 where the time is not known."""
        return (self.worker_seconds or 0.0) / 3600

    def dollars(self, prices: Prices, price_per_hour: float | None, *, is_remote: bool) -> dict[str, float | None]:
        """By kind: `workers` and `requests` once, `storage_per_month`; None where time or price is not known.

        Without a price of GPUs the hours of workers cost `price_per_hour`.
        """
        workers = None if self.worker_seconds is None or price_per_hour is None else self.worker_hours * price_per_hour
        if prices.price_per_gpu_hour is not None and self.gpu_hours is not None and self.machines.gpus:
            workers = self.gpu_hours * prices.price_per_gpu_hour
        requests = None
        if self.requests is not None:
            writes = self.requests.num_writes * prices.price_per_1000_writes
            requests = (writes + self.requests.num_reads * prices.price_per_1000_reads) / 1000
        gigabytes = self.room.about / 1e9 if is_remote else 0.0
        return {"workers": workers, "requests": requests, "storage_per_month": gigabytes * prices.price_per_gb_month}


def forecast(config: JobConfig, volume: Volume, experience: Experience, num_workers: int | None = None) -> Forecast:
    """What the videos of `volume` will take, if they are like those of `experience`."""
    work, machines = volume.in_all, Machines.of(config, experience, num_workers)
    rates = experience.rates or _GUESSED
    worker_seconds = rates.seconds(work)
    seconds = max(worker_seconds / machines.num_workers, rates.seconds(volume.longest))
    least, most = experience.bytes_per_mask
    segments = _num_segments(config, machines, volume, worker_seconds, work.masks * math.sqrt(least * most))
    room = room_of(work.masks, volume.num_objects + volume.num_working, segments, (least, most))
    if experience.rates is None:
        return Forecast(work, machines, None, None, room, None)
    asked = _requests(config, volume, (worker_seconds, seconds), segments)
    return Forecast(work, machines, worker_seconds, seconds, room, asked)


def _num_segments(
    config: JobConfig, machines: Machines, volume: Volume, worker_seconds: float, mask_bytes: float
) -> int:
    num_videos = volume.num_working
    in_each = math.ceil(num_videos / machines.num_workers)
    each = worker_seconds / machines.num_workers, mask_bytes / machines.num_workers
    policy = FlushPolicy.of(config.flush, config.cluster)
    per_worker = num_segments(in_each, *each, policy, config.worker.beat_seconds)
    return min(num_videos, per_worker * machines.num_workers)


def _requests(config: JobConfig, volume: Volume, times: tuple[float, float], segments: int) -> Requests:
    worker_seconds, seconds = times
    reads = volume.in_all.num_reads
    if is_of_this_machine(str(config.output)):
        return Requests(0, round(reads), segments)
    beats = seconds / _OWNER_SECONDS + seconds / _STATUS_SECONDS
    saved = _num_saved(config, volume.in_all, worker_seconds, volume.num_working)
    writes = len(TABLES) * segments + segments + beats + saved * _OBJECTS_SAVED + _AT_START
    return Requests(round(writes), round(reads + len(TABLES) * segments + beats + _AT_START), segments)


def num_segments(num_videos: int, seconds: float, num_bytes: float, policy: FlushPolicy, beat_seconds: float) -> int:
    """How many segments a worker publishes that finishes so many equal videos in so many seconds.

    The first video is published at once. Later ones wait for others, until the oldest has waited long enough or there
    is enough of them; the worker looks when a video is finished, and at each beat.
    """
    if not num_videos:
        return 0
    each, bytes_each = seconds / num_videos, max(num_bytes / num_videos, 1.0)
    most = min(policy.max_videos, max(1, math.ceil(policy.max_bytes / bytes_each)))
    done, found = 1, 1
    while done < num_videos:
        age = (done + 1) * each  # of the writer, when the oldest of the next segment comes
        left = 1.0 - policy.max_elapsed_share
        by_share = policy.max_elapsed_share * age / left if left > 0 else math.inf
        waits = max(min(policy.max_seconds, by_share), min(each, beat_seconds))
        done += min(1 + int(waits / each) if each else most, most)
        found += 1
    return found


def _num_saved(config: JobConfig, work: Work, seconds: float, num_videos: int) -> int:
    """How often videos are saved in their middle, if all are of about one length."""
    if not num_videos:
        return 0
    by_frames = work.frames / num_videos / config.checkpoint.every_frames
    by_time = seconds / num_videos / config.checkpoint.every_seconds if config.checkpoint.every_seconds else 0.0
    return num_videos * int(max(by_frames, by_time))
