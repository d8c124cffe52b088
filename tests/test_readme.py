"""The README's examples, run as they stand, in this process. `tests/test_wheel.py` runs the demo on Ray."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import tables
from pipeline.demo.clips import Clip, draw
from pipeline.demo.inputs import clip_mp4
from pipeline.demo.scenes import demo_scenes
from pipeline.run import help_text, main
from tests.support.clips import iou
from tests.test_docs import printed_by

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(heading: str) -> list[tuple[str, str]]:
    """Language and text of the code blocks below a heading."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)


def drifting(num_frames: int) -> Clip:
    (scene,) = (scene for scene in demo_scenes(num_frames=num_frames) if scene.name == "drifting")
    return draw(scene)


@pytest.mark.slow
def test_the_first_example_labels_a_clip_of_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = drifting(24)
    video = tmp_path / "maskmill-demo" / "input" / "drifting.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(clip_mp4(clip))
    monkeypatch.chdir(tmp_path)
    printed = []
    examples = ("First example: your own clips and boxes", "The network alone")
    for language, text in (block for heading in examples for block in blocks(heading)):
        printed.append(printed_by(language, text, {}))
    reading, calls = printed[2], printed[-1]
    assert "'status': 'ok'" in reading
    assert "1: ((240, 320)," in reading
    with Image.open(tmp_path / "frame_20.png") as picture:
        changed = np.asarray(picture) != clip.frames_THW3[20]
    assert changed.any(axis=-1)[clip.mask(1, 20)].mean() > 0.8
    areas = [int(line.split()[1]) for line in calls.splitlines()]
    assert len(areas) == 24
    assert areas[20] == pytest.approx(clip.mask(1, 20).sum(), rel=0.2)
    found = {
        (mask.object_id, mask.frame_index): mask.pixels_HW
        for mask in tables.open(str(tmp_path / "labels")).video_masks("drifting")
    }
    assert len(found) == 2 * 24
    assert iou(found[1, 20], clip.mask(1, 20)) > 0.8


def test_the_readme_names_every_page() -> None:
    pages = {f"docs/{page.name}" for pattern in ("*.md", "*.ipynb") for page in (ROOT / "docs").glob(pattern)}
    assert set(re.findall(r"\]\((docs/[^)#]+)\)", README)) >= pages


def test_the_readme_has_exactly_two_set_up_commands() -> None:
    ((language, text),) = blocks("Set up")
    assert language == "bash"
    assert [line.split("#")[0].strip() for line in text.strip().splitlines()] == ["make demo", "make test"]


@pytest.mark.slow
def test_keys_and_exit_codes_that_users_read_of_are_known_to_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    table = (ROOT / "docs/job.md").read_text(encoding="utf-8").split("## Keys\n", 1)[1].split("\n## ", 1)[0]
    keys = re.findall(r"`((?:model|cluster|frames|propagate)\.[a-z_]+)`", table)
    assert len(keys) >= 8
    assert main(["conf=label", "prompts=p", "output=o", "--cfg"]) == 0
    shown = capsys.readouterr().out
    for key in keys:
        assert re.search(rf"^ *{key.partition('.')[2]}:", shown, re.MULTILINE), key
    for name in ("mini", "tiny", "small", "base_plus", "large"):
        assert main(["conf=label", "prompts=p", "output=o", f"model={name}", "--cfg"]) == 0
    codes = re.findall(r"^\| (\d+) \|", README, re.MULTILINE)
    assert codes == ["0", "1", "2", "3", "4", "5", "143"]
    assert all(re.search(rf"\b{code}\b", help_text()) for code in codes)


@pytest.mark.slow
def test_videos_that_nobody_prompted_are_labeled_and_shown_in_two_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = drifting(6)
    video = tmp_path / "maskmill-demo" / "input" / "drifting.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(clip_mp4(clip))
    ((language, commands),) = blocks("I only have videos")
    assert len(commands.strip().splitlines()) == 2
    printed_by(language, commands, {})
    found = list(tables.open(str(tmp_path / "found")).video_masks("drifting"))
    for object_id in clip.object_ids:
        assert max(iou(mask.pixels_HW, clip.mask(object_id, 5)) for mask in found if mask.frame_index == 5) > 0.5
    assert [path.name for path in (tmp_path / "overlays").iterdir()] == ["drifting.mp4"]
