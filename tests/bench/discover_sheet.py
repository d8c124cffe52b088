"""`python -m tests.bench.discover_sheet`: a contact sheet of what is found on clips of the bench, to look at.

Each clip is a row of frames with the found tracks drawn over them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model import load_model
from pipeline.arrays import UInt8Array
from pipeline.masks.overlay import draw_masks
from tests.bench.discover_clips import clips
from tests.bench.discover_methods import Search, in_shots, ours
from tests.bench.discover_scores import FoundTrack

_NUM_COLUMNS = 6
_GAP = 4


def sheet(rows: Sequence[tuple[UInt8Array, Sequence[FoundTrack]]]) -> UInt8Array:
    """Frames `[T, H, W, 3]` and tracks of each clip, a row each: uint8 RGB."""
    drawn = []
    for frames_THW3, tracks in rows:
        columns = np.linspace(0, len(frames_THW3) - 1, _NUM_COLUMNS).round().astype(int).tolist()
        pictures = [
            draw_masks(frames_THW3[index], {place: one.masks_THW[index] for place, one in enumerate(tracks, 1)})
            for index in columns
        ]
        drawn.append(np.concatenate([np.pad(one, ((0, _GAP), (0, _GAP), (0, 0))) for one in pictures], axis=1))
    return np.concatenate(drawn)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.discover_sheet", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 9, 13])
    parser.add_argument("--set", default="plain")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench-discover/discover.png"))
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    search = Search(load_model("mini"))
    drawn = [next(clips(range(seed, seed + 1), options.set)) for seed in options.seeds]
    picture = sheet([(one.clip.frames_THW3, in_shots(ours, search, one)) for one in drawn])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).quantize(128).save(options.output, optimize=True)


if __name__ == "__main__":
    main()
