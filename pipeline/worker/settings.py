"""What a worker is made of: groups of the config, whole, and what the driver found out about the job.

This module knows no torch, because the driver only passes settings on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.config.job_config import (
    CheckpointConfig,
    FlushConfig,
    FramesConfig,
    ModelConfig,
    PropagateConfig,
    WorkerConfig,
)
from pipeline.records import Weights
from pipeline.storage.job_storage import JobStorage


@dataclass(frozen=True)
class JobFacts:
    """What the driver alone knows of a job: which weights exactly, where the output lies, and what its rows say of it.

    `storage_options` are fsspec's, for the inputs and the weights. `epoch` counts the drivers that have owned the job.
    """

    weights: Weights
    storage: JobStorage
    storage_options: dict[str, Any]
    epoch: int
    config_hash: str
    versions: str


@dataclass(frozen=True)
class WorkerSettings:
    """Everything that a worker needs, as plain values that travel to an actor.

    The groups are those of the config, so that a new key reaches the worker by itself. `cpus` is how many threads torch
    computes with (`cluster.cpus_per_actor`).
    """

    job: JobFacts
    model: ModelConfig
    propagate: PropagateConfig = field(default_factory=PropagateConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    flush: FlushConfig = field(default_factory=FlushConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    cpus: int = 1
