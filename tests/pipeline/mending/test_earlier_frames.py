"""Frames before the first prompt: a reviewer sees the object there, corrects it, and the next run begins with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from model import VideoSession, advance, load_model
from pipeline import tables
from pipeline.errors import NotInJob
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts
from pipeline.inputs.reviewed_prompts import with_corrections
from pipeline.masks.rle import decode_rle
from pipeline.mending.known_masks import overlap
from pipeline.mending.mender import Mender
from pipeline.mending.saving import SavedBy, save_correction
from pipeline.records import FramePosition, VideoSource, WorkItem
from pipeline.reviews.corrections import read_corrections
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from pipeline.worker.labeler import LabelOptions, label_steps
from tests.support.clips import moving_clip
from tests.support.mendable import Mendable, box_of, write_mendable_job

pytestmark = pytest.mark.slow

START, EARLIER = 6, 2


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Mendable:
    """Both discs are seen from the first frame on, and were prompted on the seventh."""
    return write_mendable_job(tmp_path_factory.mktemp("late"), moving_clip("clip", num_frames=10), start=START)


@pytest.fixture
def mender(late: Mendable) -> Iterator[Mender]:
    job = tables.open(late.uri)
    clip = job.video("clip")
    with closing(Mender(late.storage, lambda: job, lambda video_id: clip)) as mender:
        with pytest.raises(NotInJob):
            mender.open("clip", 1, EARLIER)
        assert clip.add_frames_without_rows() == START
        yield mender


def test_a_mask_before_the_first_prompt_is_given_previewed_and_where_the_next_run_begins(
    late: Mendable, mender: Mender
) -> None:
    correction = mender.open("clip", 1, EARLIER)
    assert correction.seen.counts is None, "nothing was labeled here"
    seen = correction.box(box_of(late.clip.mask(1, EARLIER)).box_xyxy)
    assert seen.counts is not None
    assert overlap(decode_rle(seen.size_hw, seen.counts), late.clip.mask(1, EARLIER)) > 0.7
    previewed = list(correction.propagate(3))
    assert [one.frame_index for one in previewed] == [3, 4, 5]
    save_correction(late.storage, correction, SavedBy("ann"))

    again = labels_of_the_next_run(late)
    assert min(frame for object_id, frame in again if object_id == 1) == EARLIER
    assert min(frame for object_id, frame in again if object_id == 2) == START
    for one in previewed:
        assert one.counts is not None
        assert overlap(decode_rle(one.size_hw, one.counts), again[1, one.frame_index]) > 0.85
        assert overlap(again[1, one.frame_index], late.clip.mask(1, one.frame_index)) > 0.6


def labels_of_the_next_run(late: Mendable) -> dict[tuple[int, int], np.ndarray]:
    """Masks by object and frame that a worker makes of the job's prompts and of what is saved."""
    objects = tuple(
        ObjectPrompts(object_id, None, ((FramePosition(START, None), prompt),))
        for object_id, prompt in late.prompts.items()
    )
    said = {1: read_corrections(late.storage)["clip"]}
    prompts, model = with_corrections(VideoPrompts(objects), said), load_model("mini")
    with (
        open_media(WorkItem("clip", VideoSource(str(late.path)), (), "")) as media,
        VideoFrames(media, prompted=prompts.positions) as frames,
    ):
        steps = label_steps(lambda source: VideoSession(model, source), "clip", prompts, frames, LabelOptions())
        step = next(steps)
        try:
            while True:
                step = steps.send(True if step is None else advance([step])[0])
        except StopIteration as ended:
            rows = ended.value.masks.to_pylist()
    return {
        (row["object_id"], row["frame_index"]): decode_rle(tuple(row["rle"]["size"]), row["rle"]["counts"])
        for row in rows
    }
