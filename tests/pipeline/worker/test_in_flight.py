"""Several videos in flight in one worker: shared batches, and nobody waits for or suffers from another."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model import FrameResult, Step, advance
from pipeline.config.worker_config import CheckpointConfig
from pipeline.errors import WorkerBroken
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.records import Status, VideoSource, WorkItem
from pipeline.storage.job_storage import JobStorage, Stored
from pipeline.worker.equipment import Network, Stages, load_network
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.video_in_flight import VideoInFlight
from tests.support.clips import moving_clip, write_job_inputs
from tests.support.labeling_workers import (
    NUM_FRAMES,
    PATIENCE_SECONDS,
    Clock,
    MakeWorker,
    Together,
    TooLarge,
    Waits,
    broken,
    finish,
    masks,
    outcomes,
    published,
)


@pytest.mark.slow
def test_a_call_ends_when_there_is_room_for_another_video(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    waits = Waits("c")
    worker = make(Stages(read_prompts=waits), videos_in_flight=2)
    report = worker.work(list(items.values()))
    assert [progress.video_id for progress in report.in_flight] == ["c"], "neither a nor b, for which c makes up"
    waits.released.set()
    assert outcomes([report, *finish(worker)]) == dict.fromkeys("abc", Status.OK)


@pytest.mark.slow
def test_videos_in_flight_share_batches_with_the_masks_of_one_at_a_time(
    make: MakeWorker, items: dict[str, WorkItem], tmp_path: Path
) -> None:
    one_by_one = make()
    assert outcomes(finish(one_by_one, *items.values())) == dict.fromkeys("abc", Status.OK)
    alone = masks(one_by_one)
    sizes = []

    def counting(steps: Sequence[Step]) -> list[FrameResult]:
        sizes.append(len(steps))
        return advance(steps)

    other = make(
        Stages(label_steps=Together(3), advance=counting),
        storage=JobStorage(str(tmp_path / "together")),
        videos_in_flight=3,
    )
    assert outcomes(finish(other, *items.values())) == dict.fromkeys("abc", Status.OK)
    together = masks(other)
    assert sum(sizes) == 3 * NUM_FRAMES
    assert sizes[0] == 3
    assert together.keys() == alone.keys()
    for key, mask in alone.items():
        union = (mask | together[key]).sum()
        assert union == 0 or (mask & together[key]).sum() >= 0.999 * union


@pytest.mark.slow
def test_a_bad_video_in_flight_leaves_the_others_alone(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    worker = make(videos_in_flight=3)
    missing = replace(items["b"], source=VideoSource("/no/such/file.mp4"))
    expected = {"a": Status.OK, "b": Status.FAILED, "c": Status.OK}
    assert outcomes(finish(worker, items["a"], missing, items["c"])) == expected
    assert len(published(worker, "masks")) == 2 * 2 * NUM_FRAMES


@pytest.mark.slow
def test_an_error_in_a_shared_batch_is_charged_to_whom_it_follows(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    """Out of memory with three videos at once: each goes on by itself, and only the one that is too large fails."""
    fake = TooLarge("b")
    worker = make(Stages(label_steps=Together(3, fake.label_steps), advance=fake.advance), videos_in_flight=3)
    expected = {"a": Status.OK, "b": Status.FAILED, "c": Status.OK}
    assert outcomes(finish(worker, *items.values())) == expected
    assert fake.sizes[0] == 3
    assert fake.sizes[-1] == 1


@pytest.mark.slow
def test_a_video_that_is_not_here_yet_does_not_hold_up_the_others(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    waits = Waits("b")
    worker = make(Stages(read_prompts=waits), videos_in_flight=2)
    first = worker.work([items["a"], items["b"]])
    assert [progress.video_id for progress in first.in_flight] == ["b"]
    waits.released.set()
    assert outcomes([first, *finish(worker)]) == dict.fromkeys("ab", Status.OK)


@pytest.mark.slow
def test_the_next_video_is_fetched_while_a_fetch_waits(make: MakeWorker, items: dict[str, WorkItem]) -> None:
    waits = Waits("b")
    worker = make(Stages(read_prompts=waits), beat_seconds=0.1)
    report = worker.work([items["b"], items["c"]])
    while report.in_flight[1].stage == "fetching":  # the limit of each test ends it
        report = worker.work([])
    waits.give_up()
    assert [progress.stage for progress in report.in_flight] == ["fetching", "waiting"]


@dataclass(frozen=True)
class Resizing(Network):
    """A network whose helper threads decode no frame of one height before they may."""

    slow_height: int = 0
    may_resize: threading.Event = field(default_factory=threading.Event)

    def resize(self, pixels_HW3: torch.Tensor) -> torch.Tensor:
        if pixels_HW3.shape[0] == self.slow_height:
            assert self.may_resize.wait(PATIENCE_SECONDS)
        return super().resize(pixels_HW3)


@pytest.mark.slow
def test_a_video_whose_frames_are_slow_to_decode_holds_up_no_other(
    make: MakeWorker, items: dict[str, WorkItem], tmp_path: Path
) -> None:
    videos, prompts = write_job_inputs(
        tmp_path / "slow", [moving_clip("slow", num_frames=NUM_FRAMES, size_hw=(64, 96))]
    )
    (slow,) = make_plan(InputTables(str(videos), str(prompts)), {}).items()
    networks: list[Resizing] = []

    def load(settings: WorkerSettings) -> Network:
        networks.append(Resizing(**vars(load_network(settings)), slow_height=64))
        return networks[-1]

    worker = make(Stages(load_network=load), videos_in_flight=2)
    reports = [worker.work([slow, items["a"], items["b"]])]
    assert [progress.video_id for progress in reports[0].in_flight] == ["slow"]
    networks[0].may_resize.set()
    assert outcomes([*reports, *finish(worker)]) == dict.fromkeys(("slow", "a", "b"), Status.OK)


def test_decoding_that_hangs_is_told_when_nothing_else_is_to_be_done(
    make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    networks: list[Resizing] = []

    def load(settings: WorkerSettings) -> Network:
        networks.append(Resizing(**vars(load_network(settings)), slow_height=96))
        return networks[-1]

    clock = Clock()
    worker = make(Stages(load_network=load, clock=clock), beat_seconds=0.1, hang_seconds=1000.0)
    report = worker.work([items["a"]])
    while report.in_flight[0].stage == "fetching":
        report = worker.work([])
    while report.end is None:  # the limit of each test ends it
        clock.now += 1001.0
        report = worker.work([])
    networks[0].may_resize.set()
    assert "decoding 'a' hangs: nothing has moved for 1000 s" in broken(report)
    assert [progress.video_id for progress in report.in_flight] == ["a"], "it may be its fault"


def test_decoding_moves_while_frames_leave_the_decoder_though_none_is_labeled(
    make: MakeWorker, items: dict[str, WorkItem]
) -> None:
    """A walk backward through a film of two hours with one key frame decodes all of it before its first frame comes."""
    clock, frames = Clock(), SimpleNamespace(num_passed=0)
    video = VideoInFlight(items["a"], make(Stages(clock=clock), hang_seconds=1000.0)._ready)
    fetched: Any = SimpleNamespace(is_done=True, frames=frames)
    video._begun_fetch = fetched
    for _ in range(5):
        clock.now += 900.0
        frames.num_passed += 20_000
        video.check_progress()
    clock.now += 1001.0
    with pytest.raises(WorkerBroken, match="decoding 'a' hangs: nothing has moved for 1000 s"):
        video.check_progress()


@dataclass(repr=False)
class Watched(JobStorage):
    """A store that notes in which threads it is used."""

    threads: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def read(self, path: str) -> bytes:
        self._note("read")
        return super().read(path)

    def put_file(self, local: Path, path: str) -> int:
        self._note("put_file")
        return super().put_file(local, path)

    def replace(self, path: str, data: bytes) -> None:
        self._note("replace")
        super().replace(path, data)

    def delete(self, paths: Iterable[str]) -> None:
        self._note("delete")
        super().delete(paths)

    def listing(self, folder: str, stem: str = "") -> list[Stored]:
        self._note("listing")
        return super().listing(folder, stem)

    def _note(self, what: str) -> None:
        self.threads[what].add(threading.current_thread().name)


@pytest.mark.slow
def test_the_thread_of_the_model_asks_storage_for_nothing(
    make: MakeWorker, items: dict[str, WorkItem], tmp_path: Path
) -> None:
    """Not for saved sessions, which are read, written and deleted here, nor to publish."""
    storage = Watched(str(tmp_path / "watched"))
    worker = make(storage=storage, checkpoint=CheckpointConfig(every_frames=1))
    assert outcomes(finish(worker, *items.values())) == dict.fromkeys("abc", Status.OK)
    assert storage.threads.keys() == {"read", "put_file", "replace", "delete", "listing"}
    assert threading.current_thread().name not in set().union(*storage.threads.values())
