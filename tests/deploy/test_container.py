"""jobs/deploy/container: a linter takes the Containerfile, it copies all of maskmill, and its lock has all it needs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
CONTAINER = ROOT / "jobs" / "deploy" / "container"
TEXT = (CONTAINER / "Containerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """Instructions with their arguments; comments left out and lines that go on joined."""
    lines = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = [line.partition(" ") for line in joined.splitlines()]
    return [(name, rest) for name, _, rest in pairs]


def copied() -> list[str]:
    """What is copied from the checkout."""
    arguments = [shlex.split(rest)[:-1] for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    return [source for sources in arguments for source in sources]


def locked() -> dict[str, str]:
    """Versions of the lock by name."""
    lines = (CONTAINER / "requirements.lock").read_text(encoding="utf-8")
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", lines, re.MULTILINE)}


@pytest.mark.slow
def test_hadolint_finds_nothing_and_finds_a_planted_mistake() -> None:
    hadolint = [Path(sysconfig.get_path("scripts"), "hadolint"), "-"]
    good = subprocess.run(hadolint, input=TEXT, capture_output=True, text=True, timeout=200, check=False)
    assert (good.returncode, good.stdout) == (0, "")
    planted = TEXT.replace("pip install --no-cache-dir", "pip install", 1)
    bad = subprocess.run(hadolint, input=planted, capture_output=True, text=True, timeout=200, check=False)
    assert (bad.returncode, "DL3042" in bad.stdout) == (1, True)


def test_it_copies_files_that_are_there_and_every_package_of_maskmill() -> None:
    assert all((ROOT / source).exists() for source in copied())
    packages = {name for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"] if "." not in name}
    needed = packages | {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    assert needed <= set(copied())


def test_its_stages_follow_from_a_base_with_cuda_and_nothing_runs_as_root() -> None:
    stages = [rest.split() for name, rest in instructions() if name == "FROM"]
    names = [stage[2] for stage in stages]
    assert re.fullmatch(r"docker\.io/nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu[\d.]+", stages[0][0])
    assert all(stage[0] in names[:number] for number, stage in enumerate(stages) if number)
    assert names[-2:] == ["maskmill", "baked"], "the targets of its first lines"
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users == ["1000"]
    security = yaml.safe_load((CONTAINER.parent / "kuberay" / "rayjob.yaml").read_text())["spec"]["rayClusterSpec"]
    assert security["headGroupSpec"]["template"]["spec"]["securityContext"]["runAsUser"] == 1000


def test_the_lock_has_every_requirement_in_a_version_that_is_allowed() -> None:
    made_by = (CONTAINER / "requirements.lock").read_text(encoding="utf-8").partition("\nadlfs")[0]
    extras = re.findall(r"--extra (\w+)", made_by)
    project = PROJECT["project"]
    asked = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    assert {"s3", "gcs", "azure"} <= set(extras)
    versions = locked()
    for requirement in map(Requirement, asked):
        version = versions.get(canonicalize_name(requirement.name), "0")
        told = f"{requirement}, but {version}: make the lock anew, by the command in its first lines"
        assert requirement.specifier.contains(version), told


def test_every_package_of_the_lock_has_a_hash() -> None:
    text = (CONTAINER / "requirements.lock").read_text(encoding="utf-8")
    assert len(re.findall(r"^[\w.-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) == len(locked())


def test_the_cluster_has_the_ray_and_the_maskmill_of_the_image() -> None:
    for path in (CONTAINER.parent / "kuberay").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r'rayVersion: "(.+)"', text)) <= {locked()["ray"]}
        assert set(re.findall(r"image: \S+:(\S+)", text)) <= {PROJECT["project"]["version"]}
