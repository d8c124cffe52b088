"""Which masks of key frames are objects of their own: new, the same, confirmed, duplicates. Masks are drawn by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model import FoundMask
from pipeline.arrays import BoolArray
from pipeline.seeds.discovery import Discovery, DiscoveryRules
from pipeline.seeds.walk import at_times

SIZE = (60, 100)


def block(x0: int, y0: int, width: int, height: int) -> BoolArray:
    mask = np.zeros(SIZE, np.bool_)
    mask[y0 : y0 + height, x0 : x0 + width] = True
    return mask


def found(x0: int, y0: int, width: int, height: int, score: float = 0.6) -> FoundMask:
    box = (x0, y0, x0 + width, y0 + height)
    inner = np.ones((height, width), np.bool_)
    return FoundMask(inner, box, SIZE, score, 1.0, (x0 + 1.0, y0 + 1.0), (0, 0, SIZE[1], SIZE[0]))


def test_what_no_track_covers_is_new_and_ids_count_from_1() -> None:
    look = Discovery().look(0, [found(0, 0, 20, 20), found(50, 0, 20, 20)], {})
    assert [(one.object_id, one.frame_index, one.mask.box_xyxy) for one in look.new] == [
        (1, 0, (0, 0, 20, 20)),
        (2, 0, (50, 0, 70, 20)),
    ]


def test_what_a_track_has_already_is_not_found_again() -> None:
    discovery = Discovery()
    discovery.look(0, [found(0, 0, 20, 20)], {})
    look = discovery.look(8, [found(2, 0, 20, 20), found(60, 30, 20, 20)], {1: block(3, 0, 20, 20)})
    assert [one.mask.box_xyxy for one in look.new] == [(60, 30, 80, 50)]


def test_a_part_of_a_track_is_neither_new_nor_the_same() -> None:
    discovery = Discovery()
    discovery.look(0, [found(0, 0, 40, 40)], {})
    assert discovery.look(8, [found(0, 0, 20, 20)], {1: block(0, 0, 40, 40)}).new == ()
    assert discovery.end().num_ambiguous == 1


def test_of_two_masks_of_one_frame_that_overlap_only_the_better_is_new() -> None:
    look = Discovery().look(0, [found(0, 0, 30, 30, 0.8), found(0, 0, 30, 20, 0.7)], {})
    assert len(look.new) == 1


def test_a_track_that_a_later_key_frame_finds_again_is_an_object() -> None:
    discovery = Discovery()
    discovery.look(0, [found(0, 0, 20, 20)], {})
    discovery.look(8, [found(11, 0, 20, 20)], {1: block(10, 0, 20, 20)})
    assert [one.object_id for one in discovery.end().objects] == [1]


def test_a_track_that_is_dropped_leaves_the_others_as_they_are() -> None:
    """Both show on the key frame on which the second one is dropped."""
    discovery = Discovery(DiscoveryRules(max_looks=1))
    discovery.look(0, [found(0, 0, 20, 20), found(50, 0, 20, 20)], {})
    tracks = {1: block(0, 0, 20, 20), 2: block(50, 0, 20, 20)}
    assert discovery.look(8, [found(0, 0, 20, 20)], tracks).dropped == (2,)
    assert [one.object_id for one in discovery.end().objects] == [1]


def test_a_track_that_no_later_key_frame_finds_is_dropped_and_counted() -> None:
    discovery = Discovery(DiscoveryRules(max_looks=2))
    discovery.look(0, [found(0, 0, 20, 20)], {})
    assert discovery.look(8, [], {1: block(0, 0, 20, 20)}).dropped == ()
    assert discovery.look(16, [], {1: block(0, 0, 20, 20)}).dropped == (1,)
    assert (discovery.end().objects, discovery.end().num_unconfirmed) == ((), 1)


@pytest.mark.parametrize(("num_found", "stays"), [(1, False), (2, True)])
def test_a_track_that_hardly_any_of_the_key_frames_that_show_it_finds_is_dropped(num_found: int, stays: bool) -> None:
    """It shows on four later key frames, and is hidden on others, which say nothing."""
    discovery = Discovery()
    discovery.look(0, [found(0, 0, 20, 20)], {})
    for frame in range(4):
        masks = [found(0, 0, 20, 20)] if frame < num_found else []
        discovery.look(8 + frame, masks, {1: block(0, 0, 20, 20)})
        discovery.look(20 + frame, [], {1: block(0, 0, 0, 0)})
    end = discovery.end()
    assert ([one.object_id for one in end.objects] == [1], end.num_unconfirmed) == (stays, 0 if stays else 1)


def test_a_mask_that_is_sure_needs_no_second_look() -> None:
    discovery = Discovery(DiscoveryRules(sure_score=0.9, max_looks=1))
    discovery.look(0, [found(0, 0, 20, 20, 0.95), found(50, 0, 20, 20, 0.85)], {})
    discovery.look(8, [], {})
    assert [one.object_id for one in discovery.end().objects] == [1]


def test_a_photo_has_no_second_look() -> None:
    discovery = Discovery()
    discovery.look(0, [found(0, 0, 20, 20)], {})
    assert [one.object_id for one in discovery.end().objects] == [1]


def test_an_object_that_is_hidden_on_a_key_frame_stays_the_same_when_it_returns() -> None:
    discovery = Discovery(DiscoveryRules(sure_score=0.5))
    discovery.look(0, [found(0, 0, 20, 20)], {})
    discovery.look(8, [], {1: block(0, 0, 0, 0)})
    assert discovery.look(16, [found(40, 0, 20, 20)], {1: block(40, 0, 20, 20)}).new == ()


def test_two_tracks_on_one_thing_are_one_object_and_the_other_is_named() -> None:
    discovery = Discovery(DiscoveryRules(sure_score=0.5))
    discovery.look(0, [found(0, 0, 20, 20, 0.6), found(50, 0, 20, 20, 0.8)], {})
    for frame in (8, 16):
        discovery.look(frame, [], {1: block(50, 10, 20, 20), 2: block(50, 12, 20, 20)})
    end = discovery.end()
    assert [one.object_id for one in end.objects] == [2]
    assert [(one.object_id, one.duplicate_of) for one in end.duplicates] == [(1, 2)]


def test_a_track_that_has_lost_its_object_to_another_one_makes_no_duplicate_of_that() -> None:
    """The better one leaves, and its track goes over to the other object for good."""
    discovery = Discovery(DiscoveryRules(sure_score=0.5))
    discovery.look(0, [found(0, 0, 20, 20, 0.6), found(50, 0, 20, 20, 0.8)], {})
    for frame, x in ((8, 70), (16, 0), (24, 0), (32, 0)):
        discovery.look(frame, [found(0, 0, 20, 20)], {1: block(0, 0, 20, 20), 2: block(x, 0, 20, 20)})
    assert [one.object_id for one in discovery.end().objects] == [1, 2]


def test_two_objects_that_pass_each_other_once_stay_two() -> None:
    discovery = Discovery(DiscoveryRules(sure_score=0.5))
    discovery.look(0, [found(0, 0, 20, 20), found(50, 0, 20, 20)], {})
    for x in (10, 25, 40):
        discovery.look(x, [], {1: block(x, 0, 20, 20), 2: block(50 - x, 0, 20, 20)})
    assert [one.object_id for one in discovery.end().objects] == [1, 2]


def test_there_are_at_most_so_many_objects_and_the_others_are_counted_as_unexplained() -> None:
    discovery = Discovery(DiscoveryRules(max_objects=1, sure_score=0.5))
    look = discovery.look(0, [found(0, 0, 20, 20), found(50, 0, 30, 20)], {})
    assert len(look.new) == 1
    end = discovery.end()
    assert (end.num_left_out, end.unexplained) == (1, pytest.approx(600 / 6000))


def test_a_video_in_which_nothing_is_found_has_no_objects() -> None:
    discovery = Discovery()
    assert discovery.look(0, [], {}).new == ()
    end = discovery.end()
    assert (end.objects, end.duplicates, end.unexplained) == ((), (), 0.0)


def test_key_frames_are_so_far_apart_by_their_times() -> None:
    is_key = at_times(lambda index: index / 10, 0.5)
    assert [index for index in range(13) if is_key(index)] == [0, 5, 10]


def test_key_frames_do_not_come_ever_later_where_the_rate_does_not_fit_their_distance() -> None:
    """At 30 frames/s no frame lies at 0.25 s; the key frames stay those that follow 0.25, 0.5 and 0.75 s."""
    is_key = at_times(lambda index: index / 30, 0.25)
    assert [index for index in range(61) if is_key(index)] == [0, 8, 15, 23, 30, 38, 45, 53, 60]


def test_times_that_begin_late_have_a_key_frame_at_their_start() -> None:
    is_key = at_times(lambda index: 100 + index / 10, 0.5)
    assert [index for index in range(8) if is_key(index)] == [0, 5]


def test_every_image_of_a_folder_is_a_key_frame_because_nothing_says_how_far_apart_they_are() -> None:
    is_key = at_times(lambda index: None, 0.5)
    assert all(is_key(index) for index in range(4))


def test_of_a_thousand_objects_the_bound_is_kept_and_the_others_are_counted() -> None:
    places = [(x, y) for y in range(0, 60, 3) for x in range(0, 100, 2)]
    discovery = Discovery()
    look = discovery.look(0, [found(x, y, 2, 3) for x, y in places], {})
    assert (len(places), len(look.new), discovery.end().num_left_out) == (1000, 64, 936)


def test_tracks_far_from_each_other_are_told_apart_by_their_boxes() -> None:
    """200 objects of a film of 1920 × 1080 took 5 seconds a key frame, pair by pair over the whole frame."""
    num_pixels = []

    class Watched(np.ndarray):
        def __and__(self, other: Any) -> Any:
            num_pixels.append(self.size)
            return super().__and__(other)

    masks = [found(10 * column, 10 * row, 6, 6) for row in range(6) for column in range(10)]
    discovery = Discovery()
    look = discovery.look(0, masks, {})
    tracks: Any = {one.object_id: block(*one.mask.box_xyxy[:2], 6, 6).view(Watched) for one in look.new}
    assert len(tracks) == 60
    discovery.look(8, masks, tracks)
    assert len(discovery.end().objects) == 60
    assert sum(num_pixels) < 2 * 60 * 60 * 36, "each track with each mask, within its box"


def test_how_far_tracks_lie_on_each_other_is_counted_within_their_boxes() -> None:
    """Half of each on the other: one object where they overlap by half of both, two where it is less."""
    for width, num_objects in ((20, 2), (40, 1)):
        discovery = Discovery(DiscoveryRules(max_covered=2.0, max_overlap=2.0))
        ids = [one.object_id for one in discovery.look(0, [found(0, 0, 40, 40), found(40 - width, 3, 40, 37)], {}).new]
        tracks = {ids[0]: block(0, 0, 40, 40), ids[1]: block(40 - width, 3, 40, 37)}
        discovery.look(8, [found(0, 0, 40, 40), found(40 - width, 3, 40, 37)], tracks)
        assert len(discovery.end().objects) == num_objects
