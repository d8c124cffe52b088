"""Which numbers `model.dtype=auto` means in a job. The driver decides, so that no two workers decide differently.

A job goes on with the numbers that it began with. A new one takes bfloat16 if its workers get GPUs that compute with
it, and float32 otherwise.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.commits.job_record import JobRecord
from pipeline.config.cluster_config import ClusterConfig
from pipeline.config.job_config import JobConfig, ModelConfig
from pipeline.errors import ConfigError

_log = logging.getLogger(__name__)

Numbers = Literal["float32", "bfloat16"]
_DRIVERS_OF_GPUS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of NVIDIA, of Windows below Linux, of AMD


def _of_this_machine(model: ModelConfig, in_this_process: bool) -> Numbers:
    """What a worker on this machine would take. Torch is imported only if there may be a GPU, or workers are here."""
    is_linux = sys.platform.startswith("linux")
    if not in_this_process and is_linux and not any(Path(path).exists() for path in _DRIVERS_OF_GPUS):
        return "float32"
    import torch

    from pipeline.worker.devices import choose_device

    try:
        return "bfloat16" if choose_device(model)[1] == torch.bfloat16 else "float32"
    except RuntimeError as error:
        raise ConfigError(str(error)) from error


def _cluster_has_gpus(cluster: ClusterConfig) -> bool:
    from pipeline.cluster.ray_gpus import has_gpus

    return has_gpus(cluster)


@dataclass(frozen=True)
class Machines:
    """What the driver asks of the machines where workers will run; a test asks others."""

    of_this_machine: Callable[[ModelConfig, bool], Numbers] = _of_this_machine
    cluster_has_gpus: Callable[[ClusterConfig], bool] = _cluster_has_gpus


ASK_THEM = Machines()


def with_numbers(config: JobConfig, before: JobRecord | None, machines: Machines = ASK_THEM) -> JobConfig:
    """The config with `model.dtype=auto` resolved. `before` is the record of an earlier run, if there was one.

    It stays `auto` in an output of an earlier commit, which does not say what that was. Workers that get no GPU compute
    on their CPU, also where Ray does not hide GPUs from them. Raises `ConfigError` if the job began with numbers that
    its workers now lack, or if the machines cannot be asked.
    """
    model = config.model
    if config.cluster.gpus_per_actor == 0:
        model = model.model_copy(update={"device": "cpu"})
    if model.dtype == "auto":
        model = model.model_copy(update={"dtype": _resolved(config, model, before, machines)})
    return config.model_copy(update={"model": model})


def _resolved(
    config: JobConfig, model: ModelConfig, before: JobRecord | None, machines: Machines
) -> Numbers | Literal["auto"]:
    begun = None if before is None or config.relabel else before.fingerprint.get("model.dtype")
    if begun == "auto":
        _log.warning(
            "%s does not say with which numbers it was begun, because an earlier version wrote it: each worker takes "
            "those of its own device; give model.dtype=… in new jobs that move between GPUs and CPUs",
            config.output,
        )
        return "auto"
    if begun == "float32":
        return "float32"  # which every device has
    now = _of_the_workers(config, model, machines, is_begun=begun == "bfloat16")
    if begun == "bfloat16" and now == "float32":
        raise ConfigError(
            f"output={config.output} was begun with bfloat16, and this run has no GPU that computes with it: give "
            "model.dtype=bfloat16 to go on all the same, which is slow on most CPUs, or label everything there again "
            "with relabel=true"
        )
    return now


def _of_the_workers(config: JobConfig, model: ModelConfig, machines: Machines, is_begun: bool) -> Numbers:
    """What workers take by their device. A worker that lacks it refuses to start (`pipeline.worker.devices`)."""
    cluster = config.cluster
    if model.device == "cpu":
        return "float32"
    if cluster.kind != "existing":
        return machines.of_this_machine(model, cluster.kind == "serial")
    if model.device == "cuda" or cluster.gpus_per_actor or is_begun:
        return "bfloat16"
    # check=true starts no worker, and where it runs the cluster may be out of reach.
    return "bfloat16" if config.check or machines.cluster_has_gpus(cluster) else "float32"
