"""`python -m pipeline.overlay output=… to=…`: videos or pictures with the masks of a job drawn on them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import Field

from model import MediaError
from pipeline import tables
from pipeline.cluster.tasks import task_workers
from pipeline.command import ExitCode, JobArguments, TargetArguments, describe_arguments, main
from pipeline.commits.job_record import read_record
from pipeline.config.cluster_config import ProcessesConfig
from pipeline.config.fields import Unit
from pipeline.config.job_config import FramesConfig
from pipeline.config.kinds import (
    Frames,
    OptionalLocalPlace,
    OptionalNames,
    OptionalNumbers,
    OptionalPlace,
    OptionalRoot,
    Place,
)
from pipeline.errors import ConfigError, NotInJob
from pipeline.formats.plan import safe_name
from pipeline.formats.selection import OptionalCondition
from pipeline.output.targets import check_folder
from pipeline.packages import leave_current_folder
from pipeline.records import Status
from pipeline.redact import redact_uri
from pipeline.reviews.live import names_verdict
from pipeline.storage.atomic_files import spool_errors
from pipeline.storage.job_storage import TEMPORARY, JobStorage
from pipeline.storage.uris import local_path
from pipeline.text import BAD_VIDEOS, NO_VIDEOS_YET, ProgressLine, complain, counted, say

if TYPE_CHECKING:
    from pipeline.notebook.clip import Clip
    from pipeline.notebook.film import Pace


_COMMENT = "Comment"  # of a PNG file


class OverlayArguments(TargetArguments, JobArguments):
    """The keys of overlays."""

    to: Place = Field(description="The folder or URI of the files: {video}.mp4, or {video}/{frame}.png.")
    form: Literal["mp4", "png"] = Field(default="mp4", description="A video (H.264) each, or a picture a frame.")
    videos: OptionalNames = Field(default=None, description="Ids of the videos; null is all finished ones.")
    objects: OptionalNumbers = Field(default=None, description="Ids of the objects; null is all.")
    where: OptionalCondition = Field(
        default=None,
        description="Which tracks: a condition on columns of the table tracks, as in 'where=predicted_iou_mean < 0.7'; "
        "videos without such a track are left out.",
    )
    round: int | None = Field(
        default=None,
        ge=1,
        description="The masks of all tracks as they were at the end of this round of reviews; null: those of now.",
    )
    frames: OptionalNumbers = Field(
        default=None, description="The frame_index of each frame to be drawn, in the place of start, stop and every."
    )
    start: Frames = Field(default=0, ge=0, description="The first frame_index.")
    stop: Annotated[int | None, Unit("frames")] = Field(
        default=None, ge=1, description="The frame_index before which it ends; null is all."
    )
    every: Frames = Field(default=1, ge=1, description="Take every n-th of the labeled frames.")
    unlabeled: bool = Field(
        default=False,
        description="true shows the frames before the first prompt too, which have no masks, so that the video begins "
        "where its file does.",
    )
    masks: Literal["both", "fills", "contours"] = Field(default="both", description="How masks are drawn.")
    strength: float = Field(default=0.5, ge=0, le=1, description="The share of an object's color in its fill.")
    labels: Literal["ids", "categories", "none"] = Field(default="ids", description="What stands on each object.")
    most_pixels: Annotated[int | None, Unit("pixels")] = Field(
        default=None, ge=16, description="Make frames smaller to this on their longer side; null keeps their size."
    )
    quality: int = Field(default=20, ge=0, le=51, description="Of a video: 18 looks lossless, 28 is small.")
    beside: OptionalPlace = Field(
        default=None,
        alias="with",
        description="The output of another job that labeled the same videos, to be shown at the right.",
    )
    beside_storage_options: dict[str, Any] | None = Field(
        default=None,
        alias="with_storage_options",
        description="Credentials and endpoints for with=; null: those of storage_options.",
    )
    beside_round: int | None = Field(
        default=None, ge=1, alias="with_round", description="As round, for with=, which may be the same job."
    )
    videos_root: OptionalRoot = Field(
        default=None, description="A folder or URI below which the files of the videos lie now; null: where they were."
    )
    again: bool = Field(
        default=False,
        description="true makes files anew that are there already; those of other keys or other masks are always made "
        "anew.",
    )
    spool_dir: OptionalLocalPlace = Field(
        default=None, description="A local folder for the files that are being written; null is the system's own."
    )
    cluster: ProcessesConfig = Field(default_factory=ProcessesConfig)


HELP = f"""Draws the masks of a job onto its videos: a video each, or pictures.

  python -m pipeline.overlay output=… to=overlays
  python -m pipeline.overlay output=… to=overlays videos=[clip-1,clip-2] objects=[1] form=png every=10
  python -m pipeline.overlay output=… to=overlays with=other-output
  python -m pipeline.overlay output=labels round=1 with=labels to=overlays

{describe_arguments(OverlayArguments)}

Files that are there already are kept, so that a command that was killed goes on when it is repeated; those that other
keys made, or of which the video was labeled again since, are made anew. A file is whole or not there. A color belongs
to an object's id. Frames without a row in masks are not shown.

Exit codes:
  {ExitCode.DONE}   All are there.
  {ExitCode.ENVIRONMENT}   A store or a disk failed: run the same command again later, and it goes on.
  {ExitCode.REFUSED}   Wrong arguments, no job, no such video, or nothing to draw.
  {ExitCode.FAILURES}   The files of some videos are gone or were replaced, or an object failed; each is named.
  {ExitCode.STOPPED} A signal stopped it: run the same command again, and it goes on.
"""


@dataclass(frozen=True)
class Task:
    """One video, and its objects to be drawn; None are all."""

    video_id: str
    object_ids: tuple[int, ...] | None


@dataclass(frozen=True)
class Drawn:
    """How many files of a video were made, in place of how many others, how many were there; why it is not drawn."""

    video_id: str
    num_made: int = 0
    num_replaced: int = 0
    num_kept: int = 0
    fault: str = ""


class Painter:
    """Draws one video after the other, in the process in which it is made."""

    def __init__(self, arguments: OverlayArguments) -> None:
        # Frames need torch, which takes 2 seconds: help and mistakes in the arguments are told at once.
        from pipeline.notebook.overlay_frames import Drawing

        self._arguments = arguments
        self._job = tables.open(arguments.output, arguments.storage_options, round=arguments.round)
        self._other = _other_job(arguments)
        self._storage = _target(arguments)
        self._every_frame = _frames_of_job(arguments) if arguments.unlabeled else None
        strength = 0.0 if arguments.masks == "contours" else arguments.strength
        self._drawing = Drawing(
            arguments.start,
            arguments.stop,
            arguments.every,
            strength,
            arguments.masks != "fills",
            arguments.labels,
            arguments.most_pixels,
            arguments.frames,
        )

    def work(self, task: Task, /) -> Drawn:
        """Draw one video. What is wrong with it alone is told in the answer."""
        try:
            return self._draw(task)
        except (MediaError, NotInJob, ValueError) as error:
            return Drawn(task.video_id, fault=str(error))

    def _draw(self, task: Task) -> Drawn:
        arguments, name = self._arguments, safe_name(task.video_id)
        are_chosen = names_verdict(arguments.where)
        clip = self._job.video(task.video_id, videos_root=arguments.videos_root, rejected=are_chosen)
        clip.check_objects(task.object_ids or [])
        if self._every_frame is not None:
            clip.add_frames_without_rows(self._every_frame.stride, self._every_frame.fps)
        other = None if self._other is None else self._other.video(task.video_id)
        indexes = self._drawing.frame_indexes(clip)
        recipe = _recipe(arguments, task, [one for one in (clip, other) if one is not None])
        names = [_png(name, index) for index in indexes] if arguments.form == "png" else [f"{name}.mp4"]
        if not indexes:
            raise ValueError(f"video {task.video_id!r} has no masks on the chosen frames; {clip.frames_in_words()}")
        there = set() if arguments.again else self._there(name, names)
        kept = {one for one in there if self._recipe_of(one) == recipe}
        done = Drawn(task.video_id, len(names) - len(kept), len(there - kept), len(kept))
        if not done.num_made:
            return done
        from pipeline.notebook.film import Pace
        from pipeline.notebook.overlay_frames import Beside, overlay_frames

        beside = None
        if other is not None:
            assert arguments.beside is not None
            beside = Beside(other, redact_uri(arguments.output), redact_uri(arguments.beside))
        objects = None if task.object_ids is None else list(task.object_ids)
        if arguments.form == "mp4":
            frames = overlay_frames(clip, indexes, self._drawing, objects, beside)
            shown = ((one.pixels_HW3, one.pts_seconds) for one in frames)
            self._write_mp4(names[0], shown, Pace.of(clip.row), recipe)
            return done
        left = [index for index in indexes if _png(name, index) not in kept]
        for one in overlay_frames(clip, left, self._drawing, objects, beside):
            buffer, said = io.BytesIO(), PngInfo()
            said.add_text(_COMMENT, recipe)
            Image.fromarray(one.pixels_HW3).save(buffer, "PNG", pnginfo=said)
            self._storage.replace(_png(name, one.frame_index), buffer.getvalue())
        return done

    def _there(self, folder: str, names: Sequence[str]) -> set[str]:
        """Those of these files that are there."""
        if self._arguments.form == "mp4":
            return {name for name in names if self._has(name)}
        return {one.path for one in self._storage.listing(folder)} & set(names)

    def _recipe_of(self, name: str) -> str:
        """What a file says of how it was made; empty where it says nothing."""

        from pipeline.video.encode import mp4_comment

        def read() -> str:
            with self._storage.open_input(name) as file:
                if name.endswith(".mp4"):
                    return mp4_comment(file)
                with Image.open(file) as image:
                    return str(image.info.get(_COMMENT, ""))

        return self._storage.retry(f"read {name}", read)

    def _has(self, path: str) -> bool:
        try:
            return self._storage.num_bytes(path) > 0
        except FileNotFoundError:
            return False

    def _write_mp4(self, name: str, frames: Iterable[tuple[Any, float | None]], pace: Pace, recipe: str) -> None:
        """One video by way of a file on local disk, so that memory holds a few frames, whatever its length."""
        from pipeline.video.encode import Mp4Writer

        first: float | None = None
        with tempfile.TemporaryDirectory(prefix="maskmill-overlay-", dir=self._arguments.spool_dir) as folder:
            path = Path(folder) / "overlay.mp4"
            writer = Mp4Writer(
                str(path),
                pace.frames_per_second,
                pixel_aspect=pace.pixel_aspect,
                quality=self._arguments.quality,
                comment=recipe,
            )
            for pixels_HW3, seconds in frames:
                first = seconds if first is None else first
                with spool_errors(Path(folder)):
                    writer.add(pixels_HW3, None if seconds is None else seconds - (first or 0.0))
            with spool_errors(Path(folder)):
                writer.close()
            self._storage.put_file(path, name)


def _recipe(arguments: OverlayArguments, task: Task, clips: Sequence[Clip]) -> str:
    """What decides how a file looks, as a short text: the keys, the objects, and which masks the job has of the video.

    What reviewers said is among it where they have said something, because it takes objects away and names others. A
    picture of one frame is the same whichever others are drawn.
    """
    of_a_film = {"start", "stop", "every", "frames", "quality"} if arguments.form == "mp4" else set()
    keys = {"masks", "strength", "labels", "most_pixels", *of_a_film}
    said = arguments.model_dump(mode="json", include=keys)
    labeled = [[str(clip.row[name]) for name in ("prompt_hash", "config_hash", "finished_at")] for clip in clips]
    whole = {**said, "objects": task.object_ids, "labeled": labeled, "with": redact_uri(arguments.beside or "")}
    if arguments.unlabeled and arguments.form == "mp4":
        whole["unlabeled"] = True
    if any(clip.rejected or clip.tracks["reviewer"].null_count < clip.tracks.num_rows for clip in clips):
        whole["shown"] = [clip.tracks.select(["object_id", "category"]).to_pylist() for clip in clips]
    return f"maskmill overlay {hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]}"


def _frames_of_job(arguments: OverlayArguments) -> FramesConfig:
    """Which frames the job takes. Raises `ConfigError` where nobody knows it."""
    storage = JobStorage(arguments.output, arguments.storage_options)
    record = read_record(storage)
    if record is None:
        raise ConfigError(f"unlabeled=true: {storage} has no job.json, which tells the frames that the job takes")
    return record.job_config().frames


def _png(name: str, frame_index: int) -> str:
    return f"{name}/{frame_index:06d}.png"


def _target(arguments: OverlayArguments) -> JobStorage:
    return JobStorage(arguments.to, arguments.to_options)


def _other_job(arguments: OverlayArguments) -> tables.JobTables | None:
    if arguments.beside is None:
        return None
    options = arguments.options_of(arguments.beside_storage_options)
    return tables.open(arguments.beside, options, round=arguments.beside_round)


def run(arguments: OverlayArguments) -> ExitCode:
    """Draw what is asked for and say how much that was."""
    started = time.monotonic()
    check_folder(arguments.to, _target(arguments).storage_options)
    tasks, left_out = _plan(arguments)
    if not tasks:
        shown = redact_uri(arguments.output)
        if not left_out:
            raise ConfigError(f"{shown}: nothing is to be drawn: {NO_VIDEOS_YET}")
        why = ", ".join(f"{reason}: {count}" for reason, count in left_out.items())
        raise ConfigError(f"{shown}: none of its finished videos is to be drawn ({why}); change videos= or where=")
    faults = num_made = num_replaced = num_kept = 0
    beside = {"with": arguments.beside} if arguments.beside is not None else {}
    arguments.cluster.check_reaches(output=arguments.output, to=arguments.to, **beside)
    make = partial(_make_painter, arguments)
    with (
        task_workers(arguments.cluster, make, "painter", lambda task: f"draws video {task.video_id!r}") as paint,
        contextlib.closing(ProgressLine(len(tasks), "video")) as line,
    ):
        for drawn in paint(tasks):
            num_made, num_kept = num_made + drawn.num_made, num_kept + drawn.num_kept
            num_replaced += drawn.num_replaced
            if drawn.fault:
                faults += 1
                line.clear()
                complain(f"{drawn.video_id!r} is not drawn: {drawn.fault}")
            line.advance(1)
    storage = _target(arguments)
    storage.clear_temporary()
    if storage.is_local:
        with contextlib.suppress(OSError):
            (Path(local_path(storage.uri)) / TEMPORARY).rmdir()
    were, them = ("was", "it") if num_kept == 1 else ("were", "them")
    kept = f", {num_kept} {were} there already (again=true makes {them} anew)" if num_kept else ""
    files = counted(num_made, "video" if arguments.form == "mp4" else "picture")
    anew = f", {num_replaced} of them in place of those of other keys or masks" if num_replaced else ""
    say(f"{storage}: {files} made{anew}{kept}, in {time.monotonic() - started:.1f} s")
    for reason, count in left_out.items():
        say(f"left out: {reason}: {count}")
    return ExitCode.FAILURES if faults else ExitCode.DONE


def _plan(arguments: OverlayArguments) -> tuple[list[Task], Counter[str]]:
    """The videos to draw, and how many are left out, by reason. Raises `ConfigError` for a video that there is not."""
    job = tables.open(arguments.output, arguments.storage_options, round=arguments.round)
    other = _other_job(arguments)
    left_out: Counter[str] = Counter()
    try:
        for video_id in arguments.videos or ():
            job.check_video(video_id)
            if other is not None:
                other.check_video(video_id)
    except NotInJob as error:
        raise ConfigError(str(error)) from error
    tasks = []
    for video_id, object_ids in _chosen(arguments, job).items():
        status = job.state.finished[video_id].status
        if arguments.videos is None and status is not Status.OK:
            left_out[BAD_VIDEOS[status]] += 1
        elif arguments.videos is None and other is not None and video_id not in other.state.finished:
            left_out["videos that with= does not have"] += 1
        elif object_ids == ():
            left_out["videos without a chosen object"] += 1
        else:
            tasks.append(Task(video_id, object_ids))
    return tasks, left_out


def _chosen(arguments: OverlayArguments, job: tables.JobTables) -> dict[str, tuple[int, ...] | None]:
    """Videos in their order with the objects of each that are chosen; None are all that it has."""
    videos, objects = arguments.videos, arguments.objects
    names = sorted(job.state.finished) if videos is None else videos
    if arguments.where is None and (objects is None or videos is not None):
        with_rejected = sorted({video_id for video_id, _ in job.rejected(names)})
        shown = set(job.tracks(with_rejected)["video_id"].to_pylist()) if with_rejected else set()
        return {**dict.fromkeys(names, objects), **dict.fromkeys(set(with_rejected) - shown, ())}
    found: dict[str, list[int]] = {video_id: [] for video_id in names}
    wanted = None if objects is None else frozenset(objects)
    for row in job.tracks(videos, where=arguments.where).select(["video_id", "object_id"]).to_pylist():
        if wanted is None or row["object_id"] in wanted:
            found.setdefault(row["video_id"], []).append(row["object_id"])
    return {video_id: tuple(object_ids) for video_id, object_ids in found.items()}


def _make_painter(arguments: OverlayArguments, worker_id: str) -> Painter:
    """What draws, in the process in which it shall run."""
    return Painter(arguments)


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    return main(HELP, OverlayArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
