"""The project's own tests of a real GPU, in a process of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from tests.bench.efficiency import ROOT
from tests.bench.gpu.subjects import Options

_FILES = (
    "tests/model/test_on_a_gpu.py",
    "tests/model/hf/test_api_sessions.py",
    "tests/model/hf/test_calls_on_a_gpu.py",
    "tests/model/hf/test_postprocess.py",
    "tests/model/network/test_precision.py",
    "tests/model/pixels/test_transfers.py",
    "tests/pipeline/masks/test_from_logits_gpu.py",
    "tests/pipeline/test_jobs_on_a_gpu.py",
    "tests/pipeline/worker/test_mask_encoder.py",
)
_COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped)")


def suite(options: Options) -> dict[str, Any]:
    """How many tests of a real GPU passed and failed, and the names of those that failed."""
    if not options.is_gpu:
        return {"left_out": "needs a GPU"}
    # Plugins of the suite's own settings may be missing on a machine that cannot install.
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-m", "needs_cuda", *_FILES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    counts = {word: int(number) for number, word in _COUNTS.findall(lines[-1] if lines else "")}
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return counts | {"failed_tests": failed, "output": done.stdout[-1500:] if done.returncode else ""}
