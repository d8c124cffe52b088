"""What the command does before there is work: it answers at once, without the heavy packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_CODE = """
import json, resource, sys
sys.argv[0] = "pipeline.run"
from pipeline.run import main
code = main()
used = resource.getrusage(resource.RUSAGE_SELF)
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"code": code, "seconds": used.ru_utime + used.ru_stime, "loaded": loaded}))
"""


_LIBRARIES = """
import resource
import fsspec, hydra, numpy, omegaconf, psutil, pyarrow.fs, pyarrow.parquet, pycocotools.mask, pydantic
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


@pytest.fixture(scope="module")
def bound_seconds() -> float:
    """A second; on a slow or busy machine three and a half times what it takes there to import the libraries."""
    command = [sys.executable, "-c", _LIBRARIES]
    found = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(2)]
    return max(1.0, 3.5 * min(found))


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--help"], 0, "key"),
        (["-h"], 0, "frames.stride=1"),
        (["--cfg", "job", "model=tiny"], 0, "sam2.1-hiera-tiny"),
        (["model=tiny", "-c", "job"], 0, "sam2.1-hiera-tiny"),
        (["--cfg", "hydra"], 2, "'hydra' is not key=value"),
        (["--cfg"], 0, "checkpoint"),
        (["conf=nope"], 2, "no such job"),
        (["model=huge"], 2, "allowed are"),
        (["conf=label", "videos=videos.parquet", "prompts=prompts.parquet"], 2, "output"),
        (["conf=label", "output=out", "prompts=prompts.parquet", "frames.stride=0"], 2, "stride"),
        (["conf=label", "output=out", "prompts=missing.parquet"], 2, "missing.parquet does not exist"),
        (["conf=label", "output=out", "prompts=abc://x.parquet"], 2, "abc:// cannot be opened"),
        (["conf=simplecache::s3://b/job.yaml"], 2, "simplecache:// may lead to other files"),
        (
            ["output=out", "prompts=x.parquet", "model.checkpoint=simplecache::s3://b/c"],
            2,
            "simplecache:// may lead to",
        ),
        (["conf=label", "output=abc://out", "prompts=x.parquet"], 2, "output=abc://out: abc:// cannot be opened"),
    ],
)
def test_help_and_mistakes_are_answered_within_a_second_without_torch_and_ray(
    words: list[str], code: int, says: str, tmp_path: Path, bound_seconds: float
) -> None:
    """Seconds of the processor: on an idle machine these are the seconds that a person waits."""
    done = subprocess.run([sys.executable, "-c", _CODE, *words], cwd=tmp_path, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == code
    assert says in done.stdout + done.stderr
    assert not {"torch", "ray", "av", "pandas"} & set(found["loaded"])
    assert found["seconds"] <= bound_seconds
