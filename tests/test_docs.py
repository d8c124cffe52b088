"""The examples of the pages in `docs/`, run as they stand, from the top of a page to its end.

A page is run in an empty folder that holds the clips of `make demo`. Blocks in `bash` and `python` are run,
a block in `text` is what the block before it prints (`…` stands for anything), and one in `yaml` is the file that its
first line names. A command ends with 0, unless a comment
in its line says `# ends with 4`. Jobs run in this process, with `cluster=serial`.
"""

from __future__ import annotations

import contextlib
import doctest
import functools
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import doors
from pipeline.changes import ChangesArguments
from pipeline.check.forecast import Prices
from pipeline.commits.history import CHANGES
from pipeline.commits.run_document import CauseOfFailure, DoubtCount, RunDocument, StepDone
from pipeline.compare import CompareArguments
from pipeline.config.columns_config import ColumnsConfig
from pipeline.config.compose import job_config
from pipeline.config.schedule_config import AfterConfig
from pipeline.demo.clips import draw
from pipeline.demo.inputs import clip_mp4
from pipeline.demo.scenes import demo_scenes
from pipeline.elsewhere.reading import FORMATS as RETURNING
from pipeline.evaluate import EvaluateArguments
from pipeline.export import ExportArguments
from pipeline.formats.handing_out import ReviewKeys
from pipeline.formats.labels import FORMATS
from pipeline.formats.registry import FORMATS as WRITTEN
from pipeline.formats.registry import load
from pipeline.inputs.boxes import FORMS
from pipeline.inputs.columns import PROMPTS_IN, VIDEOS_IN
from pipeline.overlay import OverlayArguments
from pipeline.plan import PlanArguments
from pipeline.prompts import PromptsArguments, ReturnKeys
from pipeline.records import Reason
from pipeline.review import ReviewArguments
from pipeline.reviews.live import REVIEWED
from pipeline.rounds import RoundsArguments
from tests.support.known_steps import known_steps

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of the code blocks that are run or compared."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, text) for language, text in found if language in ("bash", "python", "text", "yaml")]


# The examples of these need servers: tests of their own start them.
SERVED = ("storage",)
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if blocks(page) and page.stem not in SERVED]


def bash(text: str) -> None:
    """Run the lines of a block; a line that ends in a backslash goes on in the next one."""
    for line in text.replace("\\\n", " ").strip().splitlines():
        words = shlex.split(line, comments=True)
        expected = re.search(r"# ends with (\d+)", line)
        code = int(expected[1]) if expected else 0
        if words[:2] == ["python", "-m"]:
            serial = ["cluster=serial"] if words[2] == "pipeline.run" and "--cfg" not in words else []
            assert doors.main([words[2].removeprefix("pipeline."), *words[3:], *serial]) == code, line
        elif words:
            assert subprocess.run(["bash", "-c", line], timeout=200, check=False).returncode == code, line


def printed_by(language: str, text: str, names: dict[str, Any]) -> str:
    """What a block prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        if language == "python":
            exec(compile(text, "<example>", "exec"), names)
        else:
            bash(text)
    return printed.getvalue()


def write_clips(folder: Path, *names: str) -> None:
    """Clips of the demo as `make demo` leaves them below a folder: those of these names, or all."""
    place = folder / "maskmill-demo" / "input"
    place.mkdir(parents=True)
    for scene in demo_scenes(num_frames=24):
        if not names or scene.name in names:
            (place / f"{scene.name}.mp4").write_bytes(film_of(scene.name))


@functools.cache
def film_of(name: str) -> bytes:
    """The file of a clip of the demo, drawn once for all pages."""
    (scene,) = (scene for scene in demo_scenes(num_frames=24) if scene.name == name)
    return clip_mp4(draw(scene))


@pytest.fixture(scope="module", autouse=True)
def _each_step_of_the_network_is_computed_once() -> Iterator[None]:
    """Pages label the same few clips with the same prompts."""
    with known_steps():
        yield


@pytest.fixture
def demo_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a page."""
    write_clips(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_page(page: Path, names: dict[str, Any]) -> None:
    """Run all blocks of a page. `names` are those that its Python knows."""
    printed = ""
    for language, text in blocks(page):
        if language == "yaml":
            name = re.match(r"# (\S+)\n", text)
            assert name is not None, f"which file is this?\n{text}"
            Path(name[1]).write_text(text)
        elif language == "text":
            wanted = text.replace("…", "...")
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert doctest.OutputChecker().check_output(wanted, printed, flags), f"{text}\nbut it prints\n{printed}"
        else:
            printed = printed_by(language, text, names)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run_and_print_what_it_says(page: Path, demo_folder: Path) -> None:
    run_page(page, {})


def test_the_page_of_exports_names_every_key_and_every_format() -> None:
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    for name in ExportArguments.model_fields:
        assert re.search(rf"`(?:[^`]*\W)?{name}\b", page), name
    for one in WRITTEN:
        assert re.search(rf"^\| `{one.name}` \|", page, re.MULTILINE), one.name


def test_the_page_of_evaluation_names_every_key() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for name in {**EvaluateArguments.model_fields, **CompareArguments.model_fields}:
        assert re.search(rf"\b{name}=", page), name


def test_the_page_of_reviews_names_every_key_of_the_command_and_of_the_page() -> None:
    page = (ROOT / "docs" / "review.md").read_text(encoding="utf-8")
    for name in ReviewArguments.model_fields:
        assert re.search(rf"^\| .*`{name}`.* \|", page, re.MULTILINE), name
    keys = (ROOT / "pipeline/review_server/page/keys.js").read_text(encoding="utf-8")
    shown = {" ": "space", "ArrowRight": "→", "ArrowLeft": "←"}
    listed = re.findall(r'^  \["(.+?)", "\w+", "(.+)"\],$', keys, re.MULTILINE)
    section = page.split("## Keys\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(.+)` \| (.+) \|$", section, re.MULTILINE) == [
        (shown.get(key, key), words) for key, words in listed
    ]
    assert len(listed) > 20


def test_the_page_of_labels_names_every_key_and_every_format() -> None:
    page = (ROOT / "docs" / "labels.md").read_text(encoding="utf-8")
    for name, field in PromptsArguments.model_fields.items():
        assert re.search(rf"^\| .*`{field.alias or name}`.* \|", page, re.MULTILINE), name
    formats = page.split("## Formats\n")[1]
    for name in FORMATS:
        assert re.search(rf"^\| .*`{name}`", formats, re.MULTILINE), name


def test_the_page_of_reviews_elsewhere_names_every_key() -> None:
    page = (ROOT / "docs" / "review_elsewhere.md").read_text(encoding="utf-8")
    for name in (*ReviewKeys.model_fields, *ReturnKeys.model_fields, "to_review"):
        assert re.search(rf"^\| .*`{name}`.* \|", page, re.MULTILINE), name
    formats = [one.name for one in WRITTEN if load(one.name).writer.can_review]
    assert sorted(formats) == sorted(RETURNING)
    for name in formats:
        assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE), name


def test_the_page_of_inputs_names_every_column_and_every_form_of_boxes() -> None:
    page = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
    for name in ColumnsConfig.model_fields:
        assert re.search(rf"`(?:columns\.)?{name}`", page), name
    for column in (*VIDEOS_IN, *PROMPTS_IN):
        assert f"`{column.name}`" in page, column.name
    for form in FORMS:
        assert re.search(rf"`(?:box_)?{form.replace('_percent', '')}`|`…_percent`", page), form


def test_the_page_of_notebooks_names_every_key_of_overlays_and_every_call_of_a_clip() -> None:
    page = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    shared = {
        "output",
        "storage_options",
        "to",
        "to_storage_options",
        "spool_dir",
        "cluster",
        "again",
        "with_storage_options",
    }
    for key in {field.alias or name for name, field in OverlayArguments.model_fields.items()} - shared:
        assert re.search(rf"^\|.*`{key}`.*\|", page, re.MULTILINE), key
    for call in ("frame", "filmstrip", "contact_sheet", "play", "masks", "mask", "labels", "track", "torch_masks"):
        assert f"clip.{call}(" in page, call


def test_the_page_of_nights_names_every_field_of_the_end_document_and_every_step() -> None:
    page = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \|", page.split("## The end document\n")[1].split("\n## ")[0], re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(["version", *RunDocument.model_fields])
    for part in (CauseOfFailure, DoubtCount, StepDone):
        assert all(f"`{name}`" in page for name in part.model_fields), part
    for key in AfterConfig.model_fields:
        assert re.search(rf"^\| `after\.{key}=", page, re.MULTILINE), key


def test_the_page_of_changes_names_every_key_every_column_and_every_reason() -> None:
    page = (ROOT / "docs" / "changes.md").read_text(encoding="utf-8")
    shared = {"output", "storage_options", "to_storage_options"}
    for key in ChangesArguments.model_fields.keys() - shared:
        assert re.search(rf"\b{key}=", page), key
    for column in CHANGES.names:
        assert re.search(rf"^\|.*`{column}`.*\|", page, re.MULTILINE), column
    for reason in Reason:
        assert re.search(rf"^\| `why` \|.*`{reason}\b", page, re.MULTILINE), reason


def test_the_page_of_rounds_names_every_key_and_every_column_of_reviews() -> None:
    page = (ROOT / "docs" / "rounds.md").read_text(encoding="utf-8")
    for name in (*(field.alias or name for name, field in RoundsArguments.model_fields.items()), *REVIEWED):
        assert re.search(rf"^\|.*`{name}`.*\|", page, re.MULTILINE), name


def test_the_page_of_plans_names_every_key_and_the_prices() -> None:
    page = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    for key in PlanArguments.model_fields:
        assert re.search(rf"`{key}`|\b{key}=", page), key
    for name in ("price_per_gb_month", "price_per_1000_writes", "price_per_1000_reads"):
        assert f"| `{name}` | {Prices.model_fields[name].default} |" in page, name


def test_pages_name_the_place_where_the_demo_leaves_its_masks() -> None:
    output = job_config("demo", []).output
    said = f"python -m pipeline.evaluate output={output} truth={output}/truth.parquet"
    assert said in (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
