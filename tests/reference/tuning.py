"""Found by search and pinned: what makes random weights reach the cases that a comparison needs.

The bias of the object score decides on how many frames an object counts as visible: it is set between the scores that
the frames of a case get, so that objects are hidden on some and come back. What a pinned pair must reach is said by
`tests.reference.gaps.assert_worth_comparing`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.reference.cases import Box, Case, Click, Direction, DiscMask, FramesSpec, Prompt, Seed
from tests.reference.variants import ModelSpec, Size, Version


@dataclass(frozen=True)
class Pinned:
    """Seed of the weights, bias of the object score, and how many frames it takes to reach all that should be."""

    seed: int
    object_score_bias: float
    num_frames: int


# By image size.
PINNED: dict[int, dict[tuple[Size, Version], Pinned]] = {
    256: {
        ("tiny", "2.1"): Pinned(20, 0.82, 3),
        ("tiny", "2.0"): Pinned(24, -1.81, 3),
        ("small", "2.1"): Pinned(3, 5.587, 4),
        ("base_plus", "2.1"): Pinned(1, -1.68, 3),
        ("large", "2.1"): Pinned(18, -10.389, 3),
    },
    1024: {
        ("tiny", "2.1"): Pinned(3, 6.55, 3),
        ("small", "2.1"): Pinned(2, -3.29, 3),
        ("base_plus", "2.1"): Pinned(5, -3.21, 3),
        ("large", "2.1"): Pinned(2, -1.1895, 2),
    },
}

# A click, a box, a box with clicks and a mask, all on the first frame; object ids are their places in this list. Pixels
# of a 256×256 frame.
PROMPTS = (
    Seed(0, 0, Click(((80.0, 100.0),), (1,))),
    Seed(1, 0, Box((140.0, 80.0, 220.0, 200.0))),
    Seed(2, 0, Box((60.0, 40.0, 150.0, 160.0), ((100.0, 100.0), (240.0, 30.0)), (1, 0))),
    Seed(3, 0, DiscMask((90.0, 100.0), 40.0)),
)

# Two objects over 24 frames, prompted on the first frame (or on the last, backward).
LONG_FRAMES = 24
LONG_PINNED = {
    128: Pinned(7, -4.9, LONG_FRAMES),
    256: Pinned(2, -4.67, LONG_FRAMES),
    1024: Pinned(2, -3.0, LONG_FRAMES),
}
LONG_PROMPTS: tuple[Prompt, Prompt] = (Click(((190.0, 130.0),), (1,)), Box((30.0, 60.0, 140.0, 190.0)))


def pinned_case(size: Size, version: Version, image_size: int = 256) -> Case:
    """Four objects, one for each kind of prompt, over few frames.

    At 256 all of them show one image, which each trunk encodes once: that is most of what large trunks take. Frames
    that differ are walked by `make parity` at full size, by mini, and over many frames.
    """
    pinned = PINNED[image_size][size, version]
    model = ModelSpec(size, version, image_size, pinned.seed, pinned.object_score_bias)
    seeds = tuple(Seed(seed.object_id, 0, scaled(seed.prompt, image_size / 256)) for seed in PROMPTS)
    frames = FramesSpec(pinned.num_frames, image_size, num_images=1 if image_size == 256 else 9)
    return Case(model, frames, seeds)


def long_case(size: Size, direction: Direction, image_size: int = 256, num_frames: int = LONG_FRAMES) -> Case:
    """Two objects, a click and a box, over so many frames that a 16th pointer is evicted."""
    start = 0 if direction == "forward" else num_frames - 1
    seeds = tuple(Seed(number, start, scaled(prompt, image_size / 256)) for number, prompt in enumerate(LONG_PROMPTS))
    pinned = LONG_PINNED[image_size]
    model = ModelSpec(size, "2.1", image_size, pinned.seed, pinned.object_score_bias)
    return Case(model, FramesSpec(num_frames, image_size, num_images=10), seeds, direction)


def scaled(prompt: Prompt, factor: float) -> Prompt:
    """The same prompt on a frame that is `factor` times as large."""
    if isinstance(prompt, Click):
        return Click(_scaled_points(prompt.points_xy, factor), prompt.labels)
    if isinstance(prompt, Box):
        x0, y0, x1, y1 = (factor * value for value in prompt.box_xyxy)
        return Box((x0, y0, x1, y1), _scaled_points(prompt.points_xy, factor), prompt.labels)
    if isinstance(prompt, DiscMask):
        x, y = prompt.center_xy
        return DiscMask((factor * x, factor * y), factor * prompt.radius)
    raise TypeError("a mask of given pixels cannot be scaled")


def _scaled_points(points_xy: tuple[tuple[float, float], ...], factor: float) -> tuple[tuple[float, float], ...]:
    return tuple((factor * x, factor * y) for x, y in points_xy)
