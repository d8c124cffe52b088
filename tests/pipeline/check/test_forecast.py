"""What a job will take: hours, segments, requests and dollars, on paper."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from pipeline.check.estimate import Decoded, Experience, Volume
from pipeline.check.forecast import Machines, Prices, forecast, num_segments
from pipeline.check.rates import Rates, Work
from pipeline.config.compose import job_config
from pipeline.config.job_config import JobConfig
from pipeline.output.segment_writer import FlushPolicy, SegmentWriter
from pipeline.storage.job_storage import JobStorage
from tests.pipeline.output.test_segment_writer import ORIGIN
from tests.support.labeled import labeled

ON_GPU = Experience(100, 1000, 10.0, 200.0, Rates(0.1, 0.01, 0.0), "NVIDIA H200, bfloat16", "100 videos")
NIGHT = Volume(
    num_videos=100,
    num_objects=300,
    num_counted=10,
    counted=Work(10_000, 30_000, 20_000, 400.0, 5e8, 130),
    longest=Work(3_000, 9_000, 6_000, 120.0, 1e8, 30),
    decoded=Decoded(num_videos=10),
)


@cache
def config(*words: str) -> JobConfig:
    return job_config("label", ["prompts=p", "output=s3://bucket/out", "model=mini", *words])


def test_the_opened_videos_stand_for_all_and_workers_share_the_time() -> None:
    found = forecast(config("cluster.actors=4"), NIGHT, ON_GPU)
    assert (found.work.frames, found.work.masks) == (100_000, 300_000)
    assert found.worker_seconds == pytest.approx(100_000 * 0.1 + 300_000 * 0.01)
    assert found.seconds == pytest.approx(13_000 / 4)
    assert found.gpu_hours == pytest.approx(13_000 / 3600)
    assert found.room.is_measured
    assert found.room.about == pytest.approx(300_000 * 200, rel=0.05)
    assert forecast(config(), NIGHT, ON_GPU, num_workers=1000).seconds == pytest.approx(390), "the longest video's"


def test_what_is_paid_is_the_sum_of_hours_requests_and_room() -> None:
    found = forecast(config("cluster.actors=4"), NIGHT, ON_GPU)
    assert found.requests is not None
    prices = Prices(price_per_gpu_hour=3.6)
    dollars = found.dollars(prices, None, is_remote=True)
    assert dollars["workers"] == pytest.approx(13.0)
    writes, reads = found.requests.num_writes, found.requests.num_reads
    assert dollars["requests"] == pytest.approx(writes * 5e-6 + reads * 4e-7)
    assert dollars["storage_per_month"] == pytest.approx(found.room.about * 0.023 / 1e9)
    assert found.dollars(Prices(), 7.2, is_remote=False)["workers"] == pytest.approx(26.0), "by the worker"
    assert found.dollars(Prices(), None, is_remote=False)["workers"] is None


def test_where_nothing_was_measured_time_is_unknown_and_room_is_a_range() -> None:
    found = forecast(config(), NIGHT, Experience())
    assert (found.seconds, found.worker_seconds, found.gpu_hours, found.requests) == (None, None, None, None)
    assert found.room.least == pytest.approx(300_000 * 50, rel=0.2)
    assert found.room.most == pytest.approx(300_000 * 1000, rel=0.01)
    assert found.dollars(Prices(price_per_gpu_hour=1.0), None, is_remote=True)["workers"] is None


@pytest.mark.parametrize(
    ("words", "device", "gpus"),
    [
        ((), "NVIDIA H200, bfloat16", 1.0),
        ((), "", 1.0),
        ((), "CPU (no GPU found), 1 thread, float32", 0.0),
        (("model.device=cpu",), "", 0.0),
        (("cluster.gpus_per_actor=0.5",), "CPU", 0.5),
    ],
)
def test_gpus_are_those_of_the_keys_or_of_where_it_was_measured(
    words: tuple[str, ...], device: str, gpus: float
) -> None:
    assert Machines.of(config(*words), Experience(device=device), None).gpus == gpus


@pytest.mark.parametrize(
    ("words", "number"), [((), 1), (("cluster.actors=3",), 3), (("cluster.min_actors=2", "cluster.max_actors=9"), 9)]
)
def test_workers_are_those_of_the_keys(words: tuple[str, ...], number: int) -> None:
    assert Machines.of(config(*words), Experience(), None).num_workers == number
    assert Machines.of(config(*words), Experience(), 5).num_workers == 5


def test_this_process_is_one_worker_whatever_a_job_file_says_of_clusters() -> None:
    assert Machines.of(config("cluster=serial", "cluster.max_actors=9"), Experience(), None).num_workers == 1


@pytest.mark.slow
@pytest.mark.parametrize(("each", "share"), [(1.0, 0.05), (30.0, 0.05), (2.0, 0.6), (400.0, 0.05)])
def test_segments_are_as_many_as_a_writer_publishes(tmp_path: Path, each: float, share: float) -> None:
    """The judge is the writer with a clock of its own, asked after each video and at each beat of 10 s."""
    now = [0.0]
    policy = FlushPolicy(max_elapsed_share=share, max_seconds=100.0)
    writer = SegmentWriter(JobStorage(str(tmp_path / "job")), tmp_path / "spool", ORIGIN, policy, lambda: now[0])
    num_videos, published = 12, 0
    for number in range(num_videos):
        end = now[0] + each
        while now[0] < end:
            now[0] = min(now[0] + 10.0, end)
            if now[0] < end and writer.should_flush():
                published += writer.flush() is not None
        writer.add(labeled(f"v{number}", num_frames=1))
        if writer.should_flush():
            published += writer.flush() is not None
    published += writer.flush() is not None
    expected = num_segments(num_videos, num_videos * each, 1000.0, policy, 10.0)
    assert published / 1.5 <= expected <= published * 1.5
