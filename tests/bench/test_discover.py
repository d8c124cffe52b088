"""The bench of discovery counts what it says, its kept figures reach their goals, and a late object is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model import load_model
from pipeline.arrays import BoolArray
from tests.bench.discover_clips import KINDS, NUM_FRAMES, clips
from tests.bench.discover_methods import Search, first_frame_alone, ours
from tests.bench.discover_scores import FoundTrack, score_clip

RESULTS = Path(__file__).parent / "results" / "discover.json"
SIZE = (40, 60)


def moving(x0: int, frames: range, num_frames: int = 10, side: int = 20) -> BoolArray:
    """A square that moves one pixel a frame and shows on some frames; bool `[T, H, W]`."""
    masks = np.zeros((num_frames, *SIZE), np.bool_)
    for frame in frames:
        masks[frame, 5 : 5 + side, x0 + frame : x0 + frame + side] = True
    return masks


def test_tracks_are_found_ones_duplicates_fragments_and_false_ones() -> None:
    early, late, missed = moving(0, range(10)), moving(25, range(4, 10)), moving(25, range(4))
    tracks = [
        FoundTrack(moving(1, range(10)), 0),  # the first one
        FoundTrack(moving(2, range(6, 10)), 6),  # a part of its time
        FoundTrack(moving(26, range(4, 10)), 8),  # the late one
        FoundTrack(moving(25, range(1)), 0),  # a quarter of the third one
        FoundTrack(moving(15, range(10)), 0),  # between them
    ]
    score = score_clip(np.stack([early, late, missed], axis=1), tracks)
    assert [(one.is_found, one.is_late, one.frames_until_found) for one in score.objects] == [
        (True, False, 0),
        (True, True, 4),
        (False, False, 0),
    ]
    assert (score.num_tracks, score.num_duplicates, score.num_fragments, score.num_false) == (5, 1, 1, 1)


def test_a_track_that_goes_on_where_its_object_has_left_is_not_a_good_one() -> None:
    true = moving(0, range(4))[:, None]
    assert score_clip(true, [FoundTrack(moving(0, range(4)), 0)]).objects[0].mean_iou == 1
    assert score_clip(true, [FoundTrack(moving(0, range(10)), 0)]).objects[0].mean_iou == pytest.approx(0.4)


def test_masks_of_key_frames_alone_are_held_against_key_frames_alone() -> None:
    true, seen = moving(0, range(10))[:, None], moving(0, range(0, 10, 5))
    assert not score_clip(true, [FoundTrack(seen, 0)]).objects[0].is_found
    assert score_clip(true, [FoundTrack(seen, 0)], range(0, 10, 5)).objects[0].is_found


@pytest.mark.slow
def test_clips_of_one_seed_are_equal_and_objects_come_when_their_kind_says() -> None:
    one, other = (next(clips(range(4, 5))) for _ in range(2))
    assert (one.clip.frames_THW3 == other.clip.frames_THW3).all()
    (cut,) = one.cuts
    shows_TB = one.clip.masks_TBHW.any(axis=(2, 3))
    assert {tuple(np.flatnonzero(shows)) for shows in shows_TB.T} == {tuple(range(cut)), tuple(range(cut, NUM_FRAMES))}
    enters = next(clips(range(6, 7)))
    assert (KINDS[4 % 5], enters.kind) == ("cut", "enters")
    assert not enters.clip.masks_TBHW[0].any(axis=(1, 2)).all()


def test_the_kept_figures_reach_their_goals() -> None:
    """On clips that no rule was tuned on."""
    found = json.loads(RESULTS.read_text())["plain"]
    by_us, first, grid = found["ours"], found["first frame alone"], found["grid on each key frame"]
    assert by_us["num_clips"] >= 15
    assert by_us["found"] >= 0.85
    assert by_us["duplicates"] <= 0.05
    assert by_us["found_late"] >= first["found_late"] + 0.3
    assert by_us["false"] < 0.5 * grid["false"]


@pytest.mark.slow
def test_an_object_that_enters_late_is_found_and_a_grid_on_the_first_frame_alone_misses_it() -> None:
    """Frames 4 to 15 of a clip of the bench, in which the last object enters on the fourth one."""
    clip = next(clips(range(6, 7))).clip
    part = replace(clip, frames_THW3=clip.frames_THW3[4:16], masks_TBHW=clip.masks_TBHW[4:16])
    search = Search(load_model("mini"))
    by_us = score_clip(part.masks_TBHW, ours(search, part)).objects
    assert [one.is_late for one in by_us] == [False, False, False, True]
    assert all(one.is_found for one in by_us)
    (wait,) = {one.frames_until_found for one in by_us if one.is_late}
    assert wait is not None
    assert wait <= search.key_interval
    by_first = score_clip(part.masks_TBHW, first_frame_alone(search, part)).objects
    assert [one.is_found for one in by_first] == [True, True, True, False]
