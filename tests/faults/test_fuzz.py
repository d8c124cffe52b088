"""Parsers of what others write, fuzzed with coverage for a bounded time; hypothesis does so in `tests/pipeline`."""

from __future__ import annotations

import importlib.util
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.record import Record

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

SECONDS = 10
HAS_WHEELS = (
    sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64") and (3, 11) <= sys.version_info < (3, 15)
)


@pytest.mark.parametrize("parser", ["rle", "prompts"])
def test_a_parser_survives_whatever_it_is_given(parser: str, tmp_path: Path, record: Record) -> None:
    if importlib.util.find_spec("atheris") is None and not HAS_WHEELS:
        pytest.skip("left out, and only here: atheris has no wheels for this platform")
    command = [sys.executable, "-m", "tests.support.fuzz", parser]
    limits = [f"-max_total_time={SECONDS}", "-max_len=300", "-rss_limit_mb=2000", "-seed=1", str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([*command, *limits], cwd=root, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.search(r"Done (\d+) runs", done.stderr)
    assert found, done.stderr[-2000:]
    assert int(found[1]) > 1000
    covered = max(int(count) for count in re.findall(r"cov: (\d+)", done.stderr))
    assert covered > 20, "the parser is not instrumented"
    record.fault, record.times = f"fuzzed: {parser}", int(found[1])
    record.rows_lost = record.rows_doubled = "–"
