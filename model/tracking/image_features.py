"""Image features of frames: how they are made, and which of them a session has at hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from model.network.features import ImageFeatures
from model.network.sam2 import Sam2
from model.pixels.transfers import on_device, upload
from model.pixels.transforms import normalize, resize_frame
from model.tracking.frame_groups import FrameGroups
from model.tracking.frames import Frame


class FeatureCache:
    """The image features that one session has at hand: those of the `limit` frames used last, and those of a walk.

    `groups` are the frames of the present walk, where that walk encodes several frames in one batch.
    """

    def __init__(self, model: Sam2, limit: int) -> None:
        self._model = model
        self._features: OrderedDict[int, ImageFeatures] = OrderedDict()
        self.limit = limit
        self.groups: FrameGroups | None = None

    def of(self, frame: Frame) -> ImageFeatures:
        """Image features of a frame, computed if they are not kept."""
        features = self._features.get(frame.index)
        if features is None:
            features = encode_frames(self._model, [frame])
            self.keep(frame.index, features)
        return features

    def at_hand(self, frame_index: int) -> ImageFeatures | None:
        """Image features of a frame that is to be tracked, if they are kept or the walk encodes several at a time."""
        features = self._features.get(frame_index)
        return features if features is not None or self.groups is None else self.groups.features(frame_index)

    def keep(self, frame_index: int, features: ImageFeatures) -> None:
        """Keeps the features of a frame, and drops those kept longest where they are more than `limit`."""
        self._features[frame_index] = features
        while len(self._features) > self.limit:
            self._features.popitem(last=False)

    def forget(self) -> None:
        """Drops all kept features."""
        self._features.clear()


def encode_frames(model: Sam2, frames: Sequence[Frame]) -> ImageFeatures:
    """Image features of several frames in one batch."""
    if any(frame.pixels_HW3.is_floating_point() for frame in frames):
        return model.encode_image(torch.cat([_network_input(model, frame) for frame in frames]))
    resized = [resize_frame(frame.pixels_HW3, model.config.image_size) for frame in frames]
    return model.encode_image(normalize(upload(resized, model.device), model.device, model.dtype, model.channel_levels))


def _network_input(model: Sam2, frame: Frame) -> Tensor:
    """A frame as the network takes it, `[1, 3, S, S]` with S the side of the model's square input."""
    size = model.config.image_size
    if not frame.pixels_HW3.is_floating_point():
        pixels = resize_frame(frame.pixels_HW3, size).unsqueeze(0)
        return normalize(pixels, model.device, model.dtype, model.channel_levels)
    return on_device(frame.pixels_HW3.permute(2, 0, 1), model.device, model.dtype).unsqueeze(0)
