"""A job whose masks a session of mini has made, on drawn clips: what is corrected there has a true mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model import ArrayFrames, BoxPrompt, PointPrompt, VideoSession, load_model
from pipeline.commits.job_record import make_record, write_record
from pipeline.config.compose import job_config
from pipeline.demo.clips import Clip
from pipeline.driver.weights import resolve_weights
from pipeline.records import VideoSource, WorkItem
from pipeline.storage.job_storage import JobStorage
from pipeline.video.encode import encode_mp4
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from tests.support.drawn_job import FPS, DrawnVideo, write_job

Masks = dict[tuple[int, int], np.ndarray]


@dataclass(frozen=True)
class Mendable:
    """The job's URI, the clip that was drawn, its frames as decoded `[T, H, W, 3]`, and the masks of the rows.

    `masks` are by object and frame.
    """

    uri: str
    clip: Clip
    frames_THW3: np.ndarray
    masks: Masks
    prompts: Mapping[int, BoxPrompt]
    path: Path = field(default=Path())

    @property
    def storage(self) -> JobStorage:
        return JobStorage(self.uri)


def write_mendable_job(
    folder: Path,
    clip: Clip,
    checkpoint: str = "mini",
    direction: str = "forward",
    *,
    start: int | None = None,
    cut: int | None = None,
) -> Mendable:
    """A job of one clip: each object has a box on frame `start`, or on the first (the last one of a walk backward).

    At frame `cut` a shot begins, in which object 1 has no rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "film.mp4"
    path.write_bytes(encode_mp4(list(clip.frames_THW3), round(FPS)))
    frames = decoded(path)
    if start is None:
        start = len(frames) - 1 if direction == "backward" else 0
    prompts = {object_id: box_of(clip.mask(object_id, start)) for object_id in clip.object_ids}
    session = VideoSession(load_model(checkpoint), ArrayFrames(frames))
    for object_id, prompt in prompts.items():
        session.add_prompt(object_id, start, prompt)
    masks: Masks = {}
    for result in session.propagate(direction):
        for object_id, mask_HW in zip(result.object_ids, result.masks().numpy(), strict=True):
            if cut is None or result.frame_index < cut or object_id != 1:
                masks[object_id, result.frame_index] = mask_HW
    video = DrawnVideo(
        clip.name,
        dict.fromkeys(clip.object_ids, "disc"),
        num_frames=len(frames),
        uri=str(path),
        failed={99: "no such frame"},
        masks=masks,
        prompt_frame=start,
        cuts_seconds=() if cut is None else (cut / FPS,),
    )
    uri, _ = write_job(folder, (video,))
    write_job_record(uri, checkpoint, direction)
    return Mendable(uri, clip, frames, masks, prompts, path)


def write_job_record(uri: str, checkpoint: str, direction: str = "forward") -> None:
    """`job.json` of a job with these weights."""
    arguments = ["videos=v.parquet", "prompts=p.parquet", f"output={uri}", f"propagate.direction={direction}"]
    config = job_config("label", [*arguments, f"model.checkpoint={checkpoint}", "model.dtype=float32"])
    write_record(JobStorage(uri), make_record(config, resolve_weights(config, None)))


def decoded(path: Path) -> np.ndarray:
    """The frames of a video as a job reads them, uint8 `[T, H, W, 3]`."""
    item = WorkItem("v", VideoSource(str(path)), (), "")
    with open_media(item) as media, VideoFrames(media) as frames:
        return np.stack([frame.pixels_HW3.numpy() for frame in frames.forward(0)])


def box_of(mask_HW: np.ndarray) -> BoxPrompt:
    ys, xs = np.nonzero(mask_HW)
    return BoxPrompt((float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)))


def worst_click(mask_HW: np.ndarray, truth_HW: np.ndarray) -> tuple[tuple[float, float], int]:
    """Where a person would click: in the middle of the largest part that is missing (1) or too much (0)."""
    missing, wrong = truth_HW & ~mask_HW, mask_HW & ~truth_HW
    part, label = (missing, 1) if missing.sum() >= wrong.sum() else (wrong, 0)
    ys, xs = np.nonzero(part)
    padded = np.pad(part, 1)
    depth = np.zeros(padded.shape, int)
    inside = padded
    while inside.any():
        depth += inside
        inside = (
            inside & np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
        )
    place = depth[1:-1, 1:-1][ys, xs].argmax()
    return (float(xs[place]) + 0.5, float(ys[place]) + 0.5), label


def prompt_of(click: tuple[tuple[float, float], int]) -> PointPrompt:
    return PointPrompt((click[0],), (click[1],))
