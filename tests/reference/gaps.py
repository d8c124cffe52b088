"""How far two runs are apart, and whether a run is worth comparing."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tests.reference.bounds import Bounds
from tests.reference.cases import FloatArray, Outputs


@dataclass(frozen=True)
class Gaps:
    """Largest differences over the object-frames where the reference sees the object.

    Logits in standard deviations of the reference's logits on that frame: `seeds` on prompted frames, `tracked` on the
    others. `visible` of `frames` object-frames were compared; on the rest both must agree that the object is hidden.
    """

    seeds: float
    tracked: float
    object_score: float
    predicted_iou: float
    visible: int
    frames: int

    def excess(self, allowed: Bounds) -> float:
        """The largest difference in units of what is allowed; scores and predicted IoU may be as far off as masks."""
        others = max(self.tracked, self.object_score, self.predicted_iou)
        return max(self.seeds / allowed.seeds, others / allowed.tracked)

    def check(self, allowed: Bounds) -> None:
        """Raises AssertionError where anything is further off than is allowed."""
        assert self.excess(allowed) <= 1, f"{self}; {allowed}"


def gaps(run: Outputs, reference: Outputs, seed_frames: Collection[tuple[int, int]]) -> Gaps:
    """Compares run with reference; raises AssertionError where they cover other frames or disagree on visibility."""
    assert run.keys() == reference.keys(), f"covers {sorted(run)}, the reference covers {sorted(reference)}"
    seeds, tracked, scores, ious = [0.0], [0.0], [0.0], [0.0]
    for key, expected in reference.items():
        actual = run[key]
        visible = expected.object_score > 0
        assert (actual.object_score > 0) == visible, (
            f"object {key[0]}, frame {key[1]}: score {actual.object_score:.4f}, reference {expected.object_score:.4f}"
        )
        scores.append(abs(actual.object_score - expected.object_score))
        if visible:
            (seeds if key in seed_frames else tracked).append(logit_gap(actual.logits_HW, expected.logits_HW))
            ious.append(abs(actual.predicted_iou - expected.predicted_iou))
        else:
            assert not (actual.logits_HW > 0).any(), f"object {key[0]}, frame {key[1]}: hidden, but it has a mask"
    return Gaps(max(seeds), max(tracked), max(scores), max(ious), len(ious) - 1, len(reference))


def logit_gap(run: FloatArray, reference: FloatArray) -> float:
    """Largest difference in standard deviations of the reference."""
    return float(np.abs(run - reference).max() / reference.std())


def feature_gaps(run: list[FloatArray], reference: list[FloatArray]) -> list[float]:
    """`logit_gap` of each level of image features."""
    return [logit_gap(a, b) for a, b in zip(run, reference, strict=True)]


def mask_iou(run: Outputs, reference: Outputs) -> float:
    """Mean IoU of the masks over the object-frames where the reference sees the object."""
    ious = []
    for key, expected in reference.items():
        if expected.object_score > 0 and (expected.logits_HW > 0).any():
            a, b = run[key].logits_HW > 0, expected.logits_HW > 0
            ious.append((a & b).sum() / (a | b).sum())
    return float(np.mean(ious))


def assert_masks_cover(reference: Outputs) -> None:
    """Masks cover 2 to 98 % of the frame, and there are some."""
    covered = [output.coverage for output in reference.values() if output.object_score > 0]
    assert covered, "no object is ever visible"
    assert all(0.02 <= share <= 0.98 for share in covered), f"masks cover {covered} of the frame"


def assert_worth_comparing(reference: Outputs) -> None:
    """The recorded run reaches what a wrong implementation would get wrong, with room so that rounding decides nothing.

    Masks cover 2 to 98 % of the frame; an object gets hidden; another candidate than the first is chosen of the three;
    a single mask is replaced for lack of stability.
    """
    assert_masks_cover(reference)
    visible = [output for output in reference.values() if output.object_score > 0]
    hidden = [output for output in reference.values() if output.object_score <= 0]
    assert hidden, "no object is ever hidden"
    assert len(visible) >= len(hidden), "objects are hidden most of the time"
    assert any(output.best_candidate > 0 for output in visible), "the first candidate is always the best"
    assert any(output.stability < 0.98 for output in visible), "the single mask is always stable"
    assert min(abs(output.object_score) for output in reference.values()) > 0.01
    assert min((output.margin for output in visible if output.num_candidates > 1), default=1.0) > 5e-4
    assert min(abs(output.stability - 0.98) for output in visible if not math.isnan(output.stability)) > 2e-4
