"""Copies for which the host does not wait; on a CPU they are the identity."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.pixels import transfers
from model.pixels.transfers import FrameBuffers, download, on_device, put_away, settle, upload
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


def small_frames(count: int) -> list[torch.Tensor]:
    return [torch.full((2, 2, 3), value, dtype=torch.uint8) for value in range(count)]


def test_a_helper_allocates_nothing_so_a_frame_without_a_buffer_stays_where_it_is_and_is_counted() -> None:
    frames = small_frames(3)
    with pretended_gpu():
        buffers = FrameBuffers((2, 2, 3), torch.device("cuda"), count=2)
        filled = [buffers.fill(frame) for frame in frames]
        assert [one.is_pinned() for one in filled] == [True, True, False]
        assert filled[2] is frames[2]
        buffers.refill()  # two frames wait and hold what is reserved
        assert buffers.fill(frames[2]) is frames[2]
        buffers.reserve(1)
        assert buffers.fill(frames[2]).is_pinned()
        other_size = torch.zeros(3, 2, 3, dtype=torch.uint8)
        assert buffers.fill(other_size) is other_size
        assert (buffers.num_filled, buffers.num_missed) == (3, 3)
    assert all(torch.equal(one, frame) for one, frame in zip(filled, frames, strict=True))
    assert len({one.data_ptr() for one in filled}) == 3


def test_a_buffer_that_is_taken_or_dropped_is_replaced_and_none_is_written_over() -> None:
    frames = small_frames(20)
    with pretended_gpu():
        buffers = FrameBuffers((2, 2, 3), torch.device("cuda"), count=2)
        held = []
        for first, second in zip(frames[::2], frames[1::2], strict=True):
            held.append(buffers.fill(first))
            dropped = buffers.fill(second)
            del dropped
            buffers.take(held[-1])
            buffers.take(frames[0])  # no buffer
        assert buffers.num_missed == 0
        assert all(torch.equal(one, frame) for one, frame in zip(held, frames[::2], strict=True))


def test_buffers_that_are_given_back_are_freed() -> None:
    with pretended_gpu() as gpu:
        buffers = FrameBuffers((2, 2, 3), torch.device("cuda"), count=4)
        waiting = buffers.fill(small_frames(1)[0])
        assert gpu.num_pinned == 4
        buffers.reserve(-4)
        assert (gpu.num_pinned, buffers.num_reserved) == (1, 0)
        buffers.take(waiting)
        del waiting
        assert gpu.num_pinned == 0


@pytest.mark.parametrize("layout", ["planar", "every second column"])
def test_pixels_of_any_layout_are_pinned_in_the_layout_of_the_device(layout: str) -> None:
    """Torch copies strides that differ from the device's by way of two more copies, for which the host waits."""
    planar = torch.arange(48, dtype=torch.uint8).view(3, 4, 4).permute(1, 2, 0)
    frame = planar if layout == "planar" else torch.arange(96, dtype=torch.uint8).view(4, 8, 3)[:, ::2]
    with pretended_gpu() as gpu:
        with gpu.without_waits():
            there = upload([frame, frame], torch.device("cuda"))
            alone = on_device(frame, torch.device("cuda"))
        assert torch.equal(there.cpu(), torch.stack([frame, frame]))
        assert torch.equal(alone.cpu(), frame)


def test_a_host_that_refuses_pinned_memory_is_told_of_once_and_copies_wait(caplog: pytest.LogCaptureFixture) -> None:
    frames, device = small_frames(3), torch.device("cuda")
    transfers._tell_of_refusal.cache_clear()
    with pretended_gpu() as gpu:
        gpu.refuses_pinned = True
        buffers = FrameBuffers((2, 2, 3), device, count=2)
        assert buffers.fill(frames[0]) is frames[0]
        there = upload(frames, device)
        assert download(there).result().tolist() == torch.stack(frames).tolist()
        kept = put_away(there, CPU)
        assert kept.tolist() == on_device([frame.tolist() for frame in frames], device).tolist()
        gpu.refuses_pinned = False  # others have given some back
        buffers.refill()
        assert buffers.fill(frames[0]).is_pinned()
    assert (buffers.num_filled, buffers.num_missed) == (1, 1)
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == ["the host refuses pinned memory"]


def test_on_a_gpu_no_copy_makes_the_host_wait(gpu: Gpu) -> None:
    device = torch.device("cuda")
    buffers = FrameBuffers((64, 64, 3), device, count=3)
    plain = [torch.full((64, 64, 3), value, dtype=torch.uint8) for value in (1, 2, 3)]
    frames = [buffers.fill(frame) for frame in plain]
    assert all(frame.is_pinned() for frame in frames)
    on_device([1], device)  # the first one starts the device
    with gpu.without_waits():
        there = upload([*frames, plain[0]], device)
        rows = on_device([3, 0], device)
        copying = download(there[rows])
        buffers.take(frames[0])
    assert torch.equal(copying.result(), torch.stack([plain[0], plain[0]]))


def test_what_is_put_away_on_the_host_comes_back_without_a_wait(gpu: Gpu) -> None:
    there = torch.arange(8, device="cuda", dtype=torch.float32)
    on_device([1], torch.device("cuda"))
    with gpu.without_waits():
        kept = put_away(there * 2, CPU, torch.float16)
        back = on_device(kept, torch.device("cuda"), torch.float32)
    assert (kept.device.type, kept.dtype, kept.is_pinned()) == ("cpu", torch.float16, True)
    assert back.tolist() == [2.0 * value for value in range(8)]
    settle(torch.device("cuda"))
    assert kept.tolist() == back.tolist()


def test_only_so_much_is_put_into_pinned_memory(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dropped makes room for more."""
    monkeypatch.setattr("model.pixels.transfers.MAX_PINNED_BYTES", 64)
    there = torch.arange(12, device="cuda", dtype=torch.float32)
    kept = [put_away(there, CPU), put_away(there, CPU)]
    assert [one.is_pinned() for one in kept] == [True, False]
    assert kept[1].tolist() == there.tolist()
    del kept
    assert put_away(there, CPU).is_pinned()


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
