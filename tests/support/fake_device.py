"""A device with a clock of its own: work on it takes time and no processor, as that of a GPU does.

The launching thread puts work in a queue and goes on. It waits only where it asks for a result that is not there yet.
What is fake are the network and the finding of runs. Decoding, resizing, run-length codes and tables are real.

Legend: B objects, F frames, H, W pixels of the video, h w logits.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch

from model import FrameBuffers, FrameResult, FrameSource, Prompt, Step, resize_frame
from model.tracking.frame_groups import FrameGroups
from model.tracking.memory_bank import FORWARD
from model.tracking.state import SessionState
from pipeline.masks.from_logits_gpu import DEFAULT_PACKING, Packing, pack_runs
from pipeline.worker.equipment import Network, Stages
from pipeline.worker.labeler import label_steps
from pipeline.worker.mask_encoder import MaskEncoder
from tests.pipeline.masks.test_from_logits import blobs


@dataclass
class FakeDevice:
    """A queue of work. `busy_seconds` are those in which it works, since it began and up to the end of the queue."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep
    free_at: float = 0.0
    busy_seconds: float = 0.0
    begun_at: float = 0.0
    num_copied: int = 0

    def launch(self, seconds: float) -> None:
        """Queue work that takes so long. The caller does not wait."""
        now = self.now()
        self.begun_at = self.begun_at or now
        self.free_at = max(now, self.free_at) + seconds
        self.busy_seconds += seconds

    def download(self, packed: torch.Tensor) -> Arrival:
        """A copy to the host that is done when all that is queued is done."""
        return Arrival(self, packed, self.free_at)

    def upload(self, frames: Sequence[torch.Tensor]) -> None:
        """Bring frames to the device. One outside pinned memory costs the host a copy to there."""
        for frame in frames:
            if not getattr(frame, "is_in_pinned_memory", False):
                frame.contiguous().clone()
                self.num_copied += 1


@dataclass(frozen=True)
class Arrival:
    """See `FakeDevice.download`."""

    device: FakeDevice
    packed: torch.Tensor
    at: float

    def is_done(self) -> bool:
        """Whether the copy is here."""
        return self.device.now() >= self.at

    def result(self) -> torch.Tensor:
        """The copy; waits for it."""
        if (left := self.at - self.device.now()) > 0:
            self.device.sleep(left)
        return self.packed


class Buffers(FrameBuffers):
    """Buffers that count as pinned, on a machine without a GPU."""

    def _new(self) -> torch.Tensor:
        buffer = torch.empty(self._shape, dtype=torch.uint8)
        cast(Any, buffer).is_in_pinned_memory = True
        return buffer


@dataclass
class Session:
    """Follows objects through the frames as `VideoSession` does, in aligned groups, and computes nothing."""

    device: FakeDevice
    frames: FrameSource
    encode_ahead: int
    encode_seconds: float
    object_ids: list[int] = field(default_factory=list)
    prompted: set[int] = field(default_factory=set)
    groups: FrameGroups | None = None

    def add_prompt(self, object_id: int, frame_index: int, prompt: Prompt) -> None:
        """Follow an object from this frame on."""
        self.object_ids.append(object_id)
        self.prompted.add(frame_index)

    def walk(self, direction: str, *, resume: bool = False) -> Iterator[Step]:
        """One step for each frame."""
        assert direction == "forward"
        for frame in self.frames.at(sorted(self.prompted)):
            self._encode([frame])
        self.groups = FrameGroups(
            self.frames, min(self.prompted), FORWARD, self.encode_ahead, self._encode, lambda _: True
        )
        for frame in self.groups:
            yield Step(cast(SessionState, self), frame, FORWARD, (), ())

    def to_bytes(self) -> bytes:
        """Nothing is worth saving."""
        return b""

    def _encode(self, frames: Sequence[Any]) -> Any:
        self.device.upload([frame.pixels_HW3 for frame in frames])
        self.device.launch(self.encode_seconds * len(frames))
        return _Features()


class _Features:
    def frame(self, row: int) -> _Features:
        return self


@dataclass(frozen=True)
class FakeNetwork(Network):
    """A network that takes `encode_seconds` a frame in groups, and `track_seconds` more for each step."""

    image_size: int = 1024
    clock: FakeDevice = field(default_factory=FakeDevice)
    encode_seconds: float = 0.001
    track_seconds: float = 0.003

    def resize(self, pixels_HW3: torch.Tensor) -> torch.Tensor:
        """A frame as the network would take it."""
        return resize_frame(pixels_HW3, self.image_size)

    def new_session(self, frames: FrameSource, *arguments: Any, **options: Any) -> Any:
        """A session on the fake device."""
        return Session(self.clock, frames, self.encode_ahead, self.encode_seconds)

    def advance(self, steps: Sequence[Step]) -> list[FrameResult]:
        """One frame of each session, with logits that lie on no device."""
        results = []
        for step in steps:
            session = cast(Session, step.state)
            assert session.groups is not None
            session.groups.features(step.frame.index)
            num_objects = len(session.object_ids)
            logits, scores, ious = (
                torch.empty(shape, device="meta") for shape in ((num_objects, 256, 256), num_objects, num_objects)
            )
            is_prompt = (step.frame.index in session.prompted,) * num_objects
            ids = tuple(session.object_ids)
            results.append(FrameResult(step.frame.index, ids, logits, scores, ious, is_prompt, session.frames.size_hw))
        self.clock.launch(self.track_seconds * len(steps))
        return results

    def draw_masks(self, num_objects: int, size_hw: tuple[int, int]) -> None:
        """Draw the masks of all frames now, which takes 0.3 s and would count for the first frame otherwise."""
        _packed(num_objects, size_hw, DEFAULT_PACKING)

    def stages(self) -> Stages:
        """What a worker labels with on this device."""
        make_encoder = partial(MaskEncoder, pack=_pack, begin_copy=self.clock.download)
        return Stages(
            load_network=lambda _: self,
            label_steps=partial(label_steps, make_encoder=make_encoder),
            advance=self.advance,
        )


def fake_network(videos_in_flight: int = 4, image_size: int = 1024, encode_ahead: int = 8) -> FakeNetwork:
    """A network for square inputs of `image_size` pixels, whose frames wait in memory that counts as pinned."""
    buffers = Buffers((image_size, image_size, 3), torch.device("cuda"))
    return FakeNetwork(cast(Any, None), "a fake device", encode_ahead, buffers, videos_in_flight, image_size=image_size)


def _pack(
    logits_Bhw: torch.Tensor,
    object_scores_B: torch.Tensor,
    predicted_ious_B: torch.Tensor,
    size_hw: tuple[int, int],
    packing: Packing = DEFAULT_PACKING,
    along: Sequence[torch.Tensor] = (),
) -> torch.Tensor:
    assert not along, "results of this device have no pointers"
    return _packed(len(logits_Bhw), size_hw, packing)


@functools.cache
def _packed(num_objects: int, size_hw: tuple[int, int], packing: Packing) -> torch.Tensor:
    """The runs of drawn masks, which each frame has."""
    ones = torch.ones(num_objects)
    return pack_runs(blobs(num_objects, seed=0), ones, ones, size_hw, packing)
