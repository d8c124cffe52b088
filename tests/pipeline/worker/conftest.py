"""Items of drawn clips, and workers of a small network that label them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.job_config import JobConfig, ModelConfig
from pipeline.config.worker_config import CheckpointConfig, WorkerConfig
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.records import Weights, WorkItem
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.equipment import Stages
from pipeline.worker.settings import JobFacts, WorkerSettings
from pipeline.worker.weights_identity import content_hash
from pipeline.worker.worker import Worker
from tests.support.clips import moving_clip, write_job_inputs
from tests.support.labeling_workers import (
    LAZY,
    NUM_FRAMES,
    PATIENCE_SECONDS,
    MakeWorker,
)
from tests.support.sessions import save_small


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WorkItem]:
    clips = [moving_clip(name, num_frames=NUM_FRAMES, seed=seed) for seed, name in enumerate("abc")]
    videos, prompts = write_job_inputs(tmp_path_factory.mktemp("inputs"), clips)
    plan = make_plan(InputTables(str(videos), str(prompts)), {})
    return {item.video_id: item for item in plan.items()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Of the small network, because what a worker does with a video does not depend on the size of its network."""
    folder = tmp_path_factory.mktemp("small")
    save_small(folder)
    return Weights(str(folder), None, content_hash(folder))


@pytest.fixture
def make(tmp_path: Path, weights: Weights) -> Iterator[MakeWorker]:
    """Makes workers that have loaded. They publish their first video at once, and others when they are asked to.

    `stages` are as for `Worker`, `storage` and `checkpoint` as in the settings, and other keywords are keys of the
    config's group `worker`. When the test is over, no worker may have left anything in its spool.
    """
    made: list[Worker] = []

    def make_one(
        stages: Stages | None = None,
        *,
        storage: JobStorage | None = None,
        checkpoint: CheckpointConfig | None = None,
        **options: Any,
    ) -> Worker:
        facts = JobFacts(
            weights=weights,
            storage=storage or JobStorage(str(tmp_path / "job")),
            epoch=1,
            config_hash="f",
            versions="maskmill 0",
        )
        group = WorkerConfig(**{"spool_dir": str(tmp_path / "spool"), **options})
        if "beat_seconds" not in options:
            # Longer than the config allows: on a slow machine, too, a call ends when it has something to tell.
            group = group.model_copy(update={"beat_seconds": PATIENCE_SECONDS})
        config = JobConfig(
            model=ModelConfig(name="mini", checkpoint="mini", dtype="float32"),
            flush=LAZY,
            checkpoint=checkpoint or CheckpointConfig(),
            worker=group,
        )
        made.append(Worker(WorkerSettings(facts, config), f"w{len(made)}", stages))
        made[-1].setup()
        return made[-1]

    yield make_one
    for worker in made:
        worker.close()
    assert not made or not list((tmp_path / "spool").iterdir())


@pytest.fixture
def worker(make: MakeWorker) -> Worker:
    """One of them."""
    return make()
