"""What is claimed of memory: bounded for each object, and the same for a long video as for a short one."""

from __future__ import annotations

import io
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pytest
import torch

from model import Media
from model.network.config import named_config
from model.network.kernels import as_on
from model.network.sam2 import Sam2
from model.pixels.transforms import resize_frame
from model.prompts import BoxPrompt, PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult
from model.tracking.steps import advance
from model.weights.checkpoint import load_model
from pipeline.demo.inputs import seed_prompts
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts
from pipeline.records import FramePosition
from pipeline.video.encode import encode_mp4
from pipeline.video.frames import VideoFrames
from pipeline.worker.labeler import LabelOptions, label_steps
from tests.bench.efficiency import forth_and_back
from tests.bench.measure import held_bytes, peak_mib
from tests.support.clips import moving_clip
from tests.support.sessions import EncodingCopies

MIB = 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize("num_objects", [1, 4])
def test_an_object_with_full_memory_holds_less_than_six_mib_at_full_size_in_bfloat16(num_objects: int) -> None:
    """On the meta device: shapes and storages are real, nothing is computed."""
    with torch.device("meta"):
        model = EncodingCopies(Sam2(named_config("tiny")).to(torch.bfloat16))
    picture = torch.zeros(64, 64, 3, dtype=torch.uint8)
    session = VideoSession(model, ArrayFrames([picture] * 20))
    for object_id in range(num_objects):
        session.add_prompt(object_id, 0, PointPrompt(((20.0 + object_id, 30.0),), (1,)))
    with as_on("cuda"):
        held = [held_bytes(session.objects) / MIB / num_objects for _ in session.propagate("forward")]
    assert model.config.image_size == 1024
    assert 3.5 < held[16] < 6  # seven memories of 0.5 MiB are part of it
    assert held[-1] == held[16]  # and it grows no further


@pytest.mark.slow
def test_the_peak_does_not_grow_with_the_length_of_a_video() -> None:
    """Decoding, model, RLE and rows, with mini's weights on a small input; the bench does 2000 frames at full size.

    What is kept of each frame may take 12 KB: less than a twentieth of this process at 2000 frames.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        peaks, num_masks = pool.submit(_label_and_watch, 100, 500, 600).result()
    assert num_masks == 600
    assert (peaks[500] - peaks[100]) * MIB / 400 <= 12e3, peaks
    assert peaks[600] <= 1.05 * peaks[100], "when its rows are put together"


def _label_and_watch(*lengths: int) -> tuple[dict[int, float], int]:
    """Peaks of this process once so many frames are labeled, the last of them those of the whole video."""
    torch.set_num_threads(1)
    pa.array([1])  # pyarrow imports pandas for its first list, where there is one: 40 MB
    mini = load_model("mini")
    model = Sam2(replace(mini.config, image_size=64))
    model.load_state_dict(mini.state_dict())
    clip = moving_clip(num_frames=8, num_objects=1, size_hw=(64, 64))
    data = encode_mp4(forth_and_back(clip, lengths[-1]), 25)
    media = Media("clip", (partial(io.BytesIO, data),))
    box = BoxPrompt(tuple(seed_prompts(clip, ["box"])[0]["box_xyxy"]))
    prompts = VideoPrompts((ObjectPrompts(1, None, ((FramePosition(0, None), box),)),))
    peaks = {}
    with VideoFrames(media, transform=partial(resize_frame, image_size=64), prompted=prompts.positions) as frames:
        steps = label_steps(partial(VideoSession, model), "clip", prompts, frames, LabelOptions())
        sent: FrameResult | bool | None = None
        num_frames = 0
        while True:
            try:
                step = steps.send(sent)
            except StopIteration as end:
                peaks[lengths[-1]] = peak_mib()
                return peaks, end.value.masks.num_rows
            if step is None:
                sent = True  # wait for the next frame, which is still being decoded
                continue
            (sent,) = advance([step])
            num_frames += 1
            if num_frames in lengths:
                peaks[num_frames] = peak_mib()
