"""`python -m tests.bench.discover_cost`: what everything on one image costs, ours against `SAM2AutomaticMaskGenerator`.

Both run in turn with random weights of tiny, one image of 1080p, 8² clicks and one thread, and count seconds of the
processor. How much is computed for a click depends on how many of its masks are believed and stable: none believed,
all believed and none stable, all kept.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch

from model import Duplicates, Everything, Grids, Kept, segment_everything
from tests.reference.sam2_everything import everything_by_sam2
from tests.reference.trio import ours_random
from tests.reference.variants import ModelSpec

_SIDE = 8
_MODEL = ModelSpec("tiny", "2.1", 1024)
_KEPT = {"none believed": Kept(1.0, 0.95), "none stable": Kept(0.0, 1.0), "all kept": Kept(0.0, 0.0)}


def cost(num_rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of both for each case, and their ratio."""
    network = ours_random(_MODEL, torch.float32)
    image = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3)).astype(np.uint8)
    found = {}
    for name, kept in _KEPT.items():
        options = Everything(Grids((_SIDE,)), kept, Duplicates("boxes", max_iou=0.7))
        arguments = {
            "points_per_side": _SIDE,
            "pred_iou_thresh": kept.min_predicted_iou,
            "stability_score_thresh": kept.min_stability,
        }
        ours, theirs = [], []
        for _ in range(num_rounds):
            started = time.process_time()
            segment_everything(network, image, options)
            ours.append(time.process_time() - started)
            theirs.append(everything_by_sam2(_MODEL, image, arguments)[1])
        by_us, by_sam2 = statistics.median(ours), statistics.median(theirs)
        found[name] = {"ours": by_us, "sam2": by_sam2, "ratio": by_sam2 / by_us}
        print(name, {key: round(value, 2) for key, value in found[name].items()}, flush=True)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.discover_cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    torch.set_num_threads(1)
    cost(parser.parse_args(argv).rounds)


if __name__ == "__main__":
    main()
