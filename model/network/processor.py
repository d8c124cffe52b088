"""Which instructions the processor has, as far as the table of `model.network.kernels` asks.

Torch and oneDNN can be held back to older instructions by environment variables, and are believed here as they are
held back: `ATEN_CPU_CAPABILITY` and `ONEDNN_MAX_CPU_ISA`.
"""

from __future__ import annotations

import functools
import os
import platform
import warnings
from pathlib import Path
from typing import Literal, NamedTuple

import torch

Instructions = Literal["avx2", "avx512", "avx512 with bfloat16", "other"]

_X86 = ("x86_64", "amd64", "i386", "i686")
# Names of ONEDNN_MAX_CPU_ISA that leave oneDNN no product in bfloat16 of the processor's own: it emulates one.
_ONEDNN_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


class Processor(NamedTuple):
    """What decides which library computes a product: the instructions, and whether Intel made the processor.

    MKL takes AVX-512 on processors of Intel alone.
    """

    instructions: Instructions
    is_intel: bool

    @property
    def has_bfloat16(self) -> bool:
        """Whether products in bfloat16 are faster than those in float32, and not emulated."""
        if self.instructions == "other":  # such as ARM
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) if torch.backends.mkldnn.is_available() else False
        return self.instructions == "avx512 with bfloat16"


@functools.cache
def processor() -> Processor:
    """The processor of this machine."""
    if platform.machine().lower() not in _X86:
        return Processor("other", is_intel=False)
    return Processor(_instructions(), _is_intel(Path("/proc/cpuinfo")))


def emulates_bfloat16(device: torch.device | str) -> bool:
    """Whether a device is a CPU without products in bfloat16 of its own; `model.network.kernels` takes float32's."""
    return torch.device(device).type == "cpu" and not processor().has_bfloat16


def warn_of_emulation(device: torch.device | str, dtype: torch.dtype) -> None:
    """Warns whoever asks for bfloat16 where it is no faster than float32 and less exact."""
    if dtype == torch.bfloat16 and emulates_bfloat16(device):
        warnings.warn(
            "bfloat16 was asked for on a CPU that has no instructions for it: products are computed in float32 and "
            "rounded to bfloat16, which is slower than float32 and less exact; give dtype=torch.float32, without "
            "autocast",
            stacklevel=3,
        )


def _instructions() -> Instructions:
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "avx2"  # or less: no product in bfloat16 either
    most = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL"
    if most.upper() in _ONEDNN_WITHOUT_BFLOAT16 or not torch.cpu._is_avx512_bf16_supported():
        return "avx512"
    return "avx512 with bfloat16"


def _is_intel(cpuinfo: Path) -> bool:
    """By the vendor's name that the processor gives; where the system has no such file, by Python's description."""
    try:
        return "GenuineIntel" in cpuinfo.read_text()
    except OSError:
        return "Intel" in platform.processor()
