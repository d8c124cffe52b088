"""Which device and number format a worker computes with, and what the errors of a device mean."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

import torch

from model import CudaGraphs, Sam2, autocast_model, compile_model
from pipeline.config.job_config import ModelConfig
from pipeline.errors import WorkerBroken

# Under autocast the weights are loaded in float32; `prepare_model` rounds those of the products.
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "autocast": torch.float32,
}
# What torch, oneDNN and Python say when memory is missing. oneDNN's "could not …" names no cause, but memory is all
# that can be missing for a shape that it has computed before.
_HOST_OUT_OF_MEMORY = (
    "can't allocate memory",
    "could not create a primitive",
    "could not create a memory",
    "could not execute a primitive",
    "can't start new thread",
)
# What is said of memory that torch's allocator does not hand out: of a kernel when it is first used, of a library's
# handle, of pinned memory. Torch keeps what it frees, and what `free_memory` gives back may be enough.
_DEVICE_OUT_OF_MEMORY = (
    *("CUDA error: out of memory", "CUDA driver error: out of memory", "Triton Error [CUDA]: out of memory"),
    *("_STATUS_ALLOC_FAILED", "_ALLOCATION_FAILED"),
)
_COMPILED = {False: "", True: ", compiled", "graphs": ", CUDA graphs", "both": ", compiled, CUDA graphs"}
_FIRST_WITH_BFLOAT16 = (8, 0)  # compute capability
_CUDA_ERRORS = (
    *("CUDA error", "CUDA driver error", "cuDNN error", "CUBLAS_STATUS", "Triton Error [CUDA]"),
    *("device-side assert", "illegal memory access"),
)


def choose_device(model: ModelConfig) -> tuple[torch.device, torch.dtype]:
    """The device and dtype that a config means on this machine. Raises `RuntimeError` if it asks for a missing GPU."""
    has_cuda = torch.cuda.is_available()
    if model.device == "cuda" and not has_cuda:
        raise RuntimeError(
            "model.device=cuda, but torch finds no GPU here: install a CUDA build of torch, or leave model.device out "
            "to compute on the CPU"
        )
    device = torch.device("cuda" if has_cuda and model.device != "cpu" else "cpu")
    if model.dtype == "auto":
        return device, torch.bfloat16 if _computes_with_bfloat16(device) else torch.float32
    return device, _DTYPES[model.dtype]


def _computes_with_bfloat16(device: torch.device) -> bool:
    """Whether it is a GPU with bfloat16 of its own; older ones emulate it, slowly and without fast attention."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= _FIRST_WITH_BFLOAT16


def check_numbers(model: ModelConfig, device: torch.device) -> None:
    """Raises `RuntimeError` if the driver chose bfloat16 for GPUs that compute with it, and this device is none.

    float32 is right everywhere.
    """
    if model.dtype == "bfloat16" and not _computes_with_bfloat16(device):
        here = describe_device(device, torch.float32).rpartition(",")[0]
        raise RuntimeError(
            f"this job computes in bfloat16, which model.dtype=auto meant, and a worker would compute in float32 "
            f"({here}): leave its node out, or give model.dtype=bfloat16 or model.dtype=float32 for all"
        )


def compute_exactly(device: torch.device, dtype: torch.dtype) -> None:
    """Have this process compute float32 on a GPU in float32, for a job with that dtype.

    Torch rounds the inputs of convolutions to TF32 by default, and those of products where it was asked to. The old
    names of these settings are used: the compiler of torch 2.9 and 2.10 reads them and refuses a mixture with new ones.
    """
    if device.type == "cuda" and dtype == torch.float32:
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def prepare_allocator() -> None:
    """Have torch's memory of a GPU grow in place, because the sizes of its tensors change while memories fill.

    To be called before anything lies there. What the environment says already is left alone.
    """
    if not os.environ.get("PYTORCH_ALLOC_CONF"):
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def prepare_model(model: Sam2, config: ModelConfig, compiled: Callable[..., Sam2] = compile_model) -> Sam2:
    """The model as a config wants it to run: under autocast, compiled. Changes and returns the same model.

    Raises `RuntimeError` if CUDA graphs are asked for without a GPU.
    """
    if config.dtype == "autocast":
        autocast_model(model)
    if not config.compile:
        return model
    if config.compile is True:
        return compiled(model)
    if model.device.type != "cuda":
        raise RuntimeError(
            f"model.compile={config.compile} records CUDA graphs, and the network runs on the CPU: give "
            "model.compile=true or leave it out"
        )
    return compiled(model, backend=None if config.compile == "graphs" else "inductor", capture=CudaGraphs())


def describe_device(device: torch.device, dtype: torch.dtype, config: ModelConfig | None = None) -> str:
    """For the log: `NVIDIA H100, bfloat16` or `CPU (no GPU found), 1 thread, float32`; `autocast`, `compiled`."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        found = "" if torch.cuda.is_available() else " (no GPU found)"
        name = f"CPU{found}, {threads} thread{'s' if threads > 1 else ''}"
    words = str(dtype).removeprefix("torch.")
    if config is not None and config.dtype == "autocast":
        words = "autocast"
    return f"{name}, {words}{'' if config is None else _COMPILED[config.compile]}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the video was too large for the device or the process. Another video may still fit."""
    if isinstance(error, torch.OutOfMemoryError) or is_out_of_host_memory(error):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _DEVICE_OUT_OF_MEMORY)


def is_out_of_host_memory(error: BaseException) -> bool:
    """Whether the process or its machine has no memory left. Another video may have used it up."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _HOST_OUT_OF_MEMORY)


def is_poisoned(error: BaseException) -> bool:
    """Whether this process can compute nothing any more: `WorkerBroken`, or any CUDA error but out of memory."""
    if isinstance(error, WorkerBroken):
        return True
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    # A torch without `AcceleratorError` raises plain ones with these words.
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or any(
        words in str(error) for words in _CUDA_ERRORS
    )


def free_memory() -> None:
    """Give unused memory back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
