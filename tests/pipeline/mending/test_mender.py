"""Corrections of a job that mini has labeled: clicks, boxes, drawn masks, previews, and what a session would say."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from model import ArrayFrames, MaskPrompt, VideoSession, advance, forget_wrong, load_model
from pipeline import tables
from pipeline.errors import CannotMend, NotInJob, WasClosed
from pipeline.masks.from_logits import encode_masks
from pipeline.masks.rle import decode_rle
from pipeline.mending.correction import Seen
from pipeline.mending.known_masks import overlap
from pipeline.mending.mender import Mender
from pipeline.mending.saving import SavedBy, save_correction
from pipeline.mending.taking_back import take_back
from pipeline.reviews.corrections import read_corrections
from pipeline.reviews.verdicts import Verdict, read_verdicts
from pipeline.storage.job_storage import JobStorage
from tests.support.clips import moving_clip
from tests.support.mendable import Mendable, box_of, prompt_of, worst_click, write_mendable_job

pytestmark = pytest.mark.slow

FRAME = 10
BY = SavedBy("ann", seconds=4.0)


def pixels(seen: Seen) -> np.ndarray:
    assert seen.counts is not None
    return decode_rle(seen.size_hw, seen.counts)


def counts_of(mask_HW: np.ndarray) -> str:
    return encode_masks(torch.from_numpy(np.ascontiguousarray(mask_HW))[None])[0].counts


def middle(mask_HW: np.ndarray) -> tuple[float, float]:
    return worst_click(np.zeros_like(mask_HW), mask_HW)[0]


@pytest.fixture
def nothing_said(mendable: Mendable) -> Iterator[JobStorage]:
    """The store of the job; what a test says there is gone afterwards."""
    yield mendable.storage
    mendable.storage.delete_tree("reviews")


def test_a_correction_begins_with_the_mask_of_the_job(mender: Mender, mendable: Mendable) -> None:
    correction = mender.open("clip", 2, FRAME)
    assert np.array_equal(pixels(correction.seen), mendable.masks[2, FRAME])
    assert not correction.seen.is_hidden
    assert correction.num_said == 0


def test_a_click_gives_what_it_gives_in_a_session_that_has_walked_there(mender: Mender, mendable: Mendable) -> None:
    """The session is the judge: it has walked from the prompt, and its memories and logits are its own."""
    object_id = 2
    session = VideoSession(load_model("mini"), ArrayFrames(mendable.frames_THW3))
    session.add_prompt(object_id, 0, mendable.prompts[object_id])
    for step in islice(session.walk("forward"), FRAME):
        advance([step])
    tracked = session.correct(object_id, FRAME)
    truth = mendable.clip.mask(object_id, FRAME)
    click = worst_click(tracked.masks()[0].numpy(), truth)
    expected = session.correct(object_id, FRAME, prompt_of(click), tracked.logits_BHW).masks()[0].numpy()

    seen = mender.open("clip", object_id, FRAME).click(*click)

    assert overlap(pixels(seen), expected) > 0.95
    alone = session.correct(object_id, FRAME, prompt_of(click), heading=None).masks()[0].numpy()
    assert overlap(pixels(seen), expected) > overlap(alone, expected) + 0.02  # memory and mask had their say


def test_clicks_bring_a_drawn_mask_that_is_half_missing_nearer_to_the_truth(mender: Mender, mendable: Mendable) -> None:
    truth = mendable.clip.mask(1, FRAME)
    half = truth.copy()
    half[:, int(middle(truth)[0]) :] = False
    correction = mender.open("clip", 1, FRAME)
    seen = correction.draw(counts_of(half))
    assert np.array_equal(pixels(seen), half)  # what was drawn is what is seen, to the pixel
    before = overlap(half, truth)
    seen = correction.click(*worst_click(half, truth))
    assert overlap(pixels(seen), truth) > before + 0.3


def test_a_negative_click_takes_a_part_away_that_is_another_object(mender: Mender, mendable: Mendable) -> None:
    both = mendable.clip.mask(1, FRAME) | mendable.clip.mask(2, FRAME)
    other = mendable.clip.mask(2, FRAME)
    correction = mender.open("clip", 1, FRAME)
    correction.draw(counts_of(both))
    seen = correction.click(middle(other), 0)
    assert overlap(pixels(seen), mendable.clip.mask(1, FRAME)) > 0.8
    assert not (pixels(seen) & other).any()


def test_a_box_around_another_object_lets_go_of_what_was_tracked(mender: Mender, mendable: Mendable) -> None:
    correction = mender.open("clip", 1, FRAME)
    x0, y0, x1, y1 = box_of(mendable.clip.mask(2, FRAME)).box_xyxy
    seen = correction.box((x1, y1, x0, y0))  # from the lower right corner to the upper left one
    assert overlap(pixels(seen), mendable.clip.mask(2, FRAME)) > 0.8


def test_undo_takes_back_one_thing_after_the_other_to_the_bit(mender: Mender, mendable: Mendable) -> None:
    correction = mender.open("clip", 1, FRAME)
    steps = (
        lambda: correction.click(middle(mendable.clip.mask(1, FRAME)), 1),
        lambda: correction.box((10.0, 10.0, 90.0, 80.0)),
        correction.hide,
        correction.clear,
        lambda: correction.click((60.0, 60.0), 1),
    )
    masks = [correction.seen, *(say() for say in steps)]
    for expected in reversed(masks[:-1]):
        assert correction.undo() == expected
    assert correction.undo() == masks[0]
    assert correction.num_said == 0
    again = correction.click(middle(mendable.clip.mask(1, FRAME)), 1)
    assert again == masks[1]


def test_an_added_object_begins_with_a_click_on_it(mender: Mender, mendable: Mendable) -> None:
    correction = mender.open("clip", 7, FRAME)
    assert correction.seen.counts is None
    assert not correction.is_of_a_track
    with pytest.raises(CannotMend, match="no mask yet: begin with a click on it"):
        correction.click((10.0, 10.0), 0)
    with pytest.raises(CannotMend, match="nothing to save"):
        save_correction(mendable.storage, correction, BY)
    seen = correction.click(middle(mendable.clip.mask(2, FRAME)), 1)
    assert overlap(pixels(seen), mendable.clip.mask(2, FRAME)) > 0.7
    later = list(correction.propagate(3))
    assert [one.frame_index for one in later] == [11, 12, 13]
    assert min(overlap(pixels(one), mendable.clip.mask(2, one.frame_index)) for one in later) > 0.7


@pytest.mark.parametrize("direction", [1, -1])
def test_a_preview_is_what_a_session_walks_with_the_mask_as_a_prompt(
    mender: Mender, mendable: Mendable, direction: int
) -> None:
    """Object 1 is said to be the other disc: the frames after (or before) follow the other disc.

    The session forgets what it tracked of the first disc, as the worker does it.
    """
    other = mendable.clip.mask(2, FRAME)
    correction = mender.open("clip", 1, FRAME)
    correction.draw(counts_of(other))
    found = list(correction.propagate(4, direction))
    assert [one.frame_index for one in found] == [FRAME + direction * far for far in range(1, 5)]

    session = VideoSession(load_model("mini"), ArrayFrames(mendable.frames_THW3))
    session.add_prompt(1, 0, mendable.prompts[1])
    session.add_prompt(1, FRAME, MaskPrompt(other))
    expected = {}
    for step in session.walk("forward" if direction == 1 else "backward"):
        if step.frame.index == FRAME:
            assert forget_wrong(step, [1]) == ([1] if direction == 1 else [])  # the walk backward begins here
        (result,) = advance([step])
        expected[result.frame_index] = result.masks()[0].numpy()
    assert np.mean([overlap(pixels(one), expected[one.frame_index]) for one in found]) > 0.95
    assert correction.seen.area == other.sum()  # the correction is as it was


def test_a_preview_ends_with_the_video_and_when_it_is_closed(mender: Mender) -> None:
    correction = mender.open("clip", 1, 13)
    assert [one.frame_index for one in correction.propagate(10)] == [14, 15]
    walk = correction.propagate(10, -1)
    assert next(walk).frame_index == 12
    walk.close()
    assert correction.click((60.0, 30.0), 1).frame_index == 13  # the network is free again


def test_what_is_saved_is_what_was_seen(mender: Mender, mendable: Mendable, nothing_said: JobStorage) -> None:
    correction = mender.open("clip", 1, FRAME)
    seen = correction.click(middle(mendable.clip.mask(1, FRAME)), 1)
    path = save_correction(nothing_said, correction, BY)
    (saved,) = read_corrections(nothing_said)["clip"]
    assert (saved.object_id, saved.frame_index, saved.reviewer) == (1, FRAME, "ann")
    assert saved.rle == {"size": [96, 128], "counts": seen.counts}
    assert read_verdicts(nothing_said)["clip", 1].verdict is Verdict.FIX

    again = mender.open("clip", 1, FRAME)
    assert pixels(again.seen).tolist() == pixels(seen).tolist()  # the page was closed: it goes on from there
    take_back(nothing_said, path, ("clip", 1), "ann")
    assert read_corrections(nothing_said) == {}


def test_frames_behind_a_saved_mask_show_what_follows_from_it(
    mender: Mender, mendable: Mendable, nothing_said: JobStorage
) -> None:
    correction = mender.open("clip", 1, FRAME)
    correction.draw(counts_of(mendable.clip.mask(2, FRAME)))
    *_, expected = correction.propagate(3)
    save_correction(nothing_said, correction, BY)
    later = mender.open("clip", 1, FRAME + 3)
    assert not np.array_equal(pixels(later.seen), mendable.masks[1, FRAME + 3])
    assert overlap(pixels(later.seen), pixels(expected)) > 0.8
    assert np.array_equal(pixels(mender.open("clip", 1, FRAME - 3).seen), mendable.masks[1, FRAME - 3])


def test_a_split_hides_the_old_object_and_gives_the_mask_to_a_new_one(
    mender: Mender, mendable: Mendable, nothing_said: JobStorage
) -> None:
    correction = mender.open("clip", 1, FRAME)
    save_correction(nothing_said, correction, BY, split_into=8)
    old, new = read_corrections(nothing_said)["clip"]
    assert (old.object_id, old.rle, old.split_from) == (1, None, None)
    assert (new.object_id, new.split_from) == (8, 1)
    assert new.rle is not None
    assert decode_rle((96, 128), new.rle["counts"]).tolist() == mendable.masks[1, FRAME].tolist()
    assert {key: one.verdict for key, one in read_verdicts(nothing_said).items()} == {("clip", 1): Verdict.FIX}


def test_not_visible_here_is_saved_as_hidden(mender: Mender, nothing_said: JobStorage) -> None:
    correction = mender.open("clip", 1, FRAME)
    assert correction.hide().is_hidden
    assert correction.seen.area == 0
    save_correction(nothing_said, correction, BY)
    (saved,) = read_corrections(nothing_said)["clip"]
    assert saved.rle is None
    with pytest.raises(CannotMend, match="a track is split at a frame on which the object is seen"):
        save_correction(nothing_said, correction, BY, split_into=9)


def test_two_reviewers_correct_the_same_frame_without_each_other(mender: Mender, mendable: Mendable) -> None:
    first, second = mender.open("clip", 1, FRAME), mender.open("clip", 1, FRAME)
    assert first.id != second.id
    before = second.seen
    first.hide()
    assert second.seen == before
    assert mender.correction(first.id).seen.is_hidden


def test_of_too_many_corrections_those_leave_first_that_have_nothing_unsaved(
    mender: Mender, nothing_said: JobStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever steps through frames opens one on each, and must not lose what was clicked on the first."""
    monkeypatch.setattr("pipeline.mending.mender._MOST_CORRECTIONS", 2)
    clicked = mender.open("clip", 1, FRAME)
    clicked.hide()
    later = [mender.open("clip", 1, frame) for frame in (2, 3, 4)]
    assert mender.correction(clicked.id) is clicked
    assert mender.correction(later[-1].id) is later[-1]
    for one in later[:-1]:
        with pytest.raises(WasClosed, match="open the frame again"):
            mender.correction(one.id)
    saved = later[-1]
    saved.hide()
    save_correction(nothing_said, saved, BY)
    other = mender.open("clip", 1, 5)
    with pytest.raises(WasClosed):
        mender.correction(saved.id)
    other.hide()
    newest = mender.open("clip", 1, 6)
    assert mender.correction(newest.id) is newest, "if something was said of all, the oldest leaves"
    with pytest.raises(WasClosed):
        mender.correction(clicked.id)


def test_a_video_that_was_looked_at_long_ago_keeps_no_frames_though_its_corrections_go_on(
    mendable: Mendable, job: tables.JobTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each correction kept its video with the features of all its frames, whatever the number of videos."""
    monkeypatch.setattr("pipeline.mending.mender._MOST_VIDEOS", 1)
    clips = {name: job.video("clip") for name in ("one", "other")}
    with closing(Mender(mendable.storage, lambda: job, clips.__getitem__)) as mender:
        clicked, looked_at = mender.open("one", 1, FRAME), mender.open("one", 2, FRAME)
        boxed = clicked.box(mendable.prompts[1].box_xyxy)
        mender.wait()
        video = mender._videos["one"]
        assert video.session.state.features.at_hand(FRAME) is not None
        assert mender.open("other", 1, FRAME).video_id == "clip"
        mender.wait()
        assert video.session.state.features.at_hand(FRAME) is None
        assert not video.frames._kept
        assert not video.frames._pictures
        assert mender.correction(clicked.id).undo() != boxed
        assert clicked.box(mendable.prompts[1].box_xyxy) == boxed
        with pytest.raises(WasClosed):
            mender.correction(looked_at.id)


def test_what_cannot_be_said_is_told_and_changes_nothing(mender: Mender) -> None:
    correction = mender.open("clip", 1, FRAME)
    for say, told in (
        (lambda: correction.click((500.0, 10.0), 1), "outside of the frame"),
        (lambda: correction.click((10.0, 10.0), 3), "labels: expected 1"),
        (lambda: correction.box((5.0, 5.0, 5.0, 20.0)), "x0 < x1"),
        (lambda: correction.draw("nonsense"), "the drawn mask is none"),
    ):
        before = correction.seen
        with pytest.raises(CannotMend, match=told):
            say()
        assert correction.seen == before
        assert correction.num_said == 0


def test_frames_and_objects_that_are_not_there_are_named(mender: Mender) -> None:
    with pytest.raises(NotInJob, match="those with masks are 0 to 15"):
        mender.open("clip", 1, 16)
    with pytest.raises(NotInJob, match="object 99 of video 'clip' failed and has no masks: no such frame"):
        mender.open("clip", 99, FRAME)
    with pytest.raises(NotInJob, match="no finished video 'clap'"):
        mender.open("clap", 1, FRAME)
    with pytest.raises(CannotMend, match="was closed meanwhile"):
        mender.correction("gone")


def ending(walk: Generator[Seen, None, str]) -> tuple[list[int], str]:
    """The frames of a preview, and why it ends."""
    frames = []
    while True:
        try:
            frames.append(next(walk).frame_index)
        except StopIteration as stopped:
            return frames, stopped.value


def test_a_preview_stops_at_a_cut_as_the_job_does_and_says_so(tmp_path: Path) -> None:
    mendable = write_mendable_job(tmp_path, moving_clip("clip", num_frames=10), cut=6)
    job = tables.open(mendable.uri)
    with closing(Mender(mendable.storage, lambda: job, job.video)) as mender:
        labeled = job.video("clip").track(1).frame_indexes.tolist()
        assert labeled == [0, 1, 2, 3, 4, 5]
        frames, why = ending(mender.open("clip", 1, 3).propagate(24))
        assert frames == [4, 5], "where the job has rows"
        assert why == "It ends at frame 5: a cut comes here, and the job follows objects to cuts alone."
        assert ending(mender.open("clip", 1, 3).propagate(2)) == ([4, 5], "")
