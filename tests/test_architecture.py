"""The house and its map: `docs/architecture.md` shows the tree as it is, and the tree keeps the rules of the page."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import model
from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/architecture.md").read_text()
PACKAGES = ("pipeline", "model")
STORES = {"fsspec", "s3fs", "gcsfs", "adlfs", "botocore", "aiobotocore", "boto3"}


@cache
def modules() -> dict[str, Path]:
    """Files by the names of their modules; a package goes by its own name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> tuple[tuple[str, str], ...]:
    """Every import of a file, in functions and for type checkers too: the module, and the name taken from it."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)


@cache
def defined_names(path: Path) -> set[str]:
    """Names that a file makes itself at its top level: classes, functions and values."""
    found: set[str] = set()
    for node in tree_of(path).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            names = (inner for inner in ast.walk(node) if isinstance(inner, ast.Name))
            found |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    return found


def rooms(package: str) -> set[str]:
    """Folders and modules of a package."""
    folder = ROOT / package
    folders = {path.parent.name for path in folder.glob("*/__init__.py")}
    return folders | {path.stem for path in folder.glob("*.py")} - {"__init__"}


def layers(package: str) -> list[set[str]]:
    """The floors that import-linter holds, top first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (one for one in contracts if one["type"] == "layers" and one["containers"] == [package])
    assert contract["exhaustive"]
    return [set(re.split(r"\s*\|\s*", layer)) for layer in contract["layers"]]


# The page


def test_the_drawn_floors_are_those_that_are_held() -> None:
    drawing = PAGE.split("```")[1]
    columns: dict[int, list[set[str]]] = {}
    above = ""
    for line in drawing.splitlines():
        for box in re.finditer(r"│([^│┌]+)│", line):
            floors = columns.setdefault(box.start(), [])
            if above[box.start() : box.start() + 1] == "│":  # a floor of two lines
                floors[-1] |= set(box[1].split())
            else:
                floors.append(set(box[1].split()))
        above = line
    assert [columns[place] for place in sorted(columns)] == [layers(package) for package in PACKAGES]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_a_line_and_no_line_is_of_a_room_that_is_gone(package: str) -> None:
    section = PAGE.split(f"## Rooms of {package}\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \| (?!.*\| `)", section, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == rooms(package) == set().union(*layers(package))


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`((?:pipeline|model|tests)/[\w./]+)`", PAGE)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.slow
def test_what_is_decided_is_found_where_the_page_says() -> None:
    section = PAGE.split("## Where is it decided?\n")[1]
    rows = re.findall(r"^\| ([^|`]+(?:`[^`]+`)?) \| `([\w/.]+)` \| `(\w+)` \|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n| ") - 1 >= 10
    for what, file, name in rows:
        assert name in defined_names(ROOT / file), f"{what}: {file} has no {name}"


# The rules


@pytest.mark.parametrize(
    "card", [path for package in PACKAGES for path in sorted((ROOT / package).glob("*/__init__.py"))], ids=str
)
def test_a_room_begins_with_a_card(card: Path) -> None:
    assert len(card.read_text().splitlines()) <= 12
    (docstring,) = tree_of(card).body
    assert isinstance(docstring, ast.Expr), "a card holds a docstring and no code"
    assert len(ast.get_docstring(tree_of(card)) or "") > 80


@pytest.mark.slow
def test_no_module_imports_itself_by_way_of_others() -> None:
    imported = {
        name: {
            target
            for module, taken in imports(path)
            for target in (f"{module}.{taken}", module)
            if target in modules() and target != name
        }
        for name, path in modules().items()
    }
    # `model` hands its names on when they are asked for; who imports it imports the modules of these names.
    imported["model"] = set()
    assert cycle(imported) == []


def cycle(imported: dict[str, set[str]]) -> list[str]:
    """Modules in a circle, or nothing: repeatedly take away what imports nothing that is left."""
    left = {name: set(targets) & imported.keys() for name, targets in imported.items()}
    while leaves := {name for name, targets in left.items() if not targets}:
        left = {name: targets - leaves for name, targets in left.items() if name not in leaves}
    if not left:
        return []
    way = [next(iter(left))]
    while way.count(way[-1]) == 1:
        way.append(min(left[way[-1]]))
    return way[way.index(way[-1]) :]


def test_a_cycle_is_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) in (["b", "c", "b"], ["c", "b", "c"])


@pytest.mark.slow
def test_a_name_is_imported_from_the_module_that_defines_it() -> None:
    handed_on = [
        f"{path.relative_to(ROOT)}: from {module} import {name}"
        for path in modules().values()
        for module, name in imports(path)
        if module in modules() and module != "model" and f"{module}.{name}" not in modules()
        if name not in defined_names(modules()[module])
    ]
    assert handed_on == []


@pytest.mark.slow
def test_pipeline_imports_from_model_by_its_public_names_alone() -> None:
    others = [
        f"{path.relative_to(ROOT)}: {module} {name}"
        for path in (ROOT / "pipeline").rglob("*.py")
        for module, name in imports(path)
        if module.partition(".")[0] == "model" and not (module == "model" and name in model.__all__)
    ]
    assert others == []


@pytest.mark.slow
@pytest.mark.parametrize(("packages", "room"), [(STORES, "storage"), ({"ray"}, "cluster")], ids=["stores", "Ray"])
def test_one_room_of_pipeline_knows_a_foreign_package(packages: set[str], room: str) -> None:
    knowing = {
        path.relative_to(ROOT / "pipeline").parts[0]
        for path in (ROOT / "pipeline").rglob("*.py")
        for module, _ in imports(path)
        if module.partition(".")[0] in packages
    }
    assert knowing == {room}


LIGHT = (
    "pipeline.tables",
    "pipeline.overlay",
    "pipeline.status",
    "pipeline.inputs.plan",
    "pipeline.inputs.prompts",
    "pipeline.masks.rle",
)


def parameters_of(node: ast.ClassDef) -> int:
    """How many parameters the constructor of a dataclass has: its fields, but for those that it sets by itself."""
    fields = [line for line in node.body if isinstance(line, ast.AnnAssign)]
    return sum(
        "ClassVar" not in ast.unparse(line.annotation) and "init=False" not in ast.unparse(line) for line in fields
    )


@pytest.mark.slow
def test_dataclasses_keep_the_limit_of_parameters() -> None:
    """A constructor with more than 8 parameters is no better for being written by a decorator.

    Left out are the configurations whose keys `transformers` documents, and a row of `masks`, which has 9 columns.
    """
    found = {
        f"{name}.{node.name}"
        for name, path in modules().items()
        if name != "model.hf.config"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef) and node.decorator_list and parameters_of(node) > 8
    }
    assert found == {"pipeline.output.mask_rows.Mask"}


def test_the_files_that_are_tested_first_are_there() -> None:
    assert not [str(path) for path in LONGEST if not path.is_file()]
    assert len(set(LONGEST)) == len(LONGEST)


@pytest.mark.slow
def test_what_needs_no_network_is_imported_without_torch() -> None:
    code = f"import sys, {', '.join(LIGHT)}; print(*sorted({{'torch', 'ray', 'av'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    code = "import sys, pipeline.masks.rle; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "pyarrow", "PIL"} & set(done.stdout.split()), "run-length codes need no more than pycocotools"
    assert "numpy" in done.stdout.split()


# The linter


def lint(folder: Path) -> str:
    linter = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run([linter, "--no-cache"], cwd=folder, capture_output=True, text=True)
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """The two packages with empty modules, and the contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path in modules().values():
        stub = tmp_path / path.relative_to(ROOT)
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.touch()
    return tmp_path


PLANTED = {
    "rooms of pipeline, top floor first": ("pipeline/video/media.py", "import pipeline.inputs.plan"),
    "rooms of model": ("model/network/sam2.py", "def late():\n    import model.tracking.session"),
    "the model knows nothing of jobs": ("model/prompts.py", "import pyarrow"),
    "the driver alone writes the log": ("pipeline/worker/worker.py", "from pipeline.commits import log"),
    "only the cluster room knows Ray": ("pipeline/masks/iou.py", "import ray"),
    "only the storage room knows fsspec": ("pipeline/inputs/write.py", "import fsspec"),
}


@pytest.mark.slow
def test_the_linter_finds_what_is_planted(stubs: Path) -> None:
    clean = lint(stubs)
    assert "0 broken" in clean, clean
    for file, line in PLANTED.values():
        with (stubs / file).open("a") as module:
            module.write(f"{line}\n")
    found = lint(stubs)
    assert set(re.findall(r"^(.+) BROKEN$", found, re.MULTILINE)) == set(PLANTED), found
    assert "KEPT" not in found


@pytest.mark.slow
def test_the_linter_finds_a_room_that_has_no_floor(stubs: Path) -> None:
    (stubs / "pipeline/attic.py").touch()
    assert re.search(r"^rooms of pipeline, top floor first BROKEN$", lint(stubs), re.MULTILINE)
