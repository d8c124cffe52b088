"""The demo, `conf=demo`: it draws clips, labels them with the ordinary driver, scores and shows the result.

Legend: T frames, B objects, H, W pixels.
"""

from __future__ import annotations

import importlib.util
import posixpath
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import tables
from pipeline.arrays import BoolArray, UInt8Array
from pipeline.command import ExitCode
from pipeline.config.job_config import JobConfig
from pipeline.data_engine.queue import COLUMNS, Queue, QueueRules
from pipeline.demo.clips import Clip, draw
from pipeline.demo.inputs import FRAMES_PER_SECOND, prompt_frame, seed_prompts, write_inputs, write_truth
from pipeline.demo.scenes import PROMPT_KINDS, demo_scenes
from pipeline.driver import driver
from pipeline.errors import ConfigError
from pipeline.inputs.write import write_file
from pipeline.masks.iou import MaskScores, mean_iou, score_masks
from pipeline.masks.overlay import draw_masks, outline
from pipeline.notebook.contact_sheet import Strip, Tile, contact_sheet
from pipeline.storage.destinations import check_writable
from pipeline.text import say
from pipeline.video.encode import encode_mp4

TILES_PER_CLIP = 7


@dataclass(frozen=True)
class LabeledClip:
    """A drawn clip with the masks that the job found.

    A mask without a row in the table is empty in `masks_TBHW`, and does not count in `scores`.
    """

    clip: Clip
    masks_TBHW: BoolArray
    scores: MaskScores


def run(config: JobConfig) -> int:
    """Run the demo and return the exit code of the job. Raises `ConfigError` if the config names an input."""
    if config.demo is None or not config.output:
        raise ConfigError("the demo needs output= and a demo section, as in conf=demo")
    for key in ("videos", "prompts", "corrections", "detections"):
        if getattr(config, key):
            raise ConfigError(
                f"the demo draws its own clips: leave out {key}=, or leave out demo.… and take conf=label"
            )
    check_writable(config.output, "output")
    scenes = demo_scenes((config.demo.height, config.demo.width), config.demo.num_frames)
    clips = [draw(scene) for scene in scenes]
    prompts = [row for clip in clips for row in seed_prompts(clip, PROMPT_KINDS[clip.name])]
    folder, options = config.output, config.storage_options
    videos_uri, prompts_uri = write_inputs(posixpath.join(folder, "input"), clips, prompts, options)
    code = driver.run(config.model_copy(update={"videos": videos_uri, "prompts": prompts_uri}))
    if code != 0:
        return code
    job = tables.open(folder, options)
    labeled = [read_labeled(clip, job) for clip in clips]
    for one in labeled:
        video = encode_mp4(overlay_frames(one), FRAMES_PER_SECOND)
        write_file(posixpath.join(folder, "overlays", f"{one.clip.name}.mp4"), video, options)
    captions = {scene.name: scene.caption for scene in scenes}
    write_file(posixpath.join(folder, "contact_sheet.png"), sheet(labeled, captions), options)
    write_truth(folder, clips, options)
    say(summary(labeled, folder))
    say(what_to_review(job, folder))
    return ExitCode.DONE


def read_labeled(clip: Clip, job: tables.JobTables) -> LabeledClip:
    """The clip with its masks from the job's tables."""
    masks_TBHW = np.zeros_like(clip.masks_TBHW)
    labeled_TB = np.zeros(masks_TBHW.shape[:2], np.bool_)
    for mask in job.video_masks(clip.name):
        place = mask.frame_index, mask.object_id - 1
        masks_TBHW[place] = mask.pixels_HW
        labeled_TB[place] = True
    return LabeledClip(clip, masks_TBHW, score_masks(masks_TBHW, clip.masks_TBHW, labeled_TB))


def overlay_frames(labeled: LabeledClip) -> Iterator[UInt8Array]:
    """The frames of the clip with the predicted masks and the ids of their objects."""
    for frame_index in range(len(labeled.clip.frames_THW3)):
        yield overlay_frame(labeled, frame_index)


def overlay_frame(labeled: LabeledClip, frame_index: int) -> UInt8Array:
    """One frame of the clip with the predicted masks and ids."""
    masks = dict(zip(labeled.clip.object_ids, labeled.masks_TBHW[frame_index], strict=True))
    return draw_masks(labeled.clip.frames_THW3[frame_index], masks)


def sheet(labeled: Sequence[LabeledClip], captions: dict[str, str]) -> bytes:
    """The contact sheet, a PNG: predicted masks in color, the outline of the truth in white."""
    strips = []
    for one in labeled:
        last = len(one.clip.frames_THW3) - 1
        chosen = np.unique(np.linspace(0, last, TILES_PER_CLIP).round().astype(int))
        tiles = tuple(Tile(_with_truth(one, int(index)), f"frame {index}") for index in chosen)
        words = tuple((object_id, _object_words(one, object_id)) for object_id in one.clip.object_ids)
        title = f"{one.clip.name}   IoU {mean_iou([one.scores]):.2f}"
        strips.append(Strip(title, captions[one.clip.name], words, tiles))
    overall = mean_iou([one.scores for one in labeled])
    notes = (
        "Color: the mask that was found; the number is the object's id. White line: the true outline.",
        "IoU: intersection over union with the true mask, mean over the labeled frames in which the object shows. "
        "Labeled by the mini checkpoint, which knows drawn shapes only.",
    )
    return contact_sheet(f"maskmill demo   mean IoU {overall:.2f}", notes, strips)


def _with_truth(labeled: LabeledClip, frame_index: int) -> UInt8Array:
    pixels = overlay_frame(labeled, frame_index).copy()
    for mask_HW in labeled.clip.masks_TBHW[frame_index]:
        pixels[outline(mask_HW)] = 255
    return pixels


def _object_words(labeled: LabeledClip, object_id: int) -> str:
    kinds = PROMPT_KINDS[labeled.clip.name]
    kind = kinds[(object_id - 1) % len(kinds)]
    iou = labeled.scores.object_mean_iou(object_id - 1)
    return f"{kind} on frame {prompt_frame(labeled.clip, object_id)}, IoU {iou:.2f}"


def summary(labeled: Sequence[LabeledClip], folder: str) -> str:
    """What the demo prints: scores per clip, the mean IoU, and where to look."""
    lines = [f"{'clip':<12}{'objects':>8}{'masks':>8}{'mean IoU':>10}{'visible or hidden right':>26}"]
    for one in labeled:
        scores = one.scores
        right = float(scores.agrees_TB[scores.labeled_TB].mean()) if scores.labeled_TB.any() else float("nan")
        lines.append(
            f"{one.clip.name:<12}{len(one.clip.object_ids):>8}{int(scores.labeled_TB.sum()):>8}"
            f"{mean_iou([scores]):>10.3f}{right:>26.2f}"
        )
    lines += [
        f"mean IoU against the true masks: {mean_iou([one.scores for one in labeled]):.3f}",
        f"contact sheet   {posixpath.join(folder, 'contact_sheet.png')}",
        f"overlay videos  {posixpath.join(folder, 'overlays')}",
        f"true masks      {posixpath.join(folder, 'truth.parquet')}, for truth= of pipeline.evaluate",
    ]
    return "\n".join(lines)


def what_to_review(job: tables.JobTables, folder: str) -> str:
    """The track at which a person should look first, and the command that opens the review, as its last line."""
    queue = Queue(QueueRules(top=1, audit=0.0), job.opinions().keys())
    queue.add(job.tracks().select(list(COLUMNS)))
    lines = [
        f"look first      {entry.video_id}, object {entry.object_id}: doubt {entry.doubt:.2f} "
        f"({', '.join(entry.reasons) or 'nothing speaks against it'}), look at frame {entry.frame_index}"
        for entry, _ in queue.entries()
    ]
    if not all(map(importlib.util.find_spec, ("starlette", "uvicorn"))):
        lines.append('packages        pip install "maskmill[review]", for the server of a review')
    return "\n".join([*lines, f"review          python -m pipeline.review output={shlex.quote(folder)}"])
