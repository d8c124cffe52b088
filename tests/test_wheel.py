"""The built wheel: it holds what the command needs, and the command runs from any folder with nothing but it."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("model", "pipeline", "conf", "jobs")
TOLD_IN_WORDS = {"trackeval"}
"""No extra can have it, because it asks for opencv-python, which overwrites the headless one: hota=true says how to."""
SHIPPED = (*PACKAGES, "pyproject.toml", "README.md", "LICENSE")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, because a build leaves folders in its source."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = target.glob("maskmill-*.whl")
    return built


@pytest.fixture(scope="module")
def interpreter(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a new environment that holds the wheel and sees this one's packages, but not this checkout.

    A path in a `.pth` file is put on `sys.path`, while `.pth` files in that path are not read: an editable installation
    of the checkout stays out.
    """
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    (packages,) = (environment / "lib").glob("python*/site-packages")
    paths = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (packages / "dependencies.pth").write_text("\n".join(paths))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True)
    return python


def run_elsewhere(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


def test_the_wheel_holds_config_and_mini_checkpoint_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {
        str(path.relative_to(ROOT))
        for folder in PACKAGES
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"conf/base.yaml", "jobs/demo.yaml", "model/checkpoints/sam2.1-mini/model.safetensors"} <= shipped
    assert shipped <= names
    others = {name for name in names - shipped if ".dist-info/" not in name}
    assert not others
    assert any(name.endswith("/LICENSE") for name in names)


def imported_packages(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names}


def normalized(distribution: str) -> str:
    """A name as package indexes compare it: `pydantic_core` is `pydantic-core` (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: entries for name, entries in project["optional-dependencies"].items() if name != "test"}
    declared = [*project["dependencies"], *(entry for entries in extras.values() for entry in entries)]
    names = {normalized(re.split(r"[^\w-]", entry)[0]) for entry in declared}
    schedulers = ROOT / "jobs" / "deploy" / "schedulers"  # what runs there has its scheduler
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py") if schedulers not in file.parents]
    imported = set.union(*map(imported_packages, files)) - sys.stdlib_module_names - set(PACKAGES)
    distributions = importlib.metadata.packages_distributions()
    undeclared = {name for name in imported if not set(map(normalized, distributions[name])) & names}
    assert undeclared <= TOLD_IN_WORDS


def test_the_command_of_the_wheel_is_its_own(interpreter: Path, tmp_path: Path) -> None:
    code = "import pipeline.run, model.tracking.frames, conf, jobs; print(pipeline.run.__file__, conf.__file__)"
    found = run_elsewhere([interpreter, "-c", code], tmp_path)
    assert found.returncode == 0, found.stderr
    assert str(ROOT) not in found.stdout
    assert run_elsewhere([interpreter.parent / "maskmill", "--help"], tmp_path).stdout.startswith("maskmill")


def test_the_demo_runs_from_another_folder_with_only_the_wheel(interpreter: Path, tmp_path: Path) -> None:
    """Bare `python -m pipeline.run`, on Ray, with clips short enough for a test."""
    done = run_elsewhere([interpreter, "-m", "pipeline.run", "demo.num_frames=4", "cluster.actors=1"], tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "mean IoU against the true masks" in done.stdout
    demo = tmp_path / "maskmill-demo"
    assert (demo / "contact_sheet.png").stat().st_size > 10_000
    assert len(list((demo / "overlays").glob("*.mp4"))) == 6
