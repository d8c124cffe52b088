"""`make bench`: frames per second of the network on this machine, by model and number of objects.

    python -m tests.bench mini tiny --device cuda --dtype bfloat16 --frames 16

`mini` has trained weights, the released sizes get random ones: times do not depend on weights. Decoding and run-length
coding are left out. Measured once the memory of the objects is full.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import torch

from model.checkpoint import load_model
from model.config import named_config
from model.frames import ArrayFrames
from model.prompts import BoxPrompt
from model.sam2 import Sam2
from model.video import VideoSession
from tests.clips import moving_clip

WARM_UP_FRAMES = 9
"""Seven memories are looked at from the eighth frame on; pointers, of which there are more, cost little."""


def network(name: str, device: str, dtype: torch.dtype) -> Sam2:
    """The model `mini`, or one of the released sizes with random weights."""
    if name == "mini":
        return load_model("mini", device=device, dtype=dtype)
    torch.manual_seed(0)
    return Sam2(named_config(name)).to(device=device, dtype=dtype)


def seconds_per_frame(model: Sam2, num_objects: int, num_frames: int) -> float:
    """The median time of a tracked frame."""
    clip = moving_clip(num_frames=WARM_UP_FRAMES + num_frames, num_objects=num_objects, size_hw=(240, 320))
    session = VideoSession(model, ArrayFrames(clip.frames_THW3))
    for object_id in clip.object_ids:
        rows, columns = clip.mask(object_id, 0).nonzero()
        box = BoxPrompt((int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1))
        session.add_prompt(object_id, 0, box)
    moments = []
    for result in session.propagate("forward"):
        result.logits_BHW.cpu()  # waits for the device
        moments.append(time.perf_counter())
    times = sorted(after - before for before, after in pairwise(moments[WARM_UP_FRAMES - 1 :]))
    return times[len(times) // 2]


def main() -> None:
    """Prints one line per model and number of objects."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["mini"], help="mini, tiny, small, base_plus, large")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3], help="numbers of objects, up to 6")
    parser.add_argument("--frames", type=int, default=8, help="frames that are timed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.device}, {options.dtype}, {torch.get_num_threads()} threads")
    print(f"{'model':<12}{'objects':>8}{'ms a frame':>12}{'frames/s':>10}")
    for name in options.models:
        model = network(name, options.device, getattr(torch, options.dtype))
        for num_objects in options.objects:
            seconds = seconds_per_frame(model, num_objects, options.frames)
            print(f"{name:<12}{num_objects:>8}{1000 * seconds:>12.1f}{1 / seconds:>10.2f}")


if __name__ == "__main__":
    main()
