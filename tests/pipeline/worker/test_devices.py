"""Which device a config means, how the model runs there, and what a device's errors mean."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch

from model import CudaGraphs, Sam2, load_model
from pipeline.config.job_config import ModelConfig
from pipeline.errors import WorkerBroken
from pipeline.worker.devices import (
    choose_device,
    compute_exactly,
    describe_device,
    is_out_of_memory,
    is_poisoned,
    prepare_allocator,
    prepare_model,
)
from tests.support.pretended_gpu import pretended_gpu


def test_without_a_gpu_the_cpu_computes_in_float32() -> None:
    device, dtype = choose_device(ModelConfig(name="tiny", checkpoint="tiny"))
    assert (device.type, dtype) == ("cpu", torch.float32)
    assert describe_device(device, dtype) == "CPU (no GPU found), 1 thread, float32"
    assert choose_device(ModelConfig(name="tiny", checkpoint="tiny", dtype="bfloat16"))[1] == torch.bfloat16
    with pytest.raises(RuntimeError, match="torch finds no GPU here"):
        choose_device(ModelConfig(name="tiny", checkpoint="tiny", device="cuda"))


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_a_gpu_computes_in_bfloat16_if_it_has_it(capability: tuple[int, int], dtype: torch.dtype) -> None:
    """Turing cards (7.5) emulate it."""
    with pretended_gpu(capability):
        device, chosen = choose_device(ModelConfig(name="tiny", checkpoint="tiny"))
    assert (device.type, chosen) == ("cuda", dtype)


def test_float32_is_not_rounded_on_a_gpu_in_a_job_alone(rounding: Callable[[], tuple[bool, bool]]) -> None:
    compute_exactly(torch.device("cuda"), torch.bfloat16)
    compute_exactly(torch.device("cpu"), torch.float32)
    assert rounding() == (True, True)
    compute_exactly(torch.device("cuda"), torch.float32)
    assert rounding() == (False, False)


@pytest.mark.slow
def test_a_model_runs_as_the_config_says() -> None:
    plain, autocast, compiled = (
        ModelConfig(name="mini", checkpoint="mini", dtype=dtype, compile=is_compiled)  # type: ignore[arg-type]
        for dtype, is_compiled in (("float32", False), ("autocast", False), ("bfloat16", True))
    )
    model, other = load_model("mini"), load_model("mini")
    assert prepare_model(model, plain) is model
    assert model.regions is None
    assert prepare_model(load_model("mini"), autocast).mask_decoder.conv_s0.weight.dtype == torch.bfloat16
    assert prepare_model(model, compiled, lambda given: other if given is model else given) is other
    assert choose_device(autocast)[1] == torch.float32
    names = [describe_device(torch.device("cpu"), choose_device(one)[1], one) for one in (plain, autocast, compiled)]
    assert [name.partition("thread, ")[2] for name in names] == ["float32", "autocast", "bfloat16, compiled"]


def test_cuda_graphs_without_a_gpu_are_refused() -> None:
    config = ModelConfig(name="mini", checkpoint="mini", compile="graphs")
    with pytest.raises(RuntimeError, match=r"model\.compile=graphs records CUDA graphs.*give model\.compile=true"):
        prepare_model(load_model("mini"), config)


@pytest.mark.slow
def test_on_a_gpu_the_network_is_recorded_as_the_config_says() -> None:
    given: list[dict[str, object]] = []

    def compiled(model: Sam2, **how: object) -> Sam2:
        given.append(how)
        return model

    with pretended_gpu():
        model = load_model("mini", device="cuda")
        for kind in ("graphs", "both"):
            config = ModelConfig(name="mini", checkpoint="mini", compile=kind)  # type: ignore[arg-type]
            assert prepare_model(model, config, compiled) is model
    assert [how["backend"] for how in given] == [None, "inductor"]
    assert all(isinstance(how["capture"], CudaGraphs) for how in given)


def test_memory_of_a_gpu_grows_in_place_unless_the_environment_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch reads this when it first uses a GPU, so it may be set after torch was imported."""
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:64")
    prepare_allocator()
    assert "PYTORCH_CUDA_ALLOC_CONF" not in os.environ
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    prepare_allocator()
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"


@pytest.mark.parametrize(
    ("error", "out_of_memory", "poisoned"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True, False),
        (MemoryError(), True, False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"), True, False),
        (RuntimeError("could not create a primitive"), True, False),
        (RuntimeError("can't start new thread"), True, False),
        (torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True, False),
        (RuntimeError("CUDA driver error: out of memory"), True, False),
        (RuntimeError("CUDA driver error: unspecified launch failure"), False, True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True, False),
        (RuntimeError("Triton Error [CUDA]: unspecified launch failure"), False, True),
        (WorkerBroken("video 'a': MemoryError: "), False, True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), False, True),
        (torch.AcceleratorError("device-side assert"), False, True),
        (RuntimeError("shape mismatch"), False, False),
        (ValueError("CUDA error in a file's name"), False, False),
    ],
)
def test_errors_of_a_device_are_told_apart(error: Exception, out_of_memory: bool, poisoned: bool) -> None:
    assert (is_out_of_memory(error), is_poisoned(error)) == (out_of_memory, poisoned)


def test_a_torch_without_a_class_for_broken_devices_tells_by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "AcceleratorError")
    assert is_poisoned(RuntimeError("CUDA error: device-side assert triggered"))
    assert not is_poisoned(RuntimeError("shape mismatch"))
