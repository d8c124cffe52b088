"""Found by search and pinned: what makes random weights reach the cases that a comparison needs.

The bias of the object score decides on how many frames an object counts as visible: it is set between the scores that
the frames of a case get, so that objects are hidden on some and come back. What a pinned pair must reach is said by
`tests.reference.gaps.assert_worth_comparing`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.reference.cases import Box, Case, Click, DiscMask, FramesSpec, Seed
from tests.reference.variants import ModelSpec, Size, Version


@dataclass(frozen=True)
class Pinned:
    """Seed of the weights, bias of the object score, and how many frames it takes to reach all that should be."""

    seed: int
    object_score_bias: float
    num_frames: int


PINNED: dict[tuple[Size, Version], Pinned] = {
    ("large", "2.1"): Pinned(18, -10.24, 3),
    ("base_plus", "2.1"): Pinned(1, -1.68, 3),
    ("small", "2.1"): Pinned(3, 5.93, 4),
    ("tiny", "2.0"): Pinned(2, -4.7, 6),
    ("tiny", "2.1"): Pinned(2, -4.67, 7),
}

# A click, a box, a box with clicks and a mask, all on the first frame; object ids are their places in this list.
PROMPTS = (
    Seed(0, 0, Click(((80.0, 100.0),), (1,))),
    Seed(1, 0, Box((140.0, 80.0, 220.0, 200.0))),
    Seed(2, 0, Box((60.0, 40.0, 150.0, 160.0), ((100.0, 100.0), (240.0, 30.0)), (1, 0))),
    Seed(3, 0, DiscMask((90.0, 100.0), 40.0)),
)


def pinned_model(size: Size, version: Version) -> ModelSpec:
    """The model at image_size 256 whose random weights are known to be worth comparing."""
    pinned = PINNED[size, version]
    return ModelSpec(size, version, 256, pinned.seed, pinned.object_score_bias)


def pinned_case(size: Size, version: Version) -> Case:
    """Four objects, one for each kind of prompt, over few frames."""
    return Case(pinned_model(size, version), FramesSpec(PINNED[size, version].num_frames, 256), PROMPTS)
