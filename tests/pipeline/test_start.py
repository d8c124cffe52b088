"""What the command does before there is work: it answers at once, without the heavy packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

CASES: list[tuple[list[str], int, str]] = [
    (["--help"], 0, "key"),
    (["-h"], 0, "frames.stride=1"),
    (["--cfg", "job", "model=tiny"], 0, "sam2.1-hiera-tiny"),
    (["model=tiny", "-c", "job"], 0, "sam2.1-hiera-tiny"),
    (["--cfg", "hydra"], 2, "'hydra' is not key=value"),
    (["--cfg"], 0, "checkpoint"),
    (["conf=nope"], 2, "no such job"),
    (["model=huge"], 2, "allowed are"),
    (["conf=label", "frames.strid=2"], 2, "did you mean frames.stride"),
    (["conf=label", "videos=videos.parquet", "prompts=prompts.parquet"], 2, "output"),
    (["conf=label", "output=out", "prompts=prompts.parquet", "frames.stride=0"], 2, "stride"),
    # This one and those after it look for tables, which takes pyarrow.
    (["conf=label", "output=out", "prompts=missing.parquet"], 2, "missing.parquet does not exist"),
    (["conf=label", "output=out", "prompts=abc://x.parquet"], 2, "abc:// cannot be opened"),
    (["conf=simplecache::s3://b/job.yaml"], 2, "simplecache:// may lead to other files"),
    (["output=out", "prompts=x.parquet", "model.checkpoint=simplecache::s3://b/c"], 2, "simplecache:// may lead to"),
    (["conf=label", "output=abc://out", "prompts=x.parquet"], 2, "output=abc://out: abc:// cannot be opened"),
]

FIRST_WITH_TABLES = next(place for place, (words, _, _) in enumerate(CASES) if "prompts=missing.parquet" in words)

# One new process answers them all: what one of them loads stays loaded. Calls are counted, because seconds depend on
# what else the machine does.
_CODE = """
import contextlib, io, json, sys
from tests.support.calls import num_calls

def start():
    global main
    from pipeline.run import main

def answer(words):
    said, codes = io.StringIO(), []
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        calls = num_calls(lambda: codes.append(main(words)))
    loaded = sorted({name.partition(".")[0] for name in sys.modules})
    return {"code": codes[0], "said": said.getvalue(), "calls": calls, "loaded": loaded}

calls_to_start = num_calls(start)
sys.argv[0] = "pipeline.run"
print(json.dumps([calls_to_start, [answer(words) for words in json.loads(sys.argv[1])]]))
"""

# A million calls, the imports of the libraries among them, take about a second.
_MOST_CALLS = 2_000_000


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, dict[str, Any]]]:
    """The calls that the start of the command takes, and what it does with the words of each case."""
    words = json.dumps([words for words, _, _ in CASES])
    done = subprocess.run(
        [sys.executable, "-c", _CODE, words],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    calls_to_start, found = json.loads(done.stdout)
    return calls_to_start, {" ".join(words): answer for (words, _, _), answer in zip(CASES, found, strict=True)}


@pytest.mark.parametrize(("words", "code", "says"), CASES, ids=[" ".join(words) for words, _, _ in CASES])
def test_help_and_mistakes_are_answered_at_once_without_torch_and_ray(
    words: list[str], code: int, says: str, answers: tuple[int, dict[str, dict[str, Any]]]
) -> None:
    calls_to_start, by_words = answers
    found = by_words[" ".join(words)]
    assert found["code"] == code
    assert says in found["said"]
    assert not {"torch", "ray", "av", "pandas"} & set(found["loaded"])
    assert CASES.index((words, code, says)) >= FIRST_WITH_TABLES or not {"pyarrow", "model"} & set(found["loaded"])
    assert calls_to_start + found["calls"] <= _MOST_CALLS
