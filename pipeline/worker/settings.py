"""What a worker is made of: the config of the job, and what the driver found out about the job.

This module knows no torch, because the driver only passes settings on.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.job_config import JobConfig
from pipeline.records import Weights
from pipeline.storage.job_storage import JobStorage


@dataclass(frozen=True)
class JobFacts:
    """What the driver alone knows of a job: which weights exactly, where the output lies, and what its rows say of it.

    `epoch` counts the drivers that have owned the job. `numbers_are_resolved`: the driver has chosen `model.dtype` for
    the devices that workers get, so that one which gets another device must not work. `round` is that of the reviews.
    """

    weights: Weights
    storage: JobStorage
    epoch: int
    config_hash: str
    versions: str
    numbers_are_resolved: bool = False
    round: int = 1


@dataclass(frozen=True)
class WorkerSettings:
    """Everything that a worker needs, as plain values that travel to an actor.

    The config is whole, so that a new key or a new group reaches the worker by itself.
    """

    job: JobFacts
    config: JobConfig
