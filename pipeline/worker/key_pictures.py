"""Key frames at the size of the video, kept beside the frames that are resized for the model: crops are cut from them.

They are caught where each frame is converted anyway, in the thread that decodes, so that nothing is decoded twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from model import Frame
from pipeline.arrays import UInt8Array
from pipeline.seeds.walk import IsKey


class KeyPictures:
    """Whole key frames between the thread that decodes them and the walk that looks at them, each taken once.

    As many wait as frames are decoded ahead (`pipeline.video.frames`). `is_key` is set before frames are decoded.
    """

    def __init__(self) -> None:
        self.is_key: IsKey = lambda _: False
        self._is_open = True
        self._waiting: dict[int, torch.Tensor] = {}

    def keep(self, index: int, pixels_HW3: torch.Tensor) -> None:
        """Keeps a key frame until it is taken; called where frames are converted, in ascending order."""
        if self._is_open and self.is_key(index):
            self._waiting[index] = pixels_HW3

    def take(self, frame: Frame) -> UInt8Array:
        """The pixels of a key frame that has been handed over, uint8 RGB `[H, W, 3]`."""
        pixels: UInt8Array = self._waiting.pop(frame.index).numpy()
        return pixels

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Around the walk that takes the key frames; it may be begun again. Later walks look at none."""
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False
            self._waiting.clear()
