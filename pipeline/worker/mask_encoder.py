"""Results of a session to rows, beside the model: a bounded number of frames is on its way at any time.

On a CPU a helper thread encodes the logits. On a GPU the device finds the runs (`pipeline.masks.from_logits_gpu`), one
copy for each frame begins at once, and the helper thread makes rows of what has arrived. Helpers never touch CUDA: the
thread that puts results in begins the copies and looks whether they are done.

Legend: B objects, H, W pixels.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from model import FrameResult, device_type, download, upsample_logits
from pipeline.errors import NotFinite
from pipeline.masks.from_logits import encode_logits, encode_masks
from pipeline.masks.from_logits_gpu import (
    DEFAULT_PACKING,
    Packing,
    logit_sums,
    margin_counts_on_host,
    pack_runs,
    stability,
    unpack_runs,
)
from pipeline.masks.parts import num_parts
from pipeline.masks.rle import Rle, Runs, rles_of_runs
from pipeline.masks.run_lengths import run_lengths
from pipeline.output.mask_rows import Mask, MaskRows, MaskSigns
from pipeline.records import FramePosition
from pipeline.worker.pointer_similarity import pointers_to_pack, similarities

# Frames whose masks wait for the encoding thread; bounds memory when encoding is slower than the model.
_MAX_WAITING_FRAMES = 4


class Copying(Protocol):
    """A copy from the device to the host that is under way; see `model.Download`."""

    def is_done(self) -> bool: ...

    def result(self) -> torch.Tensor: ...


T = TypeVar("T")
BeginCopy = Callable[[torch.Tensor], Copying]
Pack = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, tuple[int, int], Packing, Sequence[torch.Tensor]], torch.Tensor
]


class Positions(Protocol):
    """Where labeled frames lie in their video; see `pipeline.video.frames.VideoFrames`."""

    @property
    def size_hw(self) -> tuple[int, int]: ...

    def position(self, index: int) -> FramePosition: ...


@dataclass(frozen=True)
class _Encoded:
    """What a helper made of one frame; `None` for an object whose runs did not fit into the copy.

    `logit_sums` are not finite if a logit is not. Where a number is not finite, no mask was encoded. `num_parts` has
    None where `rles` has.
    """

    rles: list[Rle | None]
    object_scores: list[float]
    predicted_ious: list[float]
    logit_sums: list[float]
    stabilities: list[float | None]
    num_parts: list[int | None]
    pointer_similarities: list[float | None]

    def not_finite(self) -> int | None:
        """The first object of which a number is nan or inf, by its place in the frame's result."""
        numbers = zip(self.object_scores, self.predicted_ious, self.logit_sums, strict=True)
        return next((place for place, found in enumerate(numbers) if not all(map(math.isfinite, found))), None)


@dataclass
class _Waiting:
    """A result on its way: first the copy, on a GPU, then the helper's work."""

    result: FrameResult
    copying: Copying | None
    encoding: Future[_Encoded] | None = None


class MaskEncoder:
    """Turns results into rows. All methods are for one thread, the one that runs the model.

    On a GPU, `pack` makes the buffer of a frame, `packing` says how large it is, and `begin_copy` begins its copy.
    """

    def __init__(
        self,
        frames: Positions,
        rows: MaskRows,
        *,
        packing: Packing = DEFAULT_PACKING,
        pack: Pack = pack_runs,
        begin_copy: BeginCopy = download,
    ) -> None:
        self._frames = frames
        self._rows = rows
        self._packing = packing
        self._pack = pack
        self._begin_copy = begin_copy
        self._pool = ThreadPoolExecutor(1, "encode")
        self._waiting: deque[_Waiting] = deque()
        self.seconds = 0.0

    def __enter__(self) -> MaskEncoder:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def is_done(self) -> bool:
        """Whether the rows of every result are there. Takes what has come, and waits for nothing."""
        self._encode_arrived()
        while self._waiting and (encoding := self._waiting[0].encoding) is not None and encoding.done():
            self._take()
        return not self._waiting

    def finish(self) -> None:
        """Wait until the rows of every result are there."""
        while self._waiting:
            self._take()

    def beside(self, work: Callable[[], T]) -> Future[T]:
        """Have the helper thread do other work, after the frames that it was given."""
        return self._pool.submit(work)

    def put(self, result: FrameResult) -> int:
        """Encode the masks of one frame, waiting if too many are on their way; returns its frame index.

        Here and in `finish`, `NotFinite` is raised for a frame of which a number of the network is nan or inf.
        """
        waiting = _Waiting(result, None)
        if device_type(result.logits_BHW) != "cpu":
            scores_B, ious_B = result.object_scores_B, result.predicted_ious_B
            size_hw, along = self._frames.size_hw, pointers_to_pack(result)
            packed = self._pack(result.logits_BHW, scores_B, ious_B, size_hw, self._packing, along)
            waiting.copying = self._begin_copy(packed)
        self._waiting.append(waiting)
        self._encode_arrived()
        if len(self._waiting) > _MAX_WAITING_FRAMES:
            self._take()
        return self._frames.position(result.frame_index).frame_index or 0

    def _encode_arrived(self) -> None:
        """Hand the frames to the helper whose copies are here."""
        for one in self._waiting:
            if one.encoding is None and (one.copying is None or one.copying.is_done()):
                self._encode(one)

    def _encode(self, waiting: _Waiting) -> Future[_Encoded]:
        """Hand a frame to the helper, once. Waits for its copy from the device if that is still under way."""
        if waiting.encoding is None:
            if waiting.copying is None:
                waiting.encoding = self._pool.submit(self._encode_logits, waiting.result)
            else:
                waiting.encoding = self._pool.submit(self._encode_runs, waiting.copying.result(), waiting.result)
        return waiting.encoding

    def _encode_logits(self, result: FrameResult) -> _Encoded:
        started = time.perf_counter()
        scores = result.object_scores_B.float().tolist()
        encoded = _Encoded(
            [],
            scores,
            result.predicted_ious_B.float().tolist(),
            logit_sums(result.logits_BHW).tolist(),
            list(map(stability, *margin_counts_on_host(result.logits_BHW.float()))),
            [],
            similarities(result, scores),
        )
        if encoded.not_finite() is None:
            rles = encode_logits(result.logits_BHW, self._frames.size_hw)
            encoded.rles.extend(rles)
            encoded.num_parts.extend(num_parts([Runs(run_lengths(rle.counts)) for rle in rles], self._frames.size_hw))
        self.seconds += time.perf_counter() - started
        return encoded

    def _encode_runs(self, packed: torch.Tensor, result: FrameResult) -> _Encoded:
        started = time.perf_counter()
        size_hw = self._frames.size_hw
        frame = unpack_runs(packed, len(result.object_ids), size_hw, self._packing)
        alike = similarities(result, frame.object_scores, packed)
        whole = [runs for runs in frame.runs if runs is not None]
        made, counted = iter(rles_of_runs(whole, size_hw[0])), iter(num_parts(whole, size_hw))
        rles = [None if runs is None else next(made) for runs in frame.runs]
        parts = [None if runs is None else next(counted) for runs in frame.runs]
        self.seconds += time.perf_counter() - started
        return _Encoded(
            rles, frame.object_scores, frame.predicted_ious, frame.logit_sums, frame.stabilities, parts, alike
        )

    def _take(self) -> None:
        waiting = self._waiting[0]
        encoded = self._encode(waiting).result()
        self._waiting.popleft()
        result = waiting.result
        position = self._frames.position(result.frame_index)
        if (place := encoded.not_finite()) is not None:
            raise NotFinite(
                f"{position}, object {result.object_ids[place]}: the network's numbers are not finite (nan or inf); "
                "check the weights, or compute with model.dtype=float32"
            )
        for index, object_id in enumerate(result.object_ids):
            rle, parts = encoded.rles[index], encoded.num_parts[index]
            if rle is None:
                rle = self._encode_whole(result.logits_BHW[index : index + 1])
                (parts,) = num_parts([Runs(run_lengths(rle.counts))], self._frames.size_hw)
            self._rows.add(
                Mask(
                    object_id=object_id,
                    frame_index=position.frame_index or 0,
                    pts_seconds=position.pts_seconds,
                    rle_counts=rle.counts,
                    area=rle.area,
                    bbox_xywh=rle.bbox_xywh,
                    object_score=encoded.object_scores[index],
                    predicted_iou=encoded.predicted_ious[index],
                    is_prompt=result.is_prompt[index],
                    signs=MaskSigns(encoded.stabilities[index], parts, encoded.pointer_similarities[index]),
                )
            )

    def _encode_whole(self, logits_1HW: torch.Tensor) -> Rle:
        """A mask with more runs than the copy had room for: the whole mask comes to the host."""
        return encode_masks(upsample_logits(logits_1HW, self._frames.size_hw) > 0)[0]
