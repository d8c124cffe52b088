"""A project of CVAT that comes back as one document: its tasks have sizes, jobs and numbers of frames of their own."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from pipeline.elsewhere.cvat_document import read_video
from pipeline.export import door as export_door
from tests.pipeline.elsewhere.conftest import Out
from tests.support.cvat_task import CvatTask, polygon_shape
from tests.support.drawn_job import DrawnVideo, write_job

META = """<meta><project><assignee><username>ann</username></assignee><updated>2026-01-02 03:04:05+00:00</updated>
<tasks>
<task><id>5</id><size>40</size><original_size><width>64</width><height>48</height></original_size></task>
<task><id>6</id><size>20</size><original_size><width>32</width><height>24</height></original_size>
<segments><segment><start>0</start></segment><segment><start>10</start></segment></segments></task>
</tasks></project></meta>"""
TRACK = """<track id="{task}" label="cat" task_id="{task}"><box frame="{frame}" xtl="1" ytl="1" xbr="5" ybr="5">
<attribute name="video_id">video {task}</attribute></box></track>"""


def test_each_video_of_a_project_has_the_size_the_cuts_and_the_frames_of_its_task() -> None:
    text = f"<annotations>{META}{TRACK.format(task=5, frame=7)}{TRACK.format(task=6, frame=43)}</annotations>"
    returned = read_video(io.BytesIO(text.encode()), "annotations.xml")
    first, second = returned.videos
    assert (first.sizes_hw, second.sizes_hw) == ({(48, 64)}, {(24, 32)})
    assert (first.cuts, second.cuts) == (set(), {0, 10})
    assert [list(video.tracks[0].shapes) for video in returned.videos] == [[7], [3]]
    assert returned.author.name == "ann"


def project_of(
    folder: Path, to: Path, change: Callable[[list[CvatTask]], None], *, has_attributes: bool = True
) -> Path:
    """The document of a project with a task of each video that went out, as CVAT writes it after a change."""
    project = ET.fromstring("<annotations><meta><project><tasks/></project></meta></annotations>")
    told = project.find("meta/project/tasks")
    assert told is not None
    tasks = [CvatTask.of(folder / "labels.json", one) for one in sorted(folder.rglob("annotations.xml"))]
    change(tasks)
    offset = 0
    for number, task in enumerate(tasks):
        root = ET.parse(task.export(to)).getroot()
        (of_task,) = root.iterfind("meta/task")
        of_task.find("id").text = str(number)  # type: ignore[union-attr]
        told.append(of_task)
        for track in root.iter("track"):
            track.set("task_id", str(number))
            for shape in track:
                shape.set("frame", str(int(shape.get("frame", "")) + offset))
                for attribute in shape.findall("attribute") if not has_attributes else ():
                    shape.remove(attribute)
            project.append(track)
        offset += task.stop_frame + 1
    to.write_bytes(ET.tostring(project))
    return to


@pytest.mark.slow
def test_a_correction_in_the_second_task_of_a_project_lands_on_its_own_frame(out: Out, tmp_path: Path) -> None:
    def change(tasks: list[CvatTask]) -> None:
        tasks[1].of_object(7).shapes[1] = polygon_shape(1, 1, 9, 1, 9, 9, 1, 9)

    assert out.take_in(project_of(out.folder / "cvat_video", tmp_path / "annotations.xml", change), "cvat_video") == 0
    (row,) = out.corrections()
    assert (row["video_id"], row["object_id"], row["frame_index"]) == ("clip-1", 7, 1)


@pytest.mark.slow
def test_videos_of_a_project_are_told_apart_where_attributes_are_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def moving(top: int) -> dict[tuple[int, int], np.ndarray]:
        masks = np.zeros((6, 48, 64), bool)
        for step in range(6):
            masks[step, top : top + 8, 5 + step : 15 + step] = True
        return {(1, step): mask for step, mask in enumerate(masks)}

    videos = (DrawnVideo("a", {1: "cat"}, masks=moving(4)), DrawnVideo("b", {1: "cat"}, masks=moving(24)))
    uri, truth = write_job(tmp_path, videos, broken=())
    to = tmp_path / "cvat_video"
    assert export_door([f"output={uri}", "format=cvat_video", f"to={to}", "review=true"]) == 0
    document = project_of(to, tmp_path / "annotations.xml", lambda tasks: None, has_attributes=False)
    out = Out(tmp_path, truth)
    assert out.take_in(document, "cvat_video") == 0
    assert "nothing new in the review of 2 videos" in capsys.readouterr().out
    assert not out.corrections()
