"""A project of Label Studio without its server: imports tasks, lets people annotate them, and exports JSON.

It follows what its docs say ("Label Studio JSON format of annotated tasks", "Video" and its `videorectangle`): a region
of a prediction keeps its id and the data of its task in an annotation; fields of a region are results with its id. Its
own SDK checks annotations, and says where a box shows.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from label_studio_sdk._extensions.label_studio_tools.postprocessing.video import extract_key_frames
from label_studio_sdk.converter.brush import encode_rle
from label_studio_sdk.types.annotation import Annotation as SdkAnnotation

Result = dict[str, Any]


@dataclass
class Annotation:
    """What one person makes of a task."""

    result: list[Result]
    who: Any = 1
    at: str = "2025-02-03T04:05:06.789012Z"
    lead_time: float = 42.5
    was_cancelled: bool = False

    def region(self, object_id: int) -> Result:
        """The region of an object."""
        (found,) = (one for one in self.result if one["id"] == f"object_{object_id}" and "sequence" in one["value"])
        return found

    def item(self, object_id: int, frame: int) -> dict[str, Any]:
        """What the region says of a frame of the job, from 0."""
        (found,) = (one for one in self.region(object_id)["value"]["sequence"] if one["frame"] == frame + 1)
        return found

    def mask(self, object_id: int) -> Result:
        """The brush mask of an object."""
        (found,) = (one for one in self.result if one["id"] == f"object_{object_id}" and "rle" in one["value"])
        return found

    def paint(self, object_id: int, pixels_HW: np.ndarray) -> None:
        """Somebody paints a mask anew, and Label Studio notes that it is not the prediction's any more."""
        region = self.mask(object_id)
        region["value"]["rle"] = encode_rle(np.repeat(pixels_HW.ravel().astype(np.uint8) * 255, 4))
        region["origin"] = "prediction-changed"

    def shown(self, object_id: int) -> set[int]:
        """The frames of the job on which Label Studio shows the box."""
        (found,) = extract_key_frames([self.region(object_id)])
        return {item["frame"] - 1 for item in found["value"]["sequence"] if item["frame"] > 0}

    def choose(self, object_id: int, verdict: str, comment: str = "") -> None:
        """The fields of a region."""
        common = {"id": f"object_{object_id}", "to_name": "video", "origin": "manual"}
        self.result.append({**common, "from_name": "verdict", "type": "choices", "value": {"choices": [verdict]}})
        if comment:
            self.result.append({**common, "from_name": "comment", "type": "textarea", "value": {"text": [comment]}})

    def as_json(self, number: int) -> dict[str, Any]:
        """As an export has it."""
        values = {"completed_by": self.who, "lead_time": self.lead_time, "was_cancelled": self.was_cancelled}
        values |= {"created_at": self.at, "updated_at": self.at, "id": number, "result": self.result}
        checked = {**values, "completed_by": None} if isinstance(self.who, dict) else values
        SdkAnnotation.model_validate(checked)
        return values


@dataclass
class Project:
    """Tasks as they were imported, and annotations by video and frame."""

    tasks: list[dict[str, Any]]
    annotations: dict[tuple[str, int | None], list[Annotation]] = field(default_factory=dict)

    @staticmethod
    def of(tasks: Path) -> Project:
        """Import tasks."""
        return Project(json.loads(tasks.read_text()))

    def annotate(self, video_id: str, frame: int | None = None, **said: Any) -> Annotation:
        """Somebody makes an annotation of the prediction of a task: that of a video, or of a frame."""
        names = {"video_id": video_id, "frame": frame}
        (task,) = (one for one in self.tasks if all(one["data"].get(key) == value for key, value in names.items()))
        result = copy.deepcopy(task["predictions"][0]["result"])
        made = Annotation([{**one, "origin": "prediction"} for one in result], **said)
        self.annotations.setdefault((video_id, frame), []).append(made)
        return made

    def export(self, to: Path) -> Path:
        """What "Export" as JSON gives."""
        tasks = []
        for number, task in enumerate(self.tasks):
            made = self.annotations.get((task["data"]["video_id"], task["data"].get("frame")), [])
            tasks.append({**task, "id": number, "annotations": [one.as_json(at) for at, one in enumerate(made)]})
        to.write_text(json.dumps(tasks))
        return to
