"""Objects share batches that fit the device: by their memory tokens, and by what did not fit before."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model.network.config import named_config
from model.network.features import ImageFeatures, Segmentation
from model.network.memory_attention import Memories
from model.network.sam2 import Sam2
from model.tracking.session import VideoSession
from tests.support.sessions import LAST_BITS, Logits, by_object, click, clip, frames_of, gap, small, small_exact


class SmallDevice(Sam2):
    """A network on a device that holds the memories of `most` objects at a time; `batches` are those asked for."""

    def __init__(self, most: int) -> None:
        super().__init__(small_exact().config)
        self.to(torch.float64)
        self.memory_dtype = small_exact().memory_dtype
        self.load_state_dict(small_exact().state_dict())
        self.most = most
        self.batches: list[int] = []

    def segment(self, features: ImageFeatures, *, memory: Memories | None = None, **given: Any) -> Segmentation:
        if memory is not None:
            self.batches.append(len(memory.memory_BTM))
            if self.batches[-1] > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return super().segment(features, memory=memory, **given)


def _track(model: Sam2, num_frames: int = 4) -> Logits:
    video = clip(num_frames)
    session = VideoSession(model, frames_of(video))
    for object_id in range(5):
        session.add_prompt(object_id, 0, click(video, object_id % 2 + 1, 0))
    return by_object(session.propagate("forward"))


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_no_later_one_is_larger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = SmallDevice(most=2)
    assert gap(_track(small_exact()), _track(model)) <= LAST_BITS
    assert model.batches[:4] == [5, 2, 2, 1]
    assert max(model.batches[1:]) <= 2
    assert [record.getMessage() for record in caplog.records] == [
        "5 objects with 1 memories each do not fit the device: they are tracked half as many at a time"
    ]


@pytest.mark.slow
def test_one_object_that_does_not_fit_is_an_error() -> None:
    model = SmallDevice(most=0)
    with pytest.raises(torch.OutOfMemoryError):
        _track(model)
    assert model.batches == [5, 2, 1]


def test_a_batch_is_bounded_by_memory_tokens() -> None:
    """32 objects with full memories at the released size, and fewer where frames with prompts make memories longer."""
    with torch.device("meta"):
        model = Sam2(named_config("tiny"))
    assert [model.objects_with_memories(n, k) for n, k in ((1, 1), (7, 16), (56, 65), (306, 315))] == [32, 32, 4, 1]
    assert small().objects_with_memories(7, 16) == small().objects_per_batch  # a CPU's batches are smaller anyway


def test_what_did_not_fit_with_few_memories_leaves_room_for_batches_with_many() -> None:
    """With one memory, most of what an object takes is not its memory."""
    with torch.device("meta"):
        model = Sam2(named_config("tiny"))
    model.halve_batches(32, 1, 1)
    assert [model.objects_with_memories(n, k) for n, k in ((1, 1), (2, 2), (7, 16))] == [16, 11, 5]
