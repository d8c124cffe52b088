"""The typed config of a job: one frozen dataclass per group, checked once, before Ray or torch are imported.

`from_hydra` turns what Hydra composed into a `JobConfig`. Every error is a `ConfigError` that names the key, the value
and what is allowed. The dataclasses are plain, so that they travel to actors; a `DictConfig` never does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.typed import build
from pipeline.errors import ConfigError

BUNDLED = {"mini": "sam2.1-mini"}
"""Checkpoints that are part of the package, each with its folder in `model/checkpoints`."""


def _number(default: Any, at_least: float, at_most: float | None = None) -> Any:
    """A field with a lowest and perhaps a highest allowed value, both inclusive; they hold unless it is `None`."""
    return field(default=default, metadata={"at_least": at_least, "at_most": at_most})


@dataclass(frozen=True)
class ModelConfig:
    """Which SAM 2. `checkpoint`: a folder, an fsspec URI or a Hub id; `revision`: a branch, tag or commit there.

    `dtype=autocast`: products in bfloat16, the rest in float32, as the original computes. `compile`: the network goes
    through `torch.compile`, which takes minutes at a worker's first frames (`worker.hang_seconds` must be longer); like
    another device it changes last bits, not masks, so that a job may go on with or without it.
    """

    name: str
    checkpoint: str
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16", "autocast"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: bool = False


@dataclass(frozen=True)
class ClusterConfig:
    """Where the workers run. `None` means: as many as fit (actors), one if there are any (GPUs).

    `actors` says how many; or they may vary, as nodes come and go: `min_actors` are asked for even where they do not
    fit yet, so that a cluster that scales by itself grows, and there are never more than `max_actors`.
    """

    kind: Literal["local", "existing", "serial"] = "local"
    address: str = "auto"
    actors: int | None = _number(None, 1)
    min_actors: int | None = _number(None, 1)
    max_actors: int | None = _number(None, 1)
    gpus_per_actor: float | None = _number(None, 0)
    cpus_per_actor: int = _number(1, 1)
    shared_disk: bool = False


@dataclass(frozen=True)
class PropagateConfig:
    """How objects are followed. `max_prompted_memories` bounds what is remembered of prompted frames (`None`: all)."""

    direction: Literal["forward", "backward", "both"] = "forward"
    max_prompted_memories: int | None = _number(None, 1)


@dataclass(frozen=True)
class FramesConfig:
    """Which frames are labelled: every `stride`-th, or as many as `fps` asks for. Prompted frames always are."""

    stride: int = _number(1, 1)
    fps: float | None = _number(None, 0.001, 100_000)


@dataclass(frozen=True)
class WorkerConfig:
    """How a worker is driven: heartbeats, deadlines, and how often what may fail before it is given up."""

    videos_in_flight: int = _number(1, 1)
    beat_seconds: float = _number(10.0, 0.01, 15)  # a stop waits 20 s for workers to publish what is finished
    hang_seconds: float = _number(600.0, 1)
    setup_seconds: float = _number(1800.0, 1)
    max_strikes: int = _number(3, 1)
    max_setup_failures: int = _number(3, 1)
    storage_patience_seconds: float = _number(900.0, 0)
    spool_dir: str | None = None


@dataclass(frozen=True)
class FlushConfig:
    """When a worker publishes: the first video at once, then whichever of these comes first."""

    megabytes: float = _number(64.0, 0)
    seconds: float = _number(300.0, 0)
    elapsed_fraction: float = _number(0.05, 0, 1)


@dataclass(frozen=True)
class CheckpointConfig:
    """When a long video is saved in its middle, to go on from there: at whichever comes first."""

    every_frames: int = _number(2000, 1)
    every_seconds: float = _number(120.0, 0)


@dataclass(frozen=True)
class DemoConfig:
    """The clips that `conf=demo` draws."""

    num_frames: int = _number(24, 2)
    height: int = _number(240, 64)
    width: int = _number(320, 64)


@dataclass(frozen=True)
class JobConfig:
    """One job. `videos`, `prompts` and `output` are paths or fsspec URIs; only the demo leaves them out."""

    model: ModelConfig
    videos: str | None = None
    prompts: str | None = None
    output: str | None = None
    storage_options: dict[str, Any] = field(default_factory=dict)
    single_driver: bool = False
    retry: tuple[Literal["failed", "quarantined"], ...] = ()
    relabel: bool = False
    max_failed_fraction: float = _number(0.5, 0, 1)
    log_file: str | None = None
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    propagate: PropagateConfig = field(default_factory=PropagateConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    flush: FlushConfig = field(default_factory=FlushConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    demo: DemoConfig | None = None


def from_hydra(config: DictConfig) -> JobConfig:
    """The typed config of what Hydra composed. Raises `ConfigError` for the first key that is wrong."""
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"the config cannot be resolved: {str(error).splitlines()[0]}") from error
    job = build(JobConfig, plain, "")
    check(job)
    return job


def check(job: JobConfig) -> None:
    """Raises `ConfigError` for values that contradict each other or are missing."""
    if job.demo is None:
        if not job.prompts:
            raise ConfigError(
                "prompts= is missing: give the Parquet table of seed prompts (a file, a folder or a glob)"
            )
        if not job.output:
            raise ConfigError("output= is missing: give the folder or URI where the tables shall lie")
    if job.frames.stride != 1 and job.frames.fps is not None:
        raise ConfigError(
            f"frames.stride={job.frames.stride} and frames.fps={job.frames.fps:g} contradict each other: give one"
        )
    gpus = job.cluster.gpus_per_actor
    if job.model.device == "cpu" and gpus:
        raise ConfigError(f"cluster.gpus_per_actor={gpus:g} contradicts model.device=cpu: leave one of them out")
    if job.model.device == "cuda" and gpus == 0:
        raise ConfigError("model.device=cuda contradicts cluster.gpus_per_actor=0: leave one of them out")
    _check_actors(job.cluster)
    _check_deadline(job.worker)
    if job.cluster.kind == "serial" and job.cluster.actors not in (None, 1):
        raise ConfigError(
            f"cluster=serial has one worker, in this process: cluster.actors={job.cluster.actors} is not possible"
        )
    if job.cluster.kind == "existing":
        _check_reachable_from_all_nodes(job)


def _check_actors(cluster: ClusterConfig) -> None:
    least, most = cluster.min_actors, cluster.max_actors
    if cluster.actors is not None and (least is not None or most is not None):
        raise ConfigError(
            f"cluster.actors={cluster.actors} contradicts cluster.min_actors={least} and cluster.max_actors={most}: "
            "give a fixed number, or bounds"
        )
    if least is not None and most is not None and least > most:
        raise ConfigError(f"cluster.min_actors={least} is more than cluster.max_actors={most}")
    if cluster.kind == "serial" and (least or 1) > 1:
        raise ConfigError(f"cluster=serial has one worker: cluster.min_actors={least} is not possible")


def _check_deadline(worker: WorkerConfig) -> None:
    """A worker answers every `beat_seconds` at best: a deadline near that would kill healthy ones."""
    least = 2 * worker.beat_seconds
    if worker.hang_seconds < least:
        raise ConfigError(
            f"worker.hang_seconds={worker.hang_seconds:g} is less than twice worker.beat_seconds="
            f"{worker.beat_seconds:g}, within which a healthy worker answers: give {least:g} or more, or a shorter beat"
        )


def _check_reachable_from_all_nodes(job: JobConfig) -> None:
    """Actors of other machines cannot see this machine's disk, unless the user says that it is shared."""
    if job.cluster.shared_disk:
        return
    places = {"videos": job.videos, "prompts": job.prompts, "output": job.output}
    places["model.checkpoint"] = _place_of_checkpoint(job.model.checkpoint)
    for key, value in places.items():
        if value and _is_of_this_machine(value):
            raise ConfigError(
                f"{key}={value} lies on this machine's disk, which other nodes of the cluster cannot reach: "
                f"give a URI that all nodes reach (s3://…), or cluster.shared_disk=true if the disk is shared"
            )


def _place_of_checkpoint(checkpoint: str) -> str | None:
    """The path or URI that `model.checkpoint` is; `None` for one that all nodes have with our code or from the Hub."""
    is_place = checkpoint not in BUNDLED and ("://" in checkpoint or Path(checkpoint).expanduser().exists())
    return checkpoint if is_place else None


def _is_of_this_machine(uri: str) -> bool:
    """Whether a path or URI means the disk (or memory) of this machine."""
    scheme, separator, _ = uri.partition("://")
    return not separator or scheme in ("file", "local", "memory")
