"""The core install lacks the packages of the extras."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.command import ExitCode
from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob


@pytest.fixture
def core_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither OpenCV nor Rerun can be imported."""
    for name in list(sys.modules):
        if name.startswith(("pipeline.formats.writers.", "pipeline.formats.polygons")):
            monkeypatch.delitem(sys.modules, name)
    for name in ("cv2", "rerun"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("core_install")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cvat_video", 'format=cvat_video needs cv2: pip install "maskmill[export]"'),
        ("rerun", 'format=rerun needs rerun-sdk (490 MB): pip install "maskmill[rerun]"'),
    ],
)
def test_a_format_says_in_one_line_which_extra_it_needs(
    name: str, said: str, drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door([f"output={drawn.uri}", f"format={name}", f"to={tmp_path / 'x'}"]) == ExitCode.REFUSED
    assert capsys.readouterr().err == f"maskmill: {said}\n"
    assert not (tmp_path / "x").exists()


@pytest.mark.usefixtures("core_install")
def test_help_tells_of_all_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert door(["--help"]) == ExitCode.DONE
    said = capsys.readouterr().out
    assert "episode_pattern=" in said
    assert 'format=yolo_seg needs cv2: pip install "maskmill[export]"' in said
