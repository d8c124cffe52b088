"""A project of CVAT that comes back as one document: its tasks have sizes, jobs and numbers of frames of their own."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree as ET

from pipeline.elsewhere.cvat_document import read_video
from tests.pipeline.elsewhere.conftest import VIDEOS, Out
from tests.support.cvat_task import CvatTask, polygon_shape

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


def test_a_correction_in_the_second_task_of_a_project_lands_on_its_own_frame(out: Out, tmp_path: Path) -> None:
    labels, project = out.folder / "cvat_video/labels.json", ET.fromstring(f"<annotations>{META}</annotations>")
    tasks = project.find("meta/project/tasks")
    assert tasks is not None
    tasks.clear()
    offset = 0
    for number, file in enumerate(sorted((out.folder / "cvat_video").rglob("annotations.xml"))):
        task = CvatTask.of(labels, file)
        if number:
            thing = task.things[0]
            thing.shapes[1] = polygon_shape(1, 1, 9, 1, 9, 9, 1, 9)
        root = ET.parse(task.export(tmp_path / "one.xml")).getroot()
        (told,) = root.iterfind("meta/task")
        told.find("id").text = str(number)  # type: ignore[union-attr]
        tasks.append(told)
        for track in root.iter("track"):
            track.set("task_id", str(number))
            for shape in track:
                shape.set("frame", str(int(shape.get("frame", "")) + offset))
            project.append(track)
        offset += task.stop_frame + 1
    assert offset > VIDEOS[1].num_frames
    path = tmp_path / "annotations.xml"
    path.write_bytes(ET.tostring(project))
    assert out.take_in(path, "cvat_video") == 0
    assert [row["frame_index"] for row in out.corrections()] == [1]
