"""A correction in the original `sam2`, in its process: a click on a tracked frame, then another propagation."""

from __future__ import annotations

from dataclasses import dataclass
from unittest import mock

import torch

from tests.reference.cases import Box, Click, FramesSpec, Outputs, drawn_frames, normalized, points_of
from tests.reference.sam2_runner import _features, _predictor, _Recorder
from tests.reference.trio import sam2_process
from tests.reference.variants import ModelSpec


@dataclass(frozen=True)
class Correction:
    """One object: prompted on frame 0, tracked to the end, prompted again on a tracked frame, and tracked again."""

    model: ModelSpec
    frames: FramesSpec
    seed: Click | Box
    frame_index: int
    correction: Click | Box


def corrected_by_sam2(case: Correction) -> Outputs:
    """What the second propagation gives, by object (always 0) and frame."""
    return sam2_process()._pool.submit(_correct, case).result()


def _correct(case: Correction) -> Outputs:
    predictor, size = _predictor(case.model, torch.float32), case.frames.image_size
    frames = normalized(drawn_frames(case.frames))
    with (
        mock.patch("sam2.sam2_video_predictor.load_video_frames", return_value=(frames, size, size)),
        mock.patch.object(predictor, "_get_image_feature"),  # it would encode frame 0 anew
    ):
        state = predictor.init_state(video_path="")
    state["cached_features"] = dict(enumerate(_features(case.model, case.frames, torch.float32)))
    # By default a correction is no conditioning frame, so that the next propagation computes it away.
    kept = mock.patch.object(predictor, "add_all_frames_to_correct_as_cond", True)
    without_bar = mock.patch("sam2.sam2_video_predictor.tqdm", lambda frames, desc: frames)
    with _Recorder(predictor) as recorder, without_bar, kept:
        for frame_index, prompt in ((0, case.seed), (case.frame_index, case.correction)):
            points, labels = points_of(prompt)
            predictor.add_new_points_or_box(state, frame_index, 0, points=points, labels=labels)
            visited = [frame for frame, _, _ in predictor.propagate_in_video(state)]
    return {(0, frame): recorder.outputs[frame] for frame in visited}
