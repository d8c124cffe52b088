"""Copies between host and device for which the host does not wait. On a CPU each of them is the identity.

A plain copy, `torch.tensor(…, device="cuda")` included, makes the host wait for everything that the device has still to
do, unless the host's side is pinned memory and the copy is asked not to block. Torch's allocator of pinned memory marks
a block that takes part in such a copy with an event, and hands it out again only after that event. So a buffer may be
dropped while its copy is under way.

Helper threads never touch CUDA: the main thread allocates what is pinned, helpers fill it and read it.

Legend: F frames, H, W pixels of frames of one size.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_log = logging.getLogger(__name__)


def is_pinned_for(device: torch.device) -> bool:
    """Whether copies to and from a device need pinned memory, so as not to make the host wait."""
    return device.type == "cuda"


def on_device(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """`torch.tensor(values, dtype, device)` of a few numbers, or a tensor of the host brought there."""
    host = values if isinstance(values, Tensor) else torch.tensor(values, dtype=dtype)
    if is_pinned_for(device) and host.device.type == "cpu":
        host = _pinned_copy(host)
    there = host.to(device, non_blocking=True)
    # Converted there: torch would convert on the host, in memory that is not pinned.
    return there if dtype is None else there.to(dtype)


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """New pinned memory, or ordinary memory if the host has no more that can be pinned: then copies wait."""
    try:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)
    except RuntimeError as error:
        _tell_of_refusal(str(error))
        return torch.empty(tuple(shape), dtype=dtype)


def _pinned_copy(host: Tensor) -> Tensor:
    host = host.contiguous()
    try:
        return host.pin_memory()
    except RuntimeError as error:
        _tell_of_refusal(str(error))
        return host


@functools.lru_cache(maxsize=8)  # once for each error
def _tell_of_refusal(error: str) -> None:
    """A host may limit the memory that a process pins. If the device itself is broken, its next operation says so."""
    _log.warning(
        "the host refuses pinned memory (%s): copies to and from the GPU make the host wait; "
        "give the process more, by `ulimit -l` or the memory limit of its container",
        error.partition("\n")[0],
    )


MAX_PINNED_BYTES = 2 << 30
"""How much of what is put away is pinned: the system cannot use such memory for anything else."""

_num_pinned_bytes = 0


def put_away(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor on the device where it is kept, in `dtype` if one is given.

    From a GPU to the host it goes into pinned memory, for which the host does not wait. `on_device` may bring it back
    at any time, because the GPU does both in this order. The host must not read it before `settle`. Beyond 2 GiB it
    goes into ordinary memory, and the host waits.
    """
    tensor = tensor if dtype is None else tensor.to(dtype)
    if not is_pinned_for(tensor.device) or device.type != "cpu" or _num_pinned_bytes + tensor.nbytes > MAX_PINNED_BYTES:
        return tensor.to(device)
    host = _pinned(tensor.shape, tensor.dtype)
    if not host.is_pinned():
        return host.copy_(tensor)
    _count_pinned(host.nbytes)
    weakref.finalize(host, _count_pinned, -host.nbytes).atexit = False
    return host.copy_(tensor, non_blocking=True)


def _count_pinned(num_bytes: int) -> None:
    global _num_pinned_bytes
    _num_pinned_bytes += num_bytes


def settle(device: torch.device) -> None:
    """Waits until all that was put away from a device is there, so that the host may read it."""
    if is_pinned_for(device):
        torch.cuda.synchronize(device)


def upload(frames: Sequence[Tensor], device: torch.device) -> Tensor:
    """Pixels of F frames of one size on the device, `[F, …]`; frames that are in pinned memory need no other copy."""
    if not is_pinned_for(device):
        return torch.stack([frame.to(device) for frame in frames])
    there = torch.empty((len(frames), *frames[0].shape), dtype=frames[0].dtype, device=device)
    for row, frame in zip(there, frames, strict=True):
        needs_pinning = frame.device.type == "cpu" and not frame.is_pinned()
        # A copy to pinned memory keeps strides. From strides that are not the row's, torch copies twice more and waits.
        row.copy_(_pinned_copy(frame) if needs_pinning else frame, non_blocking=True)
    return there


class Download:
    """A tensor on its way to the host. For the thread that began it; what `result` gave is for any thread."""

    def __init__(self, host: Tensor, event: torch.cuda.Event | None) -> None:
        self._host = host
        self._event = event

    def is_done(self) -> bool:
        """Whether `result` needs no waiting."""
        return self._event is None or self._event.query()

    def result(self) -> Tensor:
        """The tensor on the host; waits until it is there."""
        if self._event is not None:
            self._event.synchronize()
        return self._host


def download(tensor: Tensor) -> Download:
    """Begins to copy a tensor to the host."""
    if not is_pinned_for(tensor.device):
        return Download(tensor, None)
    host = _pinned(tensor.shape, tensor.dtype)
    host.copy_(tensor, non_blocking=host.is_pinned())
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(tensor.device))
    return Download(host, event)


class FrameBuffers:
    """Pinned memory for frames of one size, which helper threads fill. For a CPU there is none.

    The main thread reserves as many buffers as frames can wait for it. A buffer is free until a helper fills it, and
    then waits until the main thread takes it or the frame is dropped. The main thread puts a new one in its place at
    once, so that no helper ever lacks one. Torch gives the memory of a frame out again when its copy is done.

    A frame that finds no buffer stays where it is: it is then copied once more, not wrongly. `num_missed` counts these
    frames. Helpers call `fill`, the main thread everything else.
    """

    def __init__(self, shape: Sequence[int], device: torch.device, count: int = 0) -> None:
        """`count`: buffers that are reserved from the beginning."""
        self._shape = tuple(shape)
        self._is_used = is_pinned_for(device)
        self._num_reserved = 0
        self._free: queue.SimpleQueue[Tensor] = queue.SimpleQueue()
        # By the id of a filled buffer. If the buffer is dropped before it is taken, the reference removes itself.
        self._waiting: dict[int, weakref.ref[Tensor]] = {}
        self._lock = threading.Lock()
        self.num_filled = 0
        self.num_missed = 0
        self.reserve(count)

    @property
    def num_reserved(self) -> int:
        """Buffers that are free or hold a frame that waits."""
        return self._num_reserved

    def reserve(self, count: int) -> None:
        """Have `count` buffers more; a negative number gives them back."""
        if self._is_used:
            self._num_reserved += count
            self.refill()

    def take(self, pixels: Tensor) -> None:
        """The main thread has this frame now: another buffer takes the place of its buffer."""
        if self._waiting.pop(id(pixels), None) is not None:
            self.refill()

    def refill(self) -> None:
        """Allocate buffers in place of those whose frames are gone, or free those that are too many."""
        while (num_lacking := self._num_reserved - self._free.qsize() - len(self._waiting)) > 0:
            if (buffer := self._new()) is None:
                return  # frames stay where they are
            self._free.put(buffer)
        try:
            for _ in range(-num_lacking):
                self._free.get_nowait()
        except queue.Empty:  # the rest hold frames that wait
            pass

    def fill(self, pixels: Tensor) -> Tensor:
        """The pixels in pinned memory, or as they are where there is none. Frames that wait pin no memory twice."""
        if not self._is_used:
            return pixels
        buffer = self._free_buffer(pixels)
        with self._lock:
            self.num_filled += buffer is not None
            self.num_missed += buffer is None
        if buffer is None:
            return pixels
        key = id(buffer)
        self._waiting[key] = weakref.ref(buffer, lambda _: self._waiting.pop(key, None))
        return buffer.copy_(pixels)

    def _free_buffer(self, pixels: Tensor) -> Tensor | None:
        if tuple(pixels.shape) != self._shape or pixels.dtype != torch.uint8:
            return None
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return None

    def _new(self) -> Tensor | None:
        buffer = _pinned(self._shape, torch.uint8)
        return buffer if buffer.is_pinned() else None
