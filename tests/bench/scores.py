"""J and F from run lengths against vos-benchmark on whole frames, of the same masks and with equal scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.quality.pairs import PairScores, score_pairs
from tests.bench.measure import medians_in_turn
from tests.support.masks import rle

SIZES = {"480p": (480, 854), "1080p": (1080, 1920)}


def wobbling(
    size_hw: tuple[int, int], num_frames: int, share: float, x: float = 0.3, y: float = 0.5, seed: int = 1
) -> np.ndarray:
    """Masks `[T, H, W]` of a blob that drifts. Its radius is this share of the height, and its outline has waves."""
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width]
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3)
    masks = np.zeros((num_frames, height, width), bool)
    for frame in range(num_frames):
        dy, dx = rows - height * y - 2 * frame, columns - width * x - 4 * frame
        angle = np.arctan2(dy, dx)
        waves = sum(
            size * np.sin(number * angle + phase)
            for number, size, phase in zip((3, 9, 31), (0.25, 0.1, 0.03), phases, strict=True)
        )
        masks[frame] = np.hypot(dy, dx) < share * height * (1 + waves)
    return masks


def compare_scores(
    size_hw: tuple[int, int], num_frames: int = 12, num_objects: int = 2, rounds: int = 5
) -> dict[str, float]:
    """Milliseconds a mask of both, and their ratio. vos-benchmark gets pictures in memory, not files of them.

    Raises `RuntimeError` if the scores differ by more than 1e-6.
    """
    from vos_benchmark.evaluator import (
        Evaluator,  # here, because it takes a second, and all processes collect all tests
    )

    places = [(0.2 + 0.5 * number / num_objects, 0.25 + 0.5 * number / num_objects) for number in range(num_objects)]
    true = [wobbling(size_hw, num_frames, 0.14, *place, seed=number) for number, place in enumerate(places)]
    found = [wobbling(size_hw, num_frames, 0.145, x + 0.009, y + 0.01, number) for number, (x, y) in enumerate(places)]
    pictures = [_painted(masks) for masks in (found, true)]
    counts = [[pa.array([rle(mask)["counts"] for mask in masks]) for masks in side] for side in (found, true)]
    results: dict[str, list[tuple[float, float]]] = {}

    def theirs() -> None:
        evaluator = Evaluator()
        for sides in zip(*pictures, strict=True):
            evaluator.feed_frame(*sides)
        j, f = evaluator.conclude()
        results["theirs"] = [(j[number] / 100, f[number] / 100) for number in sorted(j)]

    def ours() -> None:
        scores = [score_pairs(size_hw, *pair) for pair in zip(*counts, strict=True)]
        results["ours"] = [_means(one) for one in scores]

    spans = medians_in_turn({"theirs": theirs, "ours": ours}, rounds)
    difference = float(np.abs(np.subtract(results["theirs"], results["ours"])).max())
    if difference > 1e-6:
        raise RuntimeError(f"the scores differ by {difference}: {results}")
    num_masks = num_frames * num_objects
    return {
        "objects": num_objects,
        "height": size_hw[0],
        "width": size_hw[1],
        "theirs_ms_per_mask": 1000 * spans["theirs"]["cpu_seconds"] / num_masks,
        "ours_ms_per_mask": 1000 * spans["ours"]["cpu_seconds"] / num_masks,
        "ratio_cpu": spans["theirs"]["cpu_seconds"] / spans["ours"]["cpu_seconds"],
        "mean_f": float(np.mean([f for _, f in results["ours"]])),
        "difference": difference,
    }


def _means(scores: PairScores) -> tuple[float, float]:
    return float(scores.j.mean()), float(scores.f.mean())


def _painted(sides: list[np.ndarray]) -> np.ndarray:
    """Pictures `[T, H, W]` whose values are the numbers of the objects, which must not overlap."""
    stacked = np.stack(sides)
    if stacked.sum(axis=0).max() > 1:
        raise ValueError("a picture has one object a pixel")
    labels: np.ndarray = (stacked * np.arange(1, len(sides) + 1)[:, None, None, None]).sum(axis=0).astype(np.uint8)
    return labels
