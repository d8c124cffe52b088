"""The typed config of a job: one frozen group per subject, checked once, before Ray or torch are imported.

Each field holds everything about its key: type, unit, bounds or choices, default, and one sentence. `--help`, error
messages and the defaults that Hydra composes are made from it. `from_hydra` turns what Hydra composed into a
`JobConfig`; each error is a `ConfigError` that names the key, its value and what is allowed. The groups travel to
actors; a `DictConfig` never does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, field_validator, model_validator

from pipeline.config.cluster_config import ClusterConfig
from pipeline.config.columns_config import BoxFormat, ColumnsConfig
from pipeline.config.dates import TODAY, with_dates
from pipeline.config.discover_config import DiscoverConfig
from pipeline.config.fields import AsTyped, Group, Unit
from pipeline.config.input_config import InputConfig
from pipeline.config.kinds import (
    Frames,
    OptionalPlace,
    OptionalPlaces,
    Pixels,
)
from pipeline.config.mistakes import checked
from pipeline.config.networks import problem_of_name
from pipeline.config.schedule_config import AfterConfig, MaxCost, Notify, NotifyOn, PricePerHour, StopAfter
from pipeline.config.shots_config import Shots
from pipeline.config.usual_names import MEANT
from pipeline.config.verify_config import VerifyConfig
from pipeline.config.worker_config import CheckpointConfig, FlushConfig, WorkerConfig
from pipeline.errors import ConfigError
from pipeline.storage.on_disk import is_there
from pipeline.storage.schemes import is_of_this_machine
from pipeline.storage.uris import local_path


class ModelConfig(Group):
    """The SAM 2 network: its weights and how it computes."""

    name: str = Field(description="A short name of the network, for people who read job.json.")
    checkpoint: Annotated[str, AsTyped("a name, path, URI or id of the Hub")] = Field(
        description="The weights: a name that maskmill ships (mini), a folder, an fsspec URI or an id of the Hub. "
        "Files that are replaced while a run lasts are refused by workers that start later."
    )
    revision: Annotated[str | None, AsTyped("a branch, tag or commit")] = Field(
        default=None, description="A branch, tag or commit of the Hub's repository; null is its main branch."
    )
    dtype: Literal["auto", "float32", "bfloat16", "autocast"] = Field(
        default="auto",
        description="The numbers that the network computes with. auto is bfloat16 on a GPU that computes with it "
        "(compute capability 8.0 or more) and float32 elsewhere; autocast computes products in bfloat16 and the rest "
        "in float32, as the original does. float32 is not rounded to TF32. A job goes on with the numbers that it "
        "began with.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the network runs; auto takes a GPU where there is one."
    )
    compile: Literal[False, True, "graphs", "both"] = Field(
        default=False,
        description="true runs the network through torch.compile, graphs records it as CUDA graphs, both does both. "
        "Each worker is warmed up first, which takes minutes (worker.warm_up_seconds). Masks are the same up to "
        "rounding; a job may go on with or without it.",
    )

    @field_validator("dtype", mode="before")
    @classmethod
    def _refuse_float16(cls, value: Any) -> Any:
        """Nobody has shown that the weights of each model stay within its range, and bfloat16 is as fast."""
        if value == "float16":
            raise ValueError(
                "model.dtype=float16: numbers above 65,504 do not fit into it, and nothing shows that SAM 2 has none, "
                "which was trained in bfloat16; give model.dtype=bfloat16, which is as fast and has no such limit"
            )
        return value


class PropagateConfig(Group):
    """How objects are followed from their prompts through the video."""

    direction: Literal["forward", "backward", "both"] = Field(
        default="forward",
        description="forward labels from the first prompt of an object to the end, backward from its last prompt to "
        "the start, both all frames.",
    )
    max_prompted_memories: Annotated[int | None, Unit("frames")] = Field(
        default=None,
        ge=2,
        description="How many of an object's prompted frames the network looks at, the nearest ones: at least 2, one "
        "on each side of a frame. null is what the config.json of the weights says: all, in every released model.",
    )


class FramesConfig(Group):
    """Which frames are labeled. Frames with prompts always are."""

    stride: Frames = Field(default=1, ge=1, description="Label every n-th frame.")
    fps: Annotated[float | None, Unit("frames a second")] = Field(
        default=None,
        ge=0.001,
        le=100_000,
        description="Label the frames nearest to this many ticks a second, in place of a stride.",
    )

    @model_validator(mode="after")
    def _check_one_of_two(self) -> FramesConfig:
        if self.stride != 1 and self.fps is not None:
            raise ValueError(
                f"frames.stride={self.stride} and frames.fps={self.fps:g} contradict each other: give one of them"
            )
        return self


class DecodeConfig(Group):
    """How a worker decodes videos."""

    threads: Annotated[int | None, Unit("threads")] = Field(
        default=None,
        ge=1,
        le=64,
        description="The threads that decode one video: frames of H.264 and HEVC, parts of a frame elsewhere; with two "
        "or more, another one turns frames into the model's input. Frames are the same for any number, except where a "
        "video is damaged. null, or auto, is one for each CPU of the worker, up to 16.",
    )
    max_pixels: Pixels = Field(
        default=1 << 27,
        ge=1,
        le=1 << 27,
        description="A film, photo or page with more pixels in a frame fails at its header, before memory is taken for "
        "it. 8K has 33177600 pixels.",
    )

    @field_validator("threads", mode="before")
    @classmethod
    def _take_auto(cls, value: Any) -> Any:
        return None if value == "auto" else value


class DemoConfig(Group):
    """The clips that `conf=demo` draws."""

    num_frames: Frames = Field(default=24, ge=2, description="The length of a clip.")
    height: Pixels = Field(default=240, ge=64, description="The height of a clip.")
    width: Pixels = Field(default=320, ge=64, description="The width of a clip.")


class JobConfig(Group):
    """One job. Only the demo leaves `prompts` and `output` out."""

    MEANT = MEANT

    model: ModelConfig
    videos: OptionalPlace = Field(
        default=None,
        description="The videos: a folder, a glob or one video; or a Parquet table of them, which is a file, a folder "
        "or a glob of shards. Local or any fsspec URI. It may be left out where the table of prompts has a column uri.",
    )
    prompts: OptionalPlace = Field(
        default=None, description="The Parquet table of seed prompts: a file, a folder or a glob."
    )
    corrections: OptionalPlaces = Field(
        default=None,
        description="Parquet tables of further prompts, found like prompts, to which they add. A column uri is not "
        "needed. Given without prompts, they add to all tables of the job's last run.",
    )
    detections: OptionalPlace = Field(
        default=None,
        description="For conf=discover, a table of boxes of any detector: Parquet (a file, a folder or a glob), CSV, "
        "JSON lines or JSON (a file or a glob). Objects are then looked for where its boxes are, not with a grid of "
        "clicks.",
    )
    output: OptionalPlace = Field(
        default=None, description="The folder or URI of the job, where its tables and its log lie."
    )
    date: Annotated[str, AsTyped("today, yesterday or a date")] = Field(
        default=TODAY,
        description="What {date} means in videos, prompts, corrections, detections, output, log_file, after.report and "
        "after.export: today, yesterday, or a date as 2026-11-29, for a night that fell out.",
    )
    time_zone: str | None = Field(
        default=None,
        description="The time zone of date, as UTC or Europe/Berlin. null is that of the driver's machine.",
    )
    box_format: BoxFormat | None = Field(
        default=None,
        description="The form of the boxes: two corners, corner and size (COCO), or center and size (YOLO); in pixels, "
        "in fractions of the frame (n) or in percent. null is what the name of the column says, as in box_xywh.",
    )
    keep_columns: tuple[str, ...] = Field(
        default=(),
        description="Further columns of the table of prompts that travel to tracks, and of the table of videos that "
        "travel to videos. Videos that are finished keep what they have.",
    )
    storage_options: dict[str, Any] = Field(
        default_factory=dict,
        description="Credentials and endpoints of the stores, for fsspec, as in storage_options.anon=true. Secrets "
        "are never written to the job.",
    )
    single_driver: bool = Field(
        default=False,
        description="true says that no other driver can run, for stores that cannot refuse to overwrite an object.",
    )
    retry: tuple[Literal["failed", "quarantined"], ...] = Field(
        default=(),
        description="Label videos again that ended with one of these states. failed also means videos that are ok but "
        "for objects that failed.",
    )
    max_attempts: Annotated[int, Unit("attempts")] = Field(
        default=3,
        ge=1,
        description="retry= leaves a video alone that has ended badly this many times in a row with the same prompts "
        "and the same file.",
    )
    relabel: Literal[False, True, "all"] = Field(
        default=False,
        description="true labels all videos again, after a change of the model or of an option that changes masks. "
        "Tracks that a reviewer has accepted or rejected keep their masks; all labels these again as well.",
    )
    reviews: bool = Field(
        default=True,
        description="Take in what reviewers have corrected since the last run: only these objects are labeled again. "
        "false leaves reviews for a later run.",
    )
    keep_rounds: Annotated[int, Unit("rounds")] = Field(
        default=3,
        ge=0,
        description="So many earlier rounds of reviews stay readable; masks that were replaced before are deleted.",
    )
    changed: Literal["relabel", "keep"] | None = Field(
        default=None,
        description="What becomes of videos whose file was replaced since they were labeled: relabel labels them "
        "again, keep leaves them. null leaves and names them, where that costs no requests: local files, and what a "
        "folder or a glob in videos lists. relabel also asks object stores, once for each other file.",
    )
    shots: Shots = "table"
    prune: bool = Field(
        default=False,
        description="Remove what the tables of this run do not have: videos that are in the output, with everything "
        "that names them, and objects that have no prompts any more.",
    )
    check: bool = Field(
        default=False,
        description="Label nothing, and write nothing but log_file: read the tables, open some videos, hold the "
        "prompts against them, count, and estimate time and size. The exit code is 0 if nothing is wrong, 4 if a video "
        "or an object will fail.",
    )
    check_videos: Annotated[int, Unit("videos")] = Field(
        default=100, ge=0, description="How many videos check=true opens: all, or so many that are evenly spaced."
    )
    max_failed_fraction: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="The job stops when a larger share of its videos failed, or of the objects of its ok videos. It "
        "judges this run (after 100 videos and at its end) and all runs together (at the end). Videos that retry= "
        "takes do not count in this run.",
    )
    log_file: OptionalPlace = Field(
        default=None,
        description="A file or URI for the driver's log as JSON lines: a first and a last line for each run, and one "
        "for each video.",
    )
    stop_after: StopAfter = None
    max_cost: MaxCost = None
    price_per_hour: PricePerHour = None
    notify: Notify = None
    notify_on: NotifyOn = "always"
    after: AfterConfig = Field(default_factory=AfterConfig)
    columns: ColumnsConfig = Field(default_factory=ColumnsConfig)
    input: InputConfig = Field(default_factory=InputConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    propagate: PropagateConfig = Field(default_factory=PropagateConfig)
    frames: FramesConfig = Field(default_factory=FramesConfig)
    decode: DecodeConfig = Field(default_factory=DecodeConfig)
    worker: WorkerConfig = Field(default_factory=WorkerConfig)
    flush: FlushConfig = Field(default_factory=FlushConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    discover: DiscoverConfig | None = None
    verify: VerifyConfig | None = None
    demo: DemoConfig | None = None

    @field_validator("retry", "corrections", "keep_columns", mode="before")
    @classmethod
    def _take_one_for_a_list(cls, value: Any) -> Any:
        """`retry=failed` means `retry=[failed]`."""
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

    @field_validator("corrections")
    @classmethod
    def _check_no_blank(cls, places: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """An empty path would be the current folder, with each table that lies in it."""
        if any(not place.strip() for place in places or ()):
            raise ValueError("corrections= names an empty path: give a table of prompts, or leave it out")
        return places


_DATED_PLACES = ("videos", "prompts", "corrections", "detections", "output", "log_file")


def from_hydra(config: DictConfig) -> JobConfig:
    """The typed config of what Hydra composed. Raises `ConfigError` for the first key that is wrong."""
    job = checked(JobConfig, resolved(config))
    check(job)
    places = {key: getattr(job, key) for key in _DATED_PLACES}
    places_after = (job.after.report or "", *(str(export["to"]) for export in job.after.export))
    return job.model_copy(update=with_dates(places, job.date, job.time_zone, places_after=places_after))


def resolved(config: DictConfig) -> Any:
    """The composed config as plain values. Raises `ConfigError` for the first `${…}` that leads to nothing."""
    try:
        return OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        found = re.match(r"Interpolation key '([A-Za-z_]\w*)' not found", reason)
        name = found[1] if found else "NAME"
        way = f"${{oc.env:{name}}} is what the environment says, and \\${{{name}}} is left as it is"
        hint = f"; {way}" if found or "interpolation type" in reason else ""
        where = f"{error.full_key}: " if error.full_key else ""
        raise ConfigError(f"{where}the config cannot be resolved: {reason}{hint}") from error


def check(job: JobConfig) -> None:
    """Raises `ConfigError` for keys that a job needs, and for keys of different groups that contradict each other."""
    if job.demo is None:
        if job.verify is not None:
            _check_verification(job)
        elif job.discover is not None:
            _check_discovery(job)
        elif job.detections:
            raise ConfigError(
                "detections= is for conf=discover, which finds out which boxes are one object: give conf=discover, or "
                "make prompts of them with pipeline.prompts"
            )
        elif not job.prompts and not job.corrections:
            raise ConfigError(
                "prompts= is missing: give the Parquet table of seed prompts (a file, a folder or a glob)"
            )
        if not job.output:
            raise ConfigError("output= is missing: give the folder or URI where the tables shall lie")
    elif job.check:
        raise ConfigError("check=true is for jobs with videos and prompts of your own: give prompts= and output=")
    else:
        _check_schedule(job, "demo", "A job of your own takes it, as conf=label")
    if problem := problem_of_name(job.model.name, job.model.checkpoint):
        raise ConfigError(problem)
    gpus = job.cluster.gpus_per_actor
    if job.model.device == "cpu" and gpus:
        raise ConfigError(f"cluster.gpus_per_actor={gpus:g} contradicts model.device=cpu: leave one of them out")
    if job.model.device == "cuda" and gpus == 0:
        raise ConfigError("model.device=cuda contradicts cluster.gpus_per_actor=0: leave one of them out")
    if job.max_cost is not None and not job.price_per_hour:
        raise ConfigError(f"max_cost={job.max_cost:g} needs price_per_hour=: give what an hour of one worker costs")
    if job.cluster.kind == "existing" and not job.cluster.shared_disk:
        _check_all_nodes_reach(job)


def _check_discovery(job: JobConfig) -> None:
    """Objects are either found or prompted, and frames before the first key frame that shows them are wanted."""
    for key in ("prompts", "corrections"):
        if getattr(job, key):
            raise ConfigError(
                f"{key}= contradicts conf=discover, which finds the objects of all videos by itself: leave it out, or "
                "label with conf=label"
            )
    if not job.videos:
        raise ConfigError("videos= is missing: give the videos in which objects are to be found")
    if job.check:
        raise ConfigError("check=true is for jobs with prompts, and conf=discover has none: leave it out")


def _check_verification(job: JobConfig) -> None:
    """The tracks of a job are checked with what that job says: no tables are needed but to find moved videos."""
    for key in ("prompts", "corrections", "detections"):
        if getattr(job, key):
            raise ConfigError(
                f"{key}= contradicts conf=verify, which checks the tracks of output= and needs no prompts: leave it out"
            )
    if job.discover is not None or job.check:
        raise ConfigError("conf=verify neither finds objects nor takes check=true: leave them out")
    _check_schedule(
        job, "verify", "verify.max_tracks= bounds a run, and one that a signal stops goes on with the same command"
    )


def _check_schedule(job: JobConfig, kind: str, instead: str) -> None:
    """Raises `ConfigError` for keys of a schedule, where the job is none that a schedule runs."""
    for name in ("stop_after", "max_cost", "notify", "after"):
        if getattr(job, name) != JobConfig.model_fields[name].get_default(call_default_factory=True):
            shown = "after.…" if name == "after" else f"{name}="
            raise ConfigError(f"{shown} is not for conf={kind}, which would run without it: leave it out. {instead}")


def _check_all_nodes_reach(job: JobConfig) -> None:
    """Workers on other machines cannot read this machine's disk."""
    places = {"videos": job.videos, "prompts": job.prompts, "detections": job.detections, "output": job.output}
    places["model.checkpoint"] = _place_of_weights(job.model.checkpoint)
    for key, value in (*places.items(), *(("corrections", place) for place in job.corrections or ())):
        if value and is_of_this_machine(value):
            raise ConfigError(
                f"{key}={value} lies on this machine's disk, which other nodes of the cluster cannot reach: "
                f"give a URI that all nodes reach (s3://…), or cluster.shared_disk=true if the disk is shared"
            )


def _place_of_weights(checkpoint: str) -> str | None:
    """The path or URI that `model.checkpoint` is; `None` if each node has the weights with our code or from the Hub."""
    from model import bundled_folder  # here, because a start without an existing cluster does without `model`

    is_place = bundled_folder(checkpoint) is None and ("://" in checkpoint or is_there(Path(local_path(checkpoint))))
    return checkpoint if is_place else None
