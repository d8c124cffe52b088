"""The first and the last frame that a video has masks on: their digests, made of pixels that are decoded anyway.

Which frame is the last one is known at the end only. The newest frame is kept until then, at the size of the video, and
hashed in a helper thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import torch

from pipeline.arrays import UInt8Array
from pipeline.errors import describe
from pipeline.records import FramePosition
from pipeline.redact import redact
from pipeline.video.frame_digest import frame_digest

_log = logging.getLogger(__name__)

COLUMNS = {end: (f"{end}_frame_index", f"{end}_pts_seconds", f"{end}_frame_sha256") for end in ("first", "last")}
"""The columns of `videos` that tell of both frames."""


class WholeFrames(Protocol):
    """Frames at the size of their video; see `pipeline.video.frames.VideoFrames`."""

    def find(self, position: FramePosition) -> int | None: ...

    def pixels_at(self, indexes: Sequence[int]) -> Iterator[tuple[int, UInt8Array]]: ...


class EndFrames:
    """Sees all frames of one video that are decoded for the model, in any thread, and hashes few of them.

    Digests are kept by the label of their frame, so that a frame never gets that of another one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: set[int] = set()
        self._newest: tuple[int, torch.Tensor] | None = None
        self._digests: dict[int, str] = {}

    def expect(self, labels: Iterable[int]) -> None:
        """Have these frames hashed when they come: each may be the first or the last one. Call it before they do."""
        self._expected.update(labels)

    def see(self, label: int, pixels_HW3: torch.Tensor) -> None:
        """Take note of a frame, uint8 RGB; called where frames are converted."""
        with self._lock:
            if self._newest is None or label >= self._newest[0]:
                self._newest = label, pixels_HW3
            is_expected = label in self._expected
            self._expected.discard(label)
        if is_expected:
            self._digests[label] = frame_digest(pixels_HW3.numpy())

    def settle(self, frames: WholeFrames, masks: pa.Table) -> None:
        """Know the digests of the first and the last frame of `masks`. To be called in a helper thread, at the end.

        A frame that was not expected is decoded once more: as in a video that goes on where it was saved, or whose
        first object failed. What keeps it from being read is logged, because the masks are whole without it.
        """
        try:
            found = pc.min_max(masks["frame_index"]).as_py().values() if masks.num_rows else ()
            labels = [frames.find(FramePosition(index, None)) for index in sorted(set(found))]
            with self._lock:
                newest, self._newest = self._newest, None
            if newest is not None and newest[0] in labels and newest[0] not in self._digests:
                self._digests[newest[0]] = frame_digest(newest[1].numpy())
            missing = [label for label in labels if label is not None and label not in self._digests]
            for label, pixels_HW3 in frames.pixels_at(missing) if missing else ():
                self._digests[label] = frame_digest(pixels_HW3)
        except Exception as error:  # noqa: BLE001 - nothing else depends on a digest
            _log.info("no digest of the first or last frame: %s", redact(describe(error)))

    def columns(self, frames: WholeFrames, masks: pa.Table, former: Mapping[str, Any] | None) -> dict[str, Any]:
        """The columns of `videos` for the masks of a video; none without masks.

        `former` is the row that the video had before a round of reviews: its digests hold for the same frames.
        """
        if not masks.num_rows:
            return {}
        found: dict[str, Any] = {}
        for (end, names), index in zip(COLUMNS.items(), pc.min_max(masks["frame_index"]).as_py().values(), strict=True):
            label = frames.find(FramePosition(index, None))
            digest = None if label is None else self._digests.get(label)
            if digest is None and former is not None and former[f"{end}_frame_index"] == index:
                digest = former[f"{end}_frame_sha256"]
            pts_seconds = masks["pts_seconds"][pc.index(masks["frame_index"], index).as_py()].as_py()
            found |= dict(zip(names, (index, pts_seconds, digest), strict=True))
        return found
