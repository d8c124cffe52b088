"""The network of a job, loaded again: the weights that `job.json` names, on whatever this machine has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from model import Sam2, load_model
from pipeline.commits.job_record import JobRecord, read_record
from pipeline.config.job_config import ModelConfig
from pipeline.errors import CannotMend, ConfigError, describe
from pipeline.records import Weights
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.devices import choose_device, compute_exactly, describe_device, prepare_model
from pipeline.worker.local_weights import local_weights

_MOST_PROMPTED_MEMORIES = 8
_SMALL_IMAGE = 512  # pixels of the square that the network sees
_MOST_THREADS = 8


@dataclass(frozen=True)
class JobNetwork:
    """The network, and what the job's config says of walks.

    `direction` is that of `propagate.direction`. `max_prompted_memories` bounds how many prompted frames are looked at.
    """

    model: Sam2
    device: str
    direction: str
    max_prompted_memories: int


def load_job_network(storage: JobStorage, device: str = "auto") -> JobNetwork:
    """The network of the job at `storage`, with its number format.

    On a machine without a GPU the network of a job in bfloat16 computes in float32, because most CPUs only emulate
    bfloat16. Raises `CannotMend` if there is no job, or if its weights are gone or are others now; `StorageError` if
    a store does not answer.
    """
    try:
        record = read_record(storage)
    except ConfigError as error:
        raise CannotMend(str(error)) from error
    if record is None:
        raise CannotMend(f"{storage}: there is no job.json, so nobody knows which weights made these masks")
    known = record.checkpoint
    weights = Weights(known["source"], known.get("revision"), known["identity"])
    config = _model_config(record, device)
    chosen, dtype = choose_device(config)
    if chosen.type == "cpu":
        config, dtype = config.model_copy(update={"dtype": "float32"}), torch.float32
    compute_exactly(chosen, dtype)
    try:
        source = local_weights(weights, storage.storage_options or {})
        model = load_model(source, device=chosen, dtype=dtype, revision=weights.revision)
    except (ConfigError, OSError, ValueError) as error:
        raise CannotMend(f"the weights of this job, {weights.source}, cannot be loaded: {describe(error)}") from error
    _choose_threads(model.config.image_size)
    propagate: Mapping[str, Any] = record.config.get("propagate") or {}
    return JobNetwork(
        model=prepare_model(model, config),
        device=describe_device(chosen, dtype, config),
        direction=propagate.get("direction") or "forward",
        max_prompted_memories=min(
            propagate.get("max_prompted_memories") or _MOST_PROMPTED_MEMORIES, _MOST_PROMPTED_MEMORIES
        ),
    )


def _choose_threads(image_size: int) -> None:
    """How many threads share an operation on the CPU. For those of a small network one is fastest: they are short."""
    torch.set_num_threads(1 if image_size <= _SMALL_IMAGE else min(os.cpu_count() or 1, _MOST_THREADS))


def _model_config(record: JobRecord, device: str) -> ModelConfig:
    """The group `model` of the job, for this machine: never compiled, because each click has a shape of its own."""
    values = {
        name: value for name, value in (record.config.get("model") or {}).items() if name in ModelConfig.model_fields
    }
    return ModelConfig.model_validate(values | {"device": device, "compile": False})
