"""Decoding against plain PyAV, and RLE straight from logits against the usual route."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco

from model import Media
from model.pixels.transforms import resize_frame
from pipeline.masks.from_logits import encode_logits
from pipeline.video.encode import encode_mp4
from pipeline.video.frames import DecodeOptions, VideoFrames
from tests.bench.efficiency import forth_and_back
from tests.bench.measure import medians_in_turn
from tests.pipeline.masks.test_from_logits import blobs
from tests.support.clips import moving_clip

DECODED = {"480p": ((480, 854), 240), "1080p": ((1080, 1920), 96)}
"""Sizes of the clips, and how many frames they have."""


def rle_per_mask(
    size_hw: tuple[int, int] = (1080, 1920), num_objects: int = 16, rounds: int = 15
) -> dict[str, float | bool]:
    """Milliseconds a mask: enlarge all, `np.asfortranarray`, pycocotools; and straight from the logits, equal bytes.

    Both with one torch thread, as in an actor, where encoding runs beside the model.
    """
    logits = blobs(num_objects, seed=0)
    results: dict[str, list[bytes]] = {}

    def usual() -> None:
        masks = (F.interpolate(logits[:, None], size=size_hw, mode="bilinear", align_corners=False)[:, 0] > 0).numpy()
        results["usual"] = [coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"] for mask in masks]

    def ours() -> None:
        results["ours"] = [rle.counts.encode() for rle in encode_logits(logits, size_hw)]

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = medians_in_turn({"usual": usual, "ours": ours}, rounds)
    finally:
        torch.set_num_threads(num_threads)
    if results["usual"] != results["ours"]:
        raise RuntimeError("RLE straight from the logits is not that of the enlarged masks")
    return {
        "objects": num_objects,
        "height": size_hw[0],
        "width": size_hw[1],
        "usual_ms_per_mask": 1000 * found["usual"]["seconds"] / num_objects,
        "ours_ms_per_mask": 1000 * found["ours"]["seconds"] / num_objects,
        "ratio": found["usual"]["seconds"] / found["ours"]["seconds"],
        "ratio_cpu": found["usual"]["cpu_seconds"] / found["ours"]["cpu_seconds"],
        "bytes_equal": True,
    }


def decoding(size_hw: tuple[int, int], num_frames: int, image_size: int = 1024, rounds: int = 5) -> dict[str, Any]:
    """Frames/s of H.264 to RGB arrays: plain PyAV, `VideoFrames`, and with resizing to the model by 1 and 2 threads."""
    clip = moving_clip(num_frames=6, num_objects=3, size_hw=size_hw)
    data = encode_mp4(forth_and_back(clip, num_frames), 25)
    media = Media("clip", (partial(io.BytesIO, data),))
    counts: dict[str, int] = {}

    def plain() -> None:
        with av.open(io.BytesIO(data)) as container:
            counts["plain PyAV"] = sum(
                frame.to_ndarray(format="rgb24").ndim == 3 for frame in container.decode(video=0)
            )

    def ours(name: str, transform: Callable[[torch.Tensor], torch.Tensor] | None, num_threads: int = 1) -> None:
        with VideoFrames(media, transform=transform, options=DecodeOptions(num_threads=num_threads)) as frames:
            counts[name] = sum(frame.pixels_HW3.ndim == 3 for frame in frames.forward(0))

    resized = partial(resize_frame, image_size=image_size)
    runs: dict[str, Callable[[], None]] = {
        "plain PyAV": plain,
        "ours": partial(ours, "ours", None),
        "ours, resized": partial(ours, "ours, resized", resized),
        "ours, resized, 2 threads": partial(ours, "ours, resized, 2 threads", resized, 2),
    }
    found = medians_in_turn(runs, rounds)
    if set(counts.values()) != {num_frames}:
        raise RuntimeError(f"not every frame was decoded: {counts}")
    return {
        name: {
            "frames_per_second": num_frames / spans["seconds"],
            "cpu_ms_per_frame": 1000 * spans["cpu_seconds"] / num_frames,
        }
        for name, spans in found.items()
    } | {"ratio": found["plain PyAV"]["seconds"] / found["ours"]["seconds"]}
