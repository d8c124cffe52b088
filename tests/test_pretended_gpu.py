"""The pretended GPU refuses what a real one refuses, and counts what makes the host wait."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from model.hf.processing import Sam2VideoProcessor
from model.pixels.transfers import Download, download, on_device, upload
from model.tracking.session import VideoSession
from pipeline.config.job_config import ModelConfig
from pipeline.masks.from_logits_gpu import pack_runs
from pipeline.worker.devices import choose_device
from tests.support.gpus import VISIBLE, hidden_gpus
from tests.support.pretended_gpu import OnDevice, PretendedGpu, pretended_gpu
from tests.support.sessions import SMALL_SIZE, box, clip, frames_of, small

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


def label_there() -> None:
    """What the project computes on a GPU: frames and pictures to masks, and masks to runs."""
    with pretended_gpu():
        session = VideoSession(copy.deepcopy(small()).to(CUDA), frames_of(clip(2, 1)))
        session.add_prompt(1, 0, box(clip(2, 1), 1, 0))
        for result in session.propagate("forward"):
            pack_runs(result.logits_BHW, result.object_scores_B, result.predicted_ious_B, (48, 64))
        processor = Sam2VideoProcessor(target_size=SMALL_SIZE)
        processor.init_video_session(video=clip(2, 1).frames_THW3, inference_device="cuda")
        processor(images=clip(2, 1).frames_THW3[0], device="cuda")


@pytest.mark.slow
def test_nobody_keeps_tensors_of_a_gpu_that_is_gone() -> None:
    """A second one finds none of the first one's, nor would a real one after it."""
    label_there()
    label_there()
    gc.collect()
    kept = [one for one in gc.get_objects() if isinstance(one, OnDevice)]
    assert [tuple(one.shape) for one in kept] == []


@pytest.mark.slow
def test_tests_compute_on_the_cpu_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that ask for a GPU see it, and no process that another test starts does."""
    config = ModelConfig(name="mini", checkpoint="mini", dtype="float32")
    assert os.environ[VISIBLE] == ""
    assert choose_device(config)[0].type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv(VISIBLE, "3")
    with hidden_gpus() as shown:
        found = subprocess.run(
            [sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"],
            capture_output=True,
            check=True,
        )
        assert (choose_device(config)[0].type, found.stdout) == ("cpu", b"\n")
        with shown():
            assert (choose_device(config)[0].type, os.environ[VISIBLE]) == ("cuda", "3")
        assert choose_device(config)[0].type == "cpu"
    assert choose_device(config)[0].type == "cuda"
