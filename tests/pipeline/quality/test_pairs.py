"""J and F from runs are those that vos-benchmark computes from whole frames."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.quality.boundary import boundary_scores
from pipeline.quality.pairs import score_pairs
from pipeline.quality.runs import OneRuns, read_runs
from tests.support.masks import rle


def counts(masks: list[np.ndarray]) -> pa.Array:
    return pa.array([rle(mask_HW)["counts"] for mask_HW in masks], pa.string())


def judged(predicted: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """J and F of one pair by vos-benchmark. What shows nowhere it does not look at."""
    if not (predicted.any() or true.any()):
        return 1.0, 1.0
    from vos_benchmark.evaluator import (
        Evaluator,  # here, because it takes a second, and all processes collect all tests
    )

    evaluator = Evaluator()
    evaluator.feed_frame(predicted.astype(np.uint8), true.astype(np.uint8))
    return evaluator.object_iou[1][0], evaluator.boundary_f[1][0]


def noisy(generator: np.random.Generator, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A pair: noise of any density, corners, single lines, empty and full masks, moved by a few pixels or changed."""
    true = generator.random(size_hw) < generator.choice([0, 0.02, 0.5, 0.98, 1])
    if generator.random() < 0.3:
        true[:] = False
        true[generator.integers(size_hw[0]) :, generator.integers(size_hw[1]) :] = True
    if generator.random() < 0.2:
        true[:, -1] = True
    if generator.random() < 0.2:
        true[-1] = True
    moved = np.roll(true, generator.integers(-4, 5), axis=generator.integers(2))
    changed = true ^ (generator.random(size_hw) < generator.choice([0, 0.01, 0.3]))
    return (moved, changed, np.zeros_like(true), true)[generator.integers(4)], true


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (9, 1), (7, 5), (33, 47), (130, 90), (300, 260)])
def test_both_scores_are_those_of_vos_benchmark(size_hw: tuple[int, int]) -> None:
    generator = np.random.default_rng(size_hw[0])
    pairs = [noisy(generator, size_hw) for _ in range(24 if size_hw[0] < 100 else 8)]
    scores = score_pairs(size_hw, counts([pair[0] for pair in pairs]), counts([pair[1] for pair in pairs]))
    expected = np.array([judged(*pair) for pair in pairs])
    np.testing.assert_allclose(scores.j, expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(scores.f, expected[:, 1], atol=1e-12)
    np.testing.assert_array_equal(scores.predicted_areas, [pair[0].sum() for pair in pairs])
    np.testing.assert_array_equal(scores.true_areas, [pair[1].sum() for pair in pairs])


def test_masks_of_as_many_pixels_as_may_be_have_scores() -> None:
    """Two squares of 100 pixels in the corners of a frame of 2²⁸, the second of them elsewhere in the truth.

    Of their boundaries 199 and 201 pixels lie in the frame, and 301 of the square in the truth that nothing is near.
    """
    scores = boundary_scores(squares((0, 0), (16284, 16284)), squares((0, 0), (8000, 16284)))
    precision, recall = 199 / 400, 199 / 500
    assert scores == pytest.approx([2 * precision * recall / (precision + recall)], abs=1e-12)
    assert boundary_scores(squares((0, 0), (16284, 16284)), squares((10, 0), (16284, 16284))) == [1]


def test_a_picture_of_one_row_takes_no_more_than_its_pixels() -> None:
    """Its radius is 8001, and there is nothing above or below."""
    size_hw, none = (1, 10**6), np.zeros(1, np.int64)
    a, b, c = (OneRuns(size_hw, 1, none, none + start, none + start + 10) for start in (0, 8_005, 9_000))
    assert boundary_scores(a, b) == pytest.approx([2 / (1 + 2)])  # 7995 and 8005 pixels from the end of a
    assert boundary_scores(a, c) == [0]


def squares(*tops_and_lefts: tuple[int, int]) -> OneRuns:
    starts = np.sort([(left + column) * 16384 + top for top, left in tops_and_lefts for column in range(100)])
    return OneRuns((16384, 16384), 1, np.zeros(len(starts), np.int64), starts, starts + 100)


def test_masks_that_are_scored_a_few_at_a_time_have_the_same_scores() -> None:
    generator = np.random.default_rng(6)
    pairs = [noisy(generator, (33, 47)) for _ in range(20)]
    runs = [read_runs((33, 47), counts([pair[side] for pair in pairs])) for side in (0, 1)]
    np.testing.assert_array_equal(boundary_scores(*runs, cells_at_a_time=5000), boundary_scores(*runs))
    np.testing.assert_array_equal(boundary_scores(*runs, cells_at_a_time=1), boundary_scores(*runs))


def test_a_mask_that_lacks_is_an_empty_one() -> None:
    square = np.zeros((6, 8), bool)
    square[2:4, 2:5] = True
    given = pa.array([None, rle(square)["counts"], None], pa.string())
    scores = score_pairs((6, 8), given, counts([square, square, square & False]))
    np.testing.assert_array_equal(scores.j, [0, 1, 1])
    np.testing.assert_array_equal(scores.f, [0, 1, 1])


def test_long_tracks_are_scored_in_parts_with_the_same_result() -> None:
    generator = np.random.default_rng(5)
    pairs = [noisy(generator, (21, 34)) for _ in range(40)]
    sides = counts([pair[0] for pair in pairs]), counts([pair[1] for pair in pairs])
    whole, parts = score_pairs((21, 34), *sides), score_pairs((21, 34), *sides, characters_at_a_time=300)
    np.testing.assert_array_equal(whole.j, parts.j)
    np.testing.assert_array_equal(whole.f, parts.f)
    np.testing.assert_array_equal(whole.true_areas, parts.true_areas)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0`", "mask 1: mask_rle: counts is cut off"),
        ("0\x7f", "mask 1: mask_rle: byte 127"),
        ("", "mask 1: mask_rle: counts covers 0 pixels, its size has 48"),
        ("1", "mask 1: mask_rle: counts covers 1 pixels, its size has 48"),
        ("ooooooooooooooooo0", "mask 1: mask_rle: the run at"),
        ("@5", "mask 1: mask_rle: run 0 of counts is negative"),
    ],
)
def test_counts_that_are_no_masks_are_refused_in_words(text: str, message: str) -> None:
    good = rle(np.ones((6, 8), bool))["counts"]
    with pytest.raises(ValueError, match=message):
        score_pairs((6, 8), pa.array([good, text]), pa.array([good, good]))
