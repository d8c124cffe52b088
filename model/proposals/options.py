"""What `segment_everything` looks for: grids of clicks, which masks are kept, and which are the same thing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["all", "sa_v", "sam2"]


@dataclass(frozen=True)
class Grids:
    """Grids of clicks: n² on the image, and n² on each crop of further layers.

    Layer i has (2^i)² crops, which overlap by `overlap` · 2 / 2^i of the image's short side, as in `sam2`.
    """

    points_per_side: tuple[int, ...] = (32,)
    overlap: float = 512 / 1500

    def __post_init__(self) -> None:
        if not isinstance(self.points_per_side, tuple | list):
            raise TypeError(f"points_per_side: expected numbers, one a layer, as (32,), got {self.points_per_side!r}")
        if not self.points_per_side or any(count < 1 for count in self.points_per_side):
            raise ValueError(f"points_per_side: expected numbers from 1, one a layer, got {self.points_per_side}")
        if len(self.points_per_side) > 4:
            raise ValueError(f"points_per_side: 4 layers have 85 crops, more are not looked at: {self.points_per_side}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap: expected a share of the short side, 0 … 1, got {self.overlap:g}")


@dataclass(frozen=True)
class Kept:
    """Which masks are kept: by what the network predicts, and by their size in pixels of the image.

    `stability` is the IoU of the masks at logits of plus and minus `stability_offset`. `min_region_area` removes parts
    and fills holes that are smaller. `max_area_share` leaves out masks of nearly the whole image.
    """

    min_predicted_iou: float = 0.8
    min_stability: float = 0.95
    stability_offset: float = 1.0
    min_area: int = 0
    max_area_share: float = 1.0
    min_region_area: int = 0

    def __post_init__(self) -> None:
        for name in ("min_predicted_iou", "min_stability", "max_area_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 … 1, got {getattr(self, name)}")
        for name in ("stability_offset", "min_area", "min_region_area"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Duplicates:
    """Which masks are the same thing: of two whose IoU is above `max_iou`, the one that scores higher is kept.

    `by` compares masks, or, as `sam2` does, only their boxes: that is cheaper and loses what lies within a box of equal
    size. `nested` says what becomes of a mask that lies within a larger one (`max_inside` of its area) and is not the
    same: parts of things are kept by default.
    """

    by: Literal["masks", "boxes"] = "masks"
    max_iou: float = 0.8
    nested: Literal["keep", "drop"] = "keep"
    max_inside: float = 0.9

    def __post_init__(self) -> None:
        for name in ("max_iou", "max_inside"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected above 0 and up to 1, got {getattr(self, name)}")
        if self.by not in ("masks", "boxes") or self.nested not in ("keep", "drop"):
            raise ValueError(f"by: masks or boxes, nested: keep or drop, got {self.by!r} and {self.nested!r}")


@dataclass(frozen=True)
class Everything:
    """All options of `segment_everything`; `max_objects` keeps the best by predicted IoU times stability."""

    grids: Grids = field(default_factory=Grids)
    kept: Kept = field(default_factory=Kept)
    duplicates: Duplicates = field(default_factory=Duplicates)
    max_objects: int | None = None

    def __post_init__(self) -> None:
        if self.max_objects is not None and self.max_objects < 0:
            raise ValueError(f"max_objects: expected 0 or more, or None for all, got {self.max_objects}")


def everything(mode: Mode = "all", points_per_side: Sequence[int] | int | None = None) -> Everything:
    """The options of a mode.

    `all`: each thing once, by its mask, without specks of fewer than 200 pixels and without the whole image.
    `sa_v`: the grids and the clean-up by which the automatic masklets of SA-V were made (arXiv 2408.00714, appendix):
    32² clicks on the image, 16² on each of 4 crops, 4² on each of 16, and small parts and holes removed.
    `sam2`: the rules of its `SAM2AutomaticMaskGenerator`, with its defaults. Raises `ValueError` for another mode.
    """
    tidy = Kept(min_area=200, max_area_share=0.9, min_region_area=200)
    modes = {
        "all": Everything(Grids(), tidy),
        "sa_v": Everything(Grids((32, 16, 4)), tidy),
        "sam2": Everything(Grids(), Kept(), Duplicates("boxes", max_iou=0.7)),
    }
    if mode not in modes:
        raise ValueError(f"mode: expected one of {', '.join(modes)}, got {mode!r}")
    chosen = modes[mode]
    if points_per_side is None:
        return chosen
    sides = tuple(points_per_side) if isinstance(points_per_side, Iterable) else (points_per_side,)
    return Everything(Grids(sides), chosen.kept, chosen.duplicates)
