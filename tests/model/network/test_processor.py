"""The table of kernels follows the instructions of the processor, and computes the same on all of them.

Older processors are had by processes in which torch, oneDNN and MKL are held back to older instructions.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from model.network import processor as module
from model.network.kernels import Blocks, blocks_on
from model.network.precision import autocast_model
from model.network.processor import Instructions, Processor, processor
from model.weights.checkpoint import load_model

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
AVX512 = {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "MKL_ENABLE_INSTRUCTIONS": "AVX512"}
CHILD = """
import json, torch
import torch.nn.functional as F
from model.network.kernels import attention, attention_by_blocks, blocks_on, dtype_of_products, linear
from model.network.layers import Linear
from model.network.processor import processor

def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[-1]))

def gap(found, plain):
    return float((found.double() - plain).norm() / plain.norm())

gaps = {}
for dtype in (torch.float32, torch.bfloat16):
    layer = Linear(96, 64).to(dtype)
    x, q = random(600, 96).to(dtype), random(1, 2, 80, 32).to(dtype)
    k, v = random(1, 2, 900, 32).to(dtype), random(1, 2, 900, 16).to(dtype)
    with torch.inference_mode():
        wide = [t.double() for t in (x, layer.weight, layer.bias, q, k, v)]
        attended = torch.softmax(wide[3] @ wide[4].transpose(-1, -2) / 32**0.5, dim=-1) @ wide[5]
        gaps[str(dtype)] = [gap(layer(x, "gelu"), F.gelu(F.linear(*wide[:3]))), gap(attention(q, k, v), attended)]
        gaps[str(dtype)] += [gap(attention_by_blocks(q, k, v, blocks=b), attended) for b in ("in place", "packed")]
        if dtype == torch.float32:
            with torch.autocast("cpu", torch.bfloat16):
                mixed = gap(layer(x, "gelu"), F.gelu(F.linear(*wide[:3]))), gap(attention(q, k, v), attended)
gaps["autocast"] = mixed
half = str(dtype_of_products(torch.zeros(1, dtype=torch.bfloat16)))
print(json.dumps({"instructions": processor().instructions, "half": half, "gaps": gaps}))
"""


def _flags() -> set[str]:
    """What the system says that the processor has."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return set(next(line for line in lines if line.startswith("flags")).split())


def _expected(most: Instructions) -> Instructions:
    if most == "avx2" or not {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= _flags():
        return "avx2"
    return most if "avx512_bf16" in _flags() else "avx512"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("held_back", "most"), [(AVX2, "avx2"), (AVX512, "avx512"), ({}, "avx512 with bfloat16")], ids=["2", "512", "all"]
)
def test_each_class_of_processor_has_its_row_and_the_same_results(
    held_back: dict[str, str], most: Instructions
) -> None:
    if platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists():
        assert processor().instructions in ("other", "avx2", "avx512", "avx512 with bfloat16")
        return
    bare = {name: value for name, value in os.environ.items() if name not in AVX2}
    child = subprocess.run(
        [sys.executable, "-c", CHILD], env=bare | held_back, capture_output=True, text=True, check=True, timeout=120
    )
    found = json.loads(child.stdout)
    assert found["instructions"] == _expected(most)
    assert found["half"] == ("torch.bfloat16" if found["instructions"] == "avx512 with bfloat16" else "torch.float32")
    assert max(found["gaps"]["torch.float32"]) < 1e-6
    assert max(found["gaps"]["torch.bfloat16"]) < 1e-2
    assert max(found["gaps"]["autocast"]) < 1e-2


@pytest.mark.parametrize(
    ("instructions", "is_intel", "float32"),
    [
        ("avx2", True, "in place"),
        ("avx2", False, "in place"),
        ("avx512", True, "in place"),
        ("avx512", False, "packed"),
        ("avx512 with bfloat16", False, "packed"),
        ("other", False, "packed"),
    ],
)
def test_mkl_is_not_taken_where_it_leaves_instructions_unused(
    instructions: Instructions, is_intel: bool, float32: Blocks
) -> None:
    here = Processor(instructions, is_intel)
    assert blocks_on(here, torch.float32) == float32
    assert blocks_on(here, torch.bfloat16) == ("tiles" if instructions == "avx512 with bfloat16" else "in place")


@pytest.mark.slow
def test_whoever_asks_for_bfloat16_on_a_cpu_without_it_is_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "processor", lambda: Processor("avx2", is_intel=True))
    with pytest.warns(UserWarning, match="no instructions for it.*dtype=torch.float32"):
        load_model("mini", dtype=torch.bfloat16)
    with pytest.warns(UserWarning, match="no instructions for it.*without autocast"):
        autocast_model(load_model("mini"))
    monkeypatch.setattr(module, "processor", lambda: Processor("avx512 with bfloat16", is_intel=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model("mini", dtype=torch.bfloat16)
