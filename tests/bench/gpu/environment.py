"""What the check runs on."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch

from tests.bench.gpu.subjects import Options
from tests.bench.report import version

_PACKAGES = ("torch", "transformers", "sam2", "av", "pyarrow", "numpy", "triton")


def environment(options: Options) -> dict[str, Any]:
    """Versions, processors, the card, and which products torch computes in TF32 by itself."""
    found: dict[str, Any] = {
        "python": sys.version.split()[0],
        "cores": len(os.sched_getaffinity(0)),
        "device": options.device,
        "dtype": str(options.half),
    } | {name: version(name) for name in _PACKAGES}
    if options.is_gpu:
        card = torch.cuda.get_device_properties(0)
        found |= {
            "card": card.name,
            "capability": f"{card.major}.{card.minor}",
            "multiprocessors": card.multi_processor_count,
            "memory_gib": card.total_memory / 2**30,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "tf32_convolutions": torch.backends.cudnn.allow_tf32,
            "tf32_products": torch.backends.cuda.matmul.allow_tf32,
        }
    return found
