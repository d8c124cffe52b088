from __future__ import annotations

import numpy as np
import pytest

from pipeline.demo.clips import PATTERNS, Bulges, Scene, Shape, draw
from pipeline.demo.scenes import PROMPT_KINDS, demo_scenes
from tests.support.clips import leaving_clip, moving_clip, occluding_clip

GRAY = ((128, 128, 128), (128, 128, 128))
RED, BLUE = ((200, 0, 0), (200, 0, 0)), ((0, 0, 200), (0, 0, 200))


def scene(*shapes: Shape, num_frames: int = 5) -> Scene:
    return Scene("test", "a test", shapes, GRAY, (80, 100), num_frames)


def test_the_same_scene_gives_the_same_pixels() -> None:
    first, second = draw(demo_scenes((60, 80), 3)[1]), draw(demo_scenes((60, 80), 3)[1])
    assert np.array_equal(first.frames_THW3, second.frames_THW3)
    assert np.array_equal(first.masks_TBHW, second.masks_TBHW)


def test_a_disc_has_the_area_of_a_disc_and_its_color() -> None:
    clip = draw(scene(Shape(((0.5, 0.5),), 0.25, RED)))
    assert clip.mask(1, 0).sum() == pytest.approx(np.pi * 20**2, rel=0.01)
    inside = clip.frames_THW3[0][clip.mask(1, 0)]
    assert np.all(inside[:, 0].astype(int) > inside[:, 2].astype(int))


def test_a_nearer_shape_takes_pixels_from_the_mask_of_a_farther_one() -> None:
    clip = draw(scene(Shape(((0.4, 0.5),), 0.3, RED), Shape(((0.6, 0.5),), 0.3, BLUE)))
    far, near = clip.mask(1, 0), clip.mask(2, 0)
    assert not (far & near).any()
    assert near.sum() > far.sum() > 0
    assert np.all(clip.frames_THW3[0][near][:, 2] > 100)


def test_a_shape_passes_its_waypoints_in_time() -> None:
    shape = Shape(((0.2, 0.5), (0.8, 0.5), (0.2, 0.5)), 0.1, RED)
    assert shape.center_at(0.0) == (0.2, 0.5)
    assert shape.center_at(0.5) == (0.8, 0.5)
    assert shape.center_at(0.75) == pytest.approx((0.5, 0.5))
    assert shape.center_at(2.0) == pytest.approx((0.2, 0.5))


def test_a_shape_turns_and_swells() -> None:
    clip = draw(scene(Shape(((0.5, 0.5),), 0.3, RED, bulges=Bulges(3, 0.2, pulse=0.9), turns=0.5)))
    assert not np.array_equal(clip.mask(1, 0), clip.mask(1, 2))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_shows_its_colors(pattern: str) -> None:
    clip = draw(scene(Shape(((0.5, 0.5),), 0.4, ((200, 0, 0), (0, 0, 200)), pattern)))
    skin = clip.frames_THW3[0][clip.mask(1, 0)]
    assert (skin[:, 0] > 120).any()
    assert (skin[:, 2] > 120).any() == (pattern != "plain")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"waypoints_xy": ()}, "waypoint"),
        ({"pattern": "tartan"}, "'tartan' is none of"),
        ({"radius": 0.0}, "above 0"),
        ({"aspect": -1.0}, "above 0"),
    ],
)
def test_a_shape_that_cannot_be_drawn_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shape(**{"waypoints_xy": ((0.5, 0.5),), "radius": 0.2, "colors": RED, **values})  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_demo_scenes_show_what_they_say() -> None:
    clips = {one.name: draw(one) for one in demo_scenes((120, 160))}
    visible = {name: clip.masks_TBHW.any(axis=(2, 3)) for name, clip in clips.items()}
    assert not visible["hiding"][:, 0].all()
    assert visible["hiding"][[0, -1], 0].all()
    assert not visible["leaving"][:, 0].all()
    assert visible["leaving"][[0, -1], 0].all()
    assert not visible["entering"][0, 1]
    assert visible["entering"][-1, 1]
    areas = clips["crossing"].masks_TBHW.sum(axis=(2, 3))
    assert (areas.min(axis=0)[:2] < 0.8 * areas.max(axis=0)[:2]).all()
    assert set(PROMPT_KINDS) == set(clips)


def test_the_clips_of_the_tests_move_hide_and_leave() -> None:
    moving = moving_clip(num_objects=6).masks_TBHW
    assert moving.any(axis=(2, 3)).all()
    assert all(not np.array_equal(moving[0, number], moving[-1, number]) for number in range(6))
    assert not np.array_equal(moving_clip(seed=1).masks_TBHW, moving_clip(seed=2).masks_TBHW)
    for clip in (occluding_clip(), leaving_clip()):
        visible = clip.masks_TBHW[:, 0].any(axis=(1, 2))
        assert visible[0]
        assert visible[-1]
        assert not visible.all()
