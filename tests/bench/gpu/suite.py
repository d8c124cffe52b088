"""The project's own tests of a real GPU, in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.bench.efficiency import ROOT
from tests.bench.gpu.subjects import Options

FILES = (
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
# Code for 22 shapes, for minutes. The graphs alone are recorded in seconds, and are not left out.
TOO_LONG = tuple(
    f"tests/model/test_on_a_gpu.py::test_compiled_code_and_cuda_graphs_give_the_same_masks[{kind}]"
    for kind in ("compiled", "both")
)
# Less than the part's own limit, which would lose what was seen.
_SECONDS = 110
_VERDICT = re.compile(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED)\b", re.MULTILINE)


def suite(options: Options) -> dict[str, Any]:
    """How many tests of a real GPU passed and failed, and the names of those that failed."""
    if not options.is_gpu:
        return {"left_out": "needs a GPU"}
    left_out = [f"--deselect={name}" for name in TOO_LONG]
    return outcome(["-m", "needs_cuda", *left_out, *FILES], _SECONDS)


def outcome(arguments: Sequence[str], seconds: float) -> dict[str, Any]:
    """Of pytest with these arguments; where it takes longer, of the tests that came to their end."""
    # Plugins of the suite's own settings may be missing on a machine that cannot install.
    command = [sys.executable, "-u", "-m", "pytest", "-v", "-o", "addopts=", *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    ending: dict[str, Any] = {}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=seconds
        )
        output, ending["exit_code"] = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        output, ending["ended_after_seconds"] = said if isinstance(said, str) else said.decode(), seconds
    verdicts = _VERDICT.findall(output)
    return {
        **Counter(word.lower() for _, word in verdicts),
        **ending,
        "failed_tests": [name for name, word in verdicts if word in ("FAILED", "ERROR")],
        "output": output[-1500:] if ending.get("exit_code") != 0 else "",
    }
