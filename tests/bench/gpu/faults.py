"""Whether too little memory and a fault of the card are each recognized for what they are."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from typing import Any

import torch

from pipeline.worker.devices import is_out_of_memory, is_poisoned
from tests.bench.efficiency import ROOT
from tests.bench.gpu.subjects import Options, frames, new_session

_GIB = 1.2
_NUM_OBJECTS = 32
_ASSERT = """
import torch
from pipeline.worker.devices import is_out_of_memory, is_poisoned
x = torch.zeros(4, device="cuda")
try:
    x[torch.tensor([9], device="cuda")]
    torch.cuda.synchronize()
except Exception as error:
    print(type(error).__name__, is_out_of_memory(error), is_poisoned(error))
"""


def faults(options: Options) -> dict[str, Any]:
    """Out of memory is no poison, a device-side assert is; on a CPU there is nothing to try."""
    if not options.is_gpu:
        return {"left_out": "needs a GPU"}
    return {"memory": _too_little_memory(options), "assert": _device_side_assert()}


def _too_little_memory(options: Options) -> dict[str, Any]:
    network = options.network("tiny")
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(_GIB * 2**30 / torch.cuda.get_device_properties(0).total_memory)
    try:
        session = new_session(network, frames(20, options.image_size, pinned=False), _NUM_OBJECTS, options.encode_ahead)
        list(islice(session.propagate("forward"), 20))
    except Exception as error:
        return {
            "error": type(error).__name__,
            "is_out_of_memory": is_out_of_memory(error),
            "is_poisoned": is_poisoned(error),
        }
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return {"error": None}


def _device_side_assert() -> dict[str, Any]:
    """In a process of its own, because the process is lost."""
    done = subprocess.run([sys.executable, "-c", _ASSERT], cwd=ROOT, capture_output=True, text=True, check=False)
    words = done.stdout.split()
    if len(words) != 3:
        return {"error": done.stderr[-300:]}
    return {"error": words[0], "is_out_of_memory": words[1] == "True", "is_poisoned": words[2] == "True"}
