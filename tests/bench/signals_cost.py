"""What the signals of doubt cost: processor time of what is measured over that of the video's whole way, in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from model import ArrayFrames, BoxPrompt, VideoSession, load_model
from pipeline.masks.from_logits import encode_logits
from pipeline.masks.from_logits_gpu import margin_counts_on_host
from pipeline.masks.parts import num_parts
from pipeline.masks.rle import Runs
from pipeline.masks.run_lengths import run_lengths
from pipeline.output.mask_rows import Mask, MaskRows, MaskSigns
from pipeline.quality.track_columns import columns_of_video
from pipeline.worker.pointer_similarity import similarities
from tests.support.clips import moving_clip


def cpu_seconds(work: Callable[[], Any], rounds: int) -> float:
    """The median of several runs."""
    spent = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return statistics.median(spent)


def signals_cost(
    size_hw: tuple[int, int] = (480, 854), num_frames: int = 24, num_objects: int = 3, rounds: int = 3
) -> dict[str, float]:
    """Seconds of the network and the codes, and of what the signals add by mask and by video; `ratio` is the share.

    Decoding and writing are left out, so that the share is higher than that of a job.
    """
    clip = moving_clip(num_frames=num_frames, num_objects=num_objects, size_hw=size_hw)
    session = VideoSession(load_model("mini"), ArrayFrames(clip.frames_THW3))
    for object_id in clip.object_ids:
        rows, columns = clip.mask(object_id, 0).nonzero()
        box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
        session.add_prompt(object_id, 0, BoxPrompt(box))
    started = time.process_time()
    with torch.inference_mode():
        results = list(session.propagate("forward"))
    network = time.process_time() - started
    codes = [encode_logits(result.logits_BHW, size_hw) for result in results]

    def encode() -> None:
        for result in results:
            encode_logits(result.logits_BHW, size_hw)

    def signs() -> None:
        for result, rles in zip(results, codes, strict=True):
            margin_counts_on_host(result.logits_BHW)
            num_parts([Runs(run_lengths(rle.counts)) for rle in rles], size_hw)
            similarities(result, result.object_scores_B.tolist())

    rows_of = MaskRows("v", size_hw)
    for index, (result, rles) in enumerate(zip(results, codes, strict=True)):
        for object_id, rle, score, iou in zip(
            result.object_ids, rles, result.object_scores_B.tolist(), result.predicted_ious_B.tolist(), strict=True
        ):
            signs_of = MaskSigns(1.0, 1, 0.9)
            rows_of.add(
                Mask(object_id, index, None, rle.counts, rle.area, rle.bbox_xywh, score, iou, index == 0, signs_of)
            )
    masks = rows_of.table()
    found = {
        "network": network,
        "codes": cpu_seconds(encode, rounds),
        "signs": cpu_seconds(signs, rounds),
        "tracks": cpu_seconds(lambda: columns_of_video(masks, size_hw), rounds),
    }
    return found | {"ratio": (found["signs"] + found["tracks"]) / sum(found.values())}
