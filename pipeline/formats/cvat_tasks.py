"""The tasks that `meta` of a document of CVAT names: one, or of a project several, through which it counts frames.

Frames of a task count from the start of its video. In a project those of each task begin behind those of the tasks
before it in the same subset. Source: CVAT's `dataset_manager/bindings.py`, `ProjectData`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SizeHW = tuple[int, int]


@dataclass(frozen=True)
class CvatTask:
    """What a document says of a task: the file of its video, or else its own name, and the size of its frames.

    Its frame 0 has the number `offset` in the document. At `cuts` jobs begin, and its frames lie within `frames`, as
    the document counts.
    """

    source: str = ""
    named: str = ""
    size_hw: SizeHW | None = None
    offset: int = 0
    cuts: frozenset[int] = frozenset()
    frames: range = range(0)


def task_of(element: Any, otherwise: SizeHW | None = None, offset: int = 0) -> CvatTask:
    """What an element says that is a task, or holds one or a job. Raises `ValueError` for numbers that are none."""
    source = element.findtext(".//source") or ""
    name = element.findtext("name") or element.findtext(".//task/name") or element.findtext(".//job/name") or ""
    width, height = element.findtext(".//original_size/width"), element.findtext(".//original_size/height")
    is_known = width and height and width.isdecimal() and height.isdecimal()
    size_hw = (int(height), int(width)) if is_known else otherwise
    first, step = offset + int(element.findtext("start_frame") or 0), _step(element)
    starts = [int(one.text or 0) for one in element.iterfind("segments/segment/start")]
    stop = element.findtext(".//stop_frame")
    frames = range(first, offset + int(stop) + 1) if stop else range(0)
    cuts = frozenset(first + start * step for start in starts)
    return CvatTask(source, source or name, size_hw, offset, cuts, frames)


def tasks_of_project(meta: Any, otherwise: SizeHW | None = None) -> dict[str | None, CvatTask]:
    """The tasks of a project by id; none where `meta` is of a task or a job. Raises as `task_of` does."""
    found: dict[str | None, CvatTask] = {}
    subset, offset = "", 0
    for element in meta.iterfind("project/tasks/task"):
        if element.findtext("subset", "") != subset:
            subset, offset = element.findtext("subset", ""), 0
        found[element.findtext("id")] = task_of(element, otherwise, offset)
        offset += int(element.findtext("start_frame") or 0) + _step(element) * int(element.findtext("size") or 0)
    return found


def _step(task: Any) -> int:
    return int((task.findtext("frame_filter") or "").removeprefix("step=") or 1)
