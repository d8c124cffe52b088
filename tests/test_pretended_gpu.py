"""The pretended GPU refuses what a real one refuses, and counts what makes the host wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from model.pixels.transfers import Download, download, on_device, upload
from tests.support.pretended_gpu import OnDevice, PretendedGpu, pretended_gpu

CUDA = torch.device("cuda")


@pytest.fixture
def gpu() -> Iterator[PretendedGpu]:
    with pretended_gpu() as made:
        yield made


def pinned(*values: int) -> torch.Tensor:
    return torch.tensor(values).pin_memory()


def test_tensors_say_that_they_are_on_a_gpu_and_compute(gpu: PretendedGpu) -> None:
    made = torch.arange(3, device=CUDA) * 2
    assert (type(made), made.device.type, made.is_cuda) == (OnDevice, "cuda", True)
    assert made.cpu().tolist() == [0, 2, 4]
    assert torch.tensor([1.5], device=CUDA).device.type == "cuda"
    view = made[1:]
    view += 5
    assert made.tolist() == [0, 7, 9]


def test_host_and_device_do_not_mix_but_for_numbers(gpu: PretendedGpu) -> None:
    there = torch.ones(3, device=CUDA)
    assert (there + torch.tensor(2.0)).tolist() == [3, 3, 3]
    with pytest.raises(RuntimeError, match="tensors of host and device are mixed"):
        there + torch.ones(3)
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()


@pytest.mark.parametrize(
    "waiting",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: torch.zeros(3).to(x.device),
        lambda x: torch.zeros(3).copy_(x),
        lambda x: x.copy_(torch.zeros(3)),
    ],
    ids=["item", "bool", "cpu", "tolist", "mask", "nonzero", "indexes", "to the device", "from it", "into it"],
)
def test_what_makes_the_host_wait_is_counted(waiting: Callable[[torch.Tensor], object], gpu: PretendedGpu) -> None:
    there = torch.ones(3, device=CUDA)
    with pytest.raises(AssertionError, match="the host waited"), gpu.without_waits():
        waiting(there)


def test_copies_through_pinned_memory_do_not_wait(gpu: PretendedGpu) -> None:
    with gpu.without_waits():
        there = upload([pinned(1, 2), torch.tensor([3, 4])], CUDA)
        copying = download(there[on_device([1, 0], CUDA)])
    assert copying.result().tolist() == [[3, 4], [1, 2]]


def test_a_copy_to_the_host_is_rubbish_before_it_is_waited_for(gpu: PretendedGpu) -> None:
    copying = download(torch.arange(3, device=CUDA))
    assert isinstance(copying, Download)
    assert not copying.is_done()
    assert copying._host.tolist() != [0, 1, 2]
    assert copying.result().tolist() == [0, 1, 2]


def test_a_source_that_is_written_to_before_its_copy_is_done_is_noticed(gpu: PretendedGpu) -> None:
    source = pinned(1, 2)
    there = source.to(CUDA, non_blocking=True)
    source.fill_(7)
    with pytest.raises(AssertionError, match="was written to before the copy was done"):
        there.tolist()


def test_helper_threads_may_not_use_it(gpu: PretendedGpu) -> None:
    there = torch.ones(3, device=CUDA)
    errors: list[BaseException] = []

    def use() -> None:
        try:
            there + 1
        except AssertionError as error:
            errors.append(error)

    helper = threading.Thread(target=use)
    helper.start()
    helper.join()
    assert "a helper thread uses the device" in str(errors[0])


def test_afterwards_there_is_no_gpu_but_a_real_one() -> None:
    before = torch.cuda.is_available()
    with pretended_gpu():
        assert torch.cuda.is_available()
        module = torch.nn.Linear(2, 2).to(CUDA)
    assert torch.cuda.is_available() is before
    assert module.weight.device.type == "cuda"
    assert type(torch.zeros(1) + 1) is torch.Tensor
