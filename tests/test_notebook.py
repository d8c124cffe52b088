"""`docs/notebook.ipynb`, executed as it stands.

After a change of what it shows: `make demo`, then execute it in place with Jupyter, and look at its pictures. The test
gives it the clips of the demo with their true masks in the place of found ones, because no cell depends on the masks.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from pipeline.demo.clips import draw
from pipeline.demo.inputs import clip_mp4
from pipeline.demo.scenes import demo_scenes
from tests.support.masks import write_output

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def demo_output(folder: Path) -> None:
    """The output of the demo, of two of its clips."""
    clips = [draw(scene) for scene in demo_scenes(num_frames=12) if scene.name in ("crossing", "drifting")]
    masks = {clip.name: dict(zip(clip.object_ids, np.moveaxis(clip.masks_TBHW, 1, 0), strict=True)) for clip in clips}
    files = {clip.name: folder / "input" / f"{clip.name}.mp4" for clip in clips}
    (folder / "input").mkdir(parents=True)
    for clip in clips:
        files[clip.name].write_bytes(clip_mp4(clip))
    write_output(folder, masks, files=files)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo_output(tmp_path / "maskmill-demo")
    (tmp_path / "docs").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shown = nbformat.read(NOTEBOOK, as_version=4)
    executed = nbformat.from_dict(shown)
    resources = {"metadata": {"path": str(tmp_path / "docs")}}
    NotebookClient(
        executed,
        timeout=250,
        startup_timeout=250,
        kernel_name="python3",
        resources=resources,
        coalesce_streams=True,  # a busy machine sends what is printed in several parts
    ).execute()
    assert [kinds(cell) for cell in executed.cells] == [kinds(cell) for cell in shown.cells]


def kinds(cell: Any) -> list[list[str]]:
    """The kinds of a cell's outputs."""
    return [sorted(output.get("data", {"text/plain": ""})) for output in cell.get("outputs", [])]


def test_the_page_is_small_has_its_pictures_and_names_no_place_of_a_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert not [word for word in ("/home/", "/root/", "/tmp/", "/Users/", "Traceback") if word in text]
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert all(cell.execution_count == number for number, cell in enumerate(code_cells(notebook), 1))
    pictures = [output.data["image/jpeg"] for output in outputs if "image/jpeg" in output.get("data", {})]
    sizes = [Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in pictures]
    assert sizes[0] == (320, 240)
    assert len(sizes) == 2
    assert sum("<video controls" in output.get("data", {}).get("text/html", "") for output in outputs) == 1


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
