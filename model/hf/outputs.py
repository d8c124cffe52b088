"""What the model returns: fields by attribute, by name and by position, as outputs of `transformers` give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


class NamedOutput(Mapping[str, Any]):
    """The base of outputs that are dataclasses: a mapping from the names of the fields, in their order, to the values.

    A number or a slice takes fields by position. Two outputs are equal where they are one and the same, because tensors
    do not compare as a whole.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def to_tuple(self) -> tuple[Any, ...]:
        """The values in the order of the fields."""
        return tuple(getattr(self, name) for name in self._names())

    def _names(self) -> list[str]:
        return [field.name for field in fields(self)]  # type: ignore[arg-type]  # every output is a dataclass


def usable(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Tensors that a user may change in place and train on. Those of torch's inference mode refuse both: copies."""
    return [tensor.clone() if tensor.is_inference() else tensor for tensor in tensors]


@dataclass(frozen=True, eq=False)
class Sam2VideoSegmentationOutput(NamedOutput):
    """The masks of all B objects of a session on one frame, in the order of `session.obj_ids`.

    `pred_masks` are logits `[B, 1, h, w]` of low resolution, -1024 where an object has not started;
    `object_score_logits` `[B, 1]` are above 0 where it is visible; `iou_scores` `[B]` are predicted IoUs, which
    `transformers` does not give.
    """

    object_ids: list[int]
    pred_masks: Tensor
    object_score_logits: Tensor
    frame_idx: int
    iou_scores: Tensor


@dataclass(frozen=True, eq=False)
class Sam2VideoImageFeatures(NamedOutput):
    """Features of N images at strides 4, 8 and 16 with their position codes, each `[H * W, N, C]`."""

    fpn_hidden_states: list[Tensor]
    fpn_position_encoding: list[Tensor]
