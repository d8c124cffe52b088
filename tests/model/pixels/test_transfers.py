"""Copies for which the host does not wait; on a CPU they are the identity."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.pixels.transfers import FrameBuffers, download, on_device, upload
from tests.support.gpus import Gpu
from tests.support.pretended_gpu import pretended_gpu

CPU = torch.device("cpu")


def test_on_a_cpu_nothing_is_copied_to_the_host() -> None:
    tensor = torch.arange(6)
    copying = download(tensor)
    assert copying.is_done()
    assert copying.result().data_ptr() == tensor.data_ptr()


def test_values_arrive_with_their_dtype() -> None:
    assert torch.equal(on_device([[1, 2]], CPU), torch.tensor([[1, 2]]))
    assert on_device(np.array([0.5]), CPU, torch.float32).dtype == torch.float32
    assert on_device(torch.tensor([True]), CPU).dtype == torch.bool


def test_frames_arrive_stacked() -> None:
    frames = [torch.full((4, 4, 3), value, dtype=torch.uint8) for value in (3, 5)]
    assert torch.equal(upload(frames, CPU), torch.stack(frames))


def test_a_cpu_has_no_buffers() -> None:
    buffers = FrameBuffers((4, 4, 3), CPU)
    pixels = torch.zeros(4, 4, 3, dtype=torch.uint8)
    assert buffers.fill(pixels) is pixels


def test_buffers_are_made_by_refill_only_and_filled_once_each() -> None:
    """A helper that fills allocates nothing: where no buffer is left, the pixels stay where they are."""
    frames = [torch.full((2, 2, 3), value, dtype=torch.uint8) for value in range(5)]
    with pretended_gpu():
        buffers = FrameBuffers((2, 2, 3), torch.device("cuda"), count=2)
        filled = [buffers.fill(frame) for frame in frames[:3]]
        assert [one.is_pinned() for one in filled] == [True, True, False]
        buffers.refill()
        filled += [buffers.fill(frame) for frame in frames[3:]]
        other_size = torch.zeros(3, 2, 3, dtype=torch.uint8)
        buffers.refill()
        assert buffers.fill(other_size) is other_size
    assert [bool(torch.equal(one, frame)) for one, frame in zip(filled, frames, strict=True)] == [True] * 5
    assert [one is frame for one, frame in zip(filled, frames, strict=True)] == [False, False, True, False, False]
    assert len({one.data_ptr() for one in filled}) == 5  # a frame that is still held is not written over


def test_on_a_gpu_no_copy_makes_the_host_wait(gpu: Gpu) -> None:
    device = torch.device("cuda")
    buffers = FrameBuffers((64, 64, 3), device)
    plain = [torch.full((64, 64, 3), value, dtype=torch.uint8) for value in (1, 2, 3)]
    frames = [buffers.fill(frame) for frame in plain]
    assert all(frame.is_pinned() for frame in frames)
    on_device([1], device)  # the first one starts the device
    with gpu.without_waits():
        there = upload([*frames, plain[0]], device)
        rows = on_device([3, 0], device)
        copying = download(there[rows])
        buffers.refill()
    assert torch.equal(copying.result(), torch.stack([plain[0], plain[0]]))


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_a_buffer_is_not_used_again_before_its_copy_is_done() -> None:
    device = torch.device("cuda")
    uploaded = []
    torch.cuda._sleep(200_000_000)  # the copies wait behind this
    for value in range(40):
        frame = torch.empty((256, 256, 3), dtype=torch.uint8, pin_memory=True).fill_(value)
        uploaded.append(upload([frame], device))
        del frame
    assert [int(one.float().mean()) for one in uploaded] == list(range(40))
