"""`make gpu-bundle`: the wheels that the check needs on a machine that has torch and no way to install the rest.

There torch, torchvision, transformers, numpy, pillow, pyarrow, safetensors, fsspec, huggingface_hub, pyyaml and pytest
are expected. What is missing beside them goes into `.gpu/wheels`, together at most 64 MiB. Ray stays at home, because
it is larger than that: the jobs of the check run with `cluster=serial`. On the machine:

    python3 -m pip install --no-index --no-deps --target .gpu/site .gpu/wheels/*.whl
    PYTHONPATH=.gpu/site python3 -m tests.bench --device cuda --output "$OUT"

The limits of all parts add up to 18 minutes. Where a command may take ten at most, give the parts to two:

    … --only environment parity waits rates launches attention jobs
    … --only compiled suite references faults
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

LIMIT_MIB = 64

READY = (
    "av", "hydra-core", "omegaconf", "pycocotools", "pydantic", "pydantic-core", "annotated-types", "typing-inspection",
    "typing-extensions", "psutil", "filelock", "tifffile", "tqdm", "portalocker", "hypothesis", "sortedcontainers",
)  # fmt: skip
"""What the check imports beside torch and its usual company, and what has wheels."""
FROM_SOURCE = ("antlr4-python3-runtime", "iopath", "sam2")
"""What has none that fits everywhere. These are plain Python, and are built here."""


def gather(folder: Path, python: str) -> list[Path]:
    """Download or build all wheels for an interpreter such as `3.12` on Linux x86-64, in the versions that run here.

    Returns their files. Raises `SystemExit` if they are too large together, or if one is not for every Python.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    platforms = [f"--platform={name}_x86_64" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    fitting = ("--only-binary=:all:", f"--python-version={python}", *platforms)
    subprocess.run([*pip, "download", "--dest", str(folder), "--no-deps", *fitting, *_as_here(READY)], check=True)
    building = [*pip, "wheel", "--wheel-dir", str(folder), "--no-deps", "--no-build-isolation"]
    subprocess.run([*building, *_as_here(FROM_SOURCE)], check=True, env=os.environ | {"SAM2_BUILD_CUDA": "0"})
    wheels = sorted(folder.glob("*.whl"))
    check_wheels({wheel.name: wheel.stat().st_size for wheel in wheels}, python)
    return wheels


def check_wheels(sizes: Mapping[str, int], python: str) -> None:
    """Raise `SystemExit` if wheels of these names and bytes cannot travel, or do not fit the interpreter."""
    total = sum(sizes.values()) / 2**20
    if total > LIMIT_MIB:
        largest = ", ".join(
            f"{name} {sizes[name] / 2**20:.0f} MiB" for name in sorted(sizes, key=sizes.__getitem__)[-3:]
        )
        raise SystemExit(f"the wheels take {total:.0f} MiB of {LIMIT_MIB}; the largest: {largest}")
    tag = f"cp{python.replace('.', '')}"
    strangers = [name for name in sizes if not re.search(rf"-(py3|py2\.py3|{tag})-|-cp3\d+-abi3-", name)]
    if strangers:
        raise SystemExit(f"not for Python {python}: {', '.join(strangers)}")


def _as_here(names: Sequence[str]) -> list[str]:
    return [f"{name}=={metadata.version(name)}" for name in names]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu.bundle", description=__doc__)
    parser.add_argument("--python", default="3.12", help="the interpreter of the machine")
    parser.add_argument("--folder", type=Path, default=Path(".gpu/wheels"))
    options = parser.parse_args(argv)
    wheels = gather(options.folder, options.python)
    total = sum(wheel.stat().st_size for wheel in wheels) / 2**20
    print(f"{len(wheels)} wheels for Python {options.python} in {options.folder}: {total:.0f} of {LIMIT_MIB} MiB")


if __name__ == "__main__":
    main()
