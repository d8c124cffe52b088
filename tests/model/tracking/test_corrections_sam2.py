"""Corrections are those of `sam2` that keeps them as conditioning frames: tiny's trunk, random weights."""

from __future__ import annotations

import pytest
import torch

from model.prompts import BoxPrompt, PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.history import HistoryRule
from model.tracking.session import VideoSession
from tests.reference.bounds import Bounds, bounds
from tests.reference.cases import Box, Click, FrameOutput, FramesSpec, Outputs, drawn_frames
from tests.reference.gaps import gaps
from tests.reference.sam2_corrections import Correction, corrected_by_sam2
from tests.reference.trio import ours_random
from tests.reference.variants import ModelSpec

FRAMES = FramesSpec(num_frames=6, image_size=256)
MODEL = ModelSpec("tiny", "2.1", 256, seed=2, object_score_bias=5.0)  # the object is seen on every frame
CORRECTIONS = {
    "one click": Click(((150.0, 120.0),), (1,)),
    "two clicks": Click(((100.0, 110.0), (200.0, 60.0)), (1, 0)),
    "box": Box((60.0, 50.0, 160.0, 170.0)),
}


def corrected_by_us(case: Correction) -> Outputs:
    session = VideoSession(
        ours_random(case.model, torch.float32), ArrayFrames(drawn_frames(case.frames)), history=HistoryRule(3)
    )
    for frame_index, prompt in ((0, case.seed), (case.frame_index, case.correction)):
        if isinstance(prompt, Click):
            session.add_prompt(0, frame_index, PointPrompt(prompt.points_xy, prompt.labels))
        else:
            session.add_prompt(0, frame_index, BoxPrompt(prompt.box_xyxy))
        results = list(session.propagate())
    assert session.objects[0].prompts[case.frame_index].is_correction
    return {
        (0, result.frame_index): FrameOutput(
            logits_HW=result.logits_BHW[0].numpy(),
            object_score=float(result.object_scores_B[0]),
            predicted_iou=float(result.predicted_ious_B[0]),
        )
        for result in results
    }


@pytest.mark.slow
@pytest.mark.parametrize("correction", CORRECTIONS)
def test_a_corrected_frame_and_the_frames_around_it(correction: str) -> None:
    case = Correction(MODEL, FRAMES, Click(((80.0, 100.0),), (1,)), 4, CORRECTIONS[correction])
    measured = gaps(corrected_by_us(case), corrected_by_sam2(case), {(0, 0), (0, 4)})
    assert measured.visible == FRAMES.num_frames
    # Both passes in a row; the corrected frame was decoded with the memories of the first.
    tracked = bounds(MODEL.config, 2 * FRAMES.num_frames).tracked
    measured.check(Bounds(tracked, tracked))
