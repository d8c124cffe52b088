"""What makes a worker, without torch: the driver only passes it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.config.job_config import CheckpointConfig, FramesConfig, ModelConfig, PropagateConfig
from pipeline.output.segment_writer import FlushPolicy
from pipeline.records import Checkpoint
from pipeline.storage.job_storage import JobStorage


@dataclass(frozen=True)
class WorkerSettings:
    """Everything that a worker needs: plain values that travel to an actor."""

    model: ModelConfig
    checkpoint: Checkpoint
    propagate: PropagateConfig
    frames: FramesConfig
    flush: FlushPolicy
    storage: JobStorage
    storage_options: dict[str, Any]
    epoch: int
    config_hash: str
    versions: str
    num_threads: int = 1
    videos_in_flight: int = 1
    beat_seconds: float = 10.0
    hang_seconds: float = 600.0
    spool_dir: str | None = None
    checkpoint_rule: CheckpointConfig = field(default_factory=CheckpointConfig)
