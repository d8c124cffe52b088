"""What lies where below `output=`: one module says it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline
from pipeline.output import layout

ROOT = Path(pipeline.__file__).parent
OWNERS = {"output/layout.py", "storage/job_storage.py"}
NAMES = re.compile(
    r"job\.json|_owner\.json|_status\.json|_sessions|latest\.json|_tmp|(^|/)_log(/|$)|roll-|/?\*?\.parquet$"
)


def spelled(path: Path) -> Iterator[str]:
    """Texts of a module that could be a part of a path: without spaces, and no docstrings."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
        if is_text and " " not in node.value:
            yield node.value


@pytest.mark.slow
def test_no_other_module_spells_a_name_below_output() -> None:
    own = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).as_posix() not in OWNERS]
    assert len(own) > 50
    # Their tables lie elsewhere: those of users, and what an evaluation, a comparison, an export or a queue writes.
    elsewhere = {
        "inputs",
        "demo",
        "formats",
        "quality",
        "evaluate.py",
        "compare.py",
        "prompts.py",
        "queue.py",
        "changes.py",
    }
    found = {
        (path.relative_to(ROOT).as_posix(), text)
        for path in own
        if path.relative_to(ROOT).parts[0] not in elsewhere
        for text in spelled(path)
        if NAMES.search(text)
    }
    on_local_disk, asked_for_by_to = ("output/segment_files.py", ".parquet"), ("storage/destinations.py", ".parquet")
    assert found <= {on_local_disk, asked_for_by_to}


def test_the_check_finds_names(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        '"""job.json"""\npath = f"{folder}/_log/{number}"\nother = "_owner.json"\nsaid = "see job.json"\n'
    )
    assert {text for text in spelled(module) if NAMES.search(text)} == {"/_log/", "_owner.json"}


def test_names_are_those_of_the_design() -> None:
    assert layout.log_entry(7) == "_log/00000000000000000007.json"
    assert layout.roll_up(7) == "_log/roll-00000000000000000007.parquet"
    assert layout.segment_object("masks", "e1") == "masks/e1.parquet"
    assert layout.table_glob("masks") == "masks/*.parquet"
    assert (layout.JOB, layout.OWNER, layout.STATUS) == ("job.json", "_owner.json", "_status.json")
    assert layout.SESSIONS == "_sessions"


@pytest.mark.parametrize("worker_id", ["w0001", "node-1/gpu 0", "é" * 100, ""])
def test_a_segment_is_known_by_the_name_of_its_objects(worker_id: str) -> None:
    name = layout.new_segment_name(3, worker_id)
    assert name != layout.new_segment_name(3, worker_id)
    assert layout.segment_of(layout.segment_object("tracks", name)) == name
    assert layout.segment_of(f"tracks/mine-{name}.csv") is None
    assert layout.segment_of("tracks/mine.parquet") is None


def test_a_saved_session_has_a_folder_and_a_document() -> None:
    folder = layout.session_folder("a/../b")
    assert re.fullmatch(r"_sessions/[0-9a-f]{32}", folder)
    assert folder != layout.session_folder("a/../c")
    assert layout.is_session_document(layout.session_document(folder))
    assert not layout.is_session_document(f"{folder}/{layout.new_session_rows()}")
