"""A task of CVAT without its server: takes an export, lets people change it, and writes what CVAT writes.

It follows what CVAT's sources say (`dataset_manager/formats/cvat.py` and `bindings.py`): labels are those of a task;
attributes that a label lacks are dropped; those of the last shape of a track are those of the track; a track has a
shape for each frame, of which those between keyframes are interpolated; numbers have two decimals. CVAT's own SDK
checks labels and shapes, and decodes masks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

Points = list[float]


@dataclass
class Shape:
    """A shape on a frame: points as the SDK takes them; of a mask run lengths and the box."""

    kind: str
    points: Points
    outside: bool = False
    keyframe: bool = True


@dataclass
class Thing:
    """A track with shapes by frame, or a shape of an image with one."""

    label: str
    attributes: dict[str, str]
    shapes: dict[int, Shape]
    group: int = 0


@dataclass
class CvatTask:
    """See the module. `segments` are first frames of its jobs; with `job` the export is that of a job of these frames.

    `labels` are those of `labels.json`; `frames` are names of images by number, none for a video, whose file is
    `source`."""

    labels: list[dict[str, Any]]
    size_hw: tuple[int, int]
    stop_frame: int
    things: list[Thing] = field(default_factory=list)
    frames: dict[int, str] = field(default_factory=dict)
    updated: str = "2025-02-03 04:05:06.789000+00:00"
    assignee: str = ""
    segments: tuple[int, ...] = (0,)
    job: tuple[int, int] | None = None
    source: str = ""

    @staticmethod
    def of(labels: Path, annotations: Path) -> CvatTask:
        """Make a task with these labels and upload annotations."""
        from cvat_sdk import models  # half a second, and all processes collect all tests

        specified = json.loads(labels.read_text())
        for label in specified:
            models.PatchedLabelRequest(
                name=label["name"],
                color=label["color"],
                type=label["type"],
                attributes=[_attribute(one) for one in label["attributes"]],
            )
        root = ET.parse(annotations).getroot()
        size = root.find("meta/task/original_size")
        if size is None:
            image = root.find("image")
            assert image is not None
            height, width = image.get("height"), image.get("width")
        else:
            height, width = size.findtext("height"), size.findtext("width")
        task = CvatTask(specified, (int(height or 0), int(width or 0)), int(root.findtext("meta/task/stop_frame") or 0))
        for track in root.iter("track"):
            shapes = {int(one.get("frame", "")): _shape(one) for one in track}
            task.things.append(Thing(track.get("label", ""), task._kept(track.get("label", ""), track[-1]), shapes))
        for image in root.iter("image"):
            number = int(image.get("id", ""))
            task.frames[number] = image.get("name", "")
            for one in image:
                attributes = task._kept(one.get("label", ""), one)
                task.things.append(
                    Thing(one.get("label", ""), attributes, {number: _shape(one)}, int(one.get("group_id", 0)))
                )
        return task

    def of_object(self, object_id: int) -> Thing:
        """The track of an object."""
        (found,) = (one for one in self.things if one.attributes["object_id"] == str(object_id))
        return found

    def mask_of(self, object_id: int, frame: int) -> Thing:
        """The mask of an object on an image."""
        (found,) = (one for one in self.things if one.attributes["object_id"] == str(object_id) and frame in one.shapes)
        return found

    def draw(self, label: str, shapes: dict[int, Shape], group: int = 0) -> Thing:
        """A person draws something new: its attributes have their defaults."""
        (spec,) = (one for one in self.labels if one["name"] == label)
        drawn = Thing(label, {one["name"]: one["default_value"] for one in spec["attributes"]}, shapes, group)
        self.things.append(drawn)
        return drawn

    def split(self, thing: Thing, frame: int) -> Thing:
        """CVAT's tool "split": the track is outside from the frame on, and another one like it goes on there."""
        later = Thing(thing.label, dict(thing.attributes), {at: one for at, one in thing.shapes.items() if at >= frame})
        first = thing.shapes[frame]
        thing.shapes = {at: one for at, one in thing.shapes.items() if at < frame}
        thing.shapes[frame] = Shape(first.kind, first.points, outside=True)
        self.things.append(later)
        return later

    def export(self, to: Path) -> Path:
        """What "Export annotations" gives: "CVAT for video 1.1" of a video, "CVAT for images 1.1" of images."""
        root = ET.Element("annotations")
        ET.SubElement(root, "version").text = "1.1"
        self._write_meta(root)
        if self.frames:
            self._write_images(root)
        else:
            for number, thing in enumerate(self.things):
                self._write_track(root, number, thing)
        ET.indent(root)
        to.write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))
        return to

    def _kept(self, label: str, element: ET.Element) -> dict[str, str]:
        (spec,) = (one for one in self.labels if one["name"] == label)
        known = {one["name"]: one["default_value"] for one in spec["attributes"]}
        given = {one.get("name", ""): one.text or "" for one in element.iter("attribute")}
        return {name: given.get(name, usual) for name, usual in known.items()}

    def _write_meta(self, root: ET.Element) -> None:
        meta = ET.SubElement(root, "meta")
        task = ET.SubElement(meta, "task" if self.job is None else "job")
        said = {"id": "7", "name": "a name of my own", "size": str(self.stop_frame + 1), "overlap": "0"}
        said |= {"mode": "annotation" if self.frames else "interpolation", "updated": self.updated}
        first, last = (0, self.stop_frame) if self.job is None else self.job
        said |= {"start_frame": str(first), "stop_frame": str(last), "frame_filter": ""}
        for tag, text in said.items():
            ET.SubElement(task, tag).text = text
        segments = ET.SubElement(task, "segments")
        for start in self.segments:
            ET.SubElement(ET.SubElement(segments, "segment"), "start").text = str(start)
        assignee = ET.SubElement(task, "assignee")
        if self.assignee:
            ET.SubElement(assignee, "username").text = self.assignee
        if not self.frames:
            size = ET.SubElement(task, "original_size")
            ET.SubElement(size, "width").text = str(self.size_hw[1])
            ET.SubElement(size, "height").text = str(self.size_hw[0])
        if self.source:
            ET.SubElement(meta, "source").text = self.source

    def _write_track(self, root: ET.Element, number: int, thing: Thing) -> None:
        from cvat_sdk import models

        track = ET.SubElement(root, "track", {"id": str(number), "label": thing.label, "source": "file"})
        models.LabeledTrackRequest(
            frame=min(thing.shapes), label_id=1, group=0, shapes=[_tracked(at, one) for at, one in thing.shapes.items()]
        )
        for at, one in self._interpolated(thing):
            said = {"frame": str(at), "keyframe": str(int(one.keyframe)), "outside": str(int(one.outside))}
            self._write_shape(track, {**said, "occluded": "0"}, one, thing)

    def _interpolated(self, thing: Thing) -> Iterator[tuple[int, Shape]]:
        last: Shape | None = None
        end = self.stop_frame if self.job is None else self.job[1]
        for at in range(min(thing.shapes), end + 1):
            if at in thing.shapes:
                last = thing.shapes[at]
                yield at, last
            elif last is not None and not last.outside:
                yield at, Shape(last.kind, [one + 0.25 for one in last.points], keyframe=False)

    def _write_images(self, root: ET.Element) -> None:
        height, width = (str(one) for one in self.size_hw)
        for number, name in self.frames.items():
            image = ET.SubElement(root, "image", {"id": str(number), "name": name, "width": width, "height": height})
            for thing in self.things:
                if number in thing.shapes:
                    said = {"label": thing.label, "source": "file", "occluded": "0"}
                    more = {"group_id": str(thing.group)} if thing.group else {}
                    self._write_shape(image, {**said, **more}, thing.shapes[number], thing)

    def _write_shape(self, parent: ET.Element, said: dict[str, str], shape: Shape, thing: Thing) -> None:
        element = ET.SubElement(parent, "box" if shape.kind == "rectangle" else shape.kind, said)
        if shape.kind == "mask":
            from cvat_sdk import masks

            *runs, left, top, right, bottom = (int(one) for one in shape.points)
            assert masks.decode_mask(shape.points, image_width=self.size_hw[1], image_height=self.size_hw[0]).any()
            element.attrib |= {"rle": ", ".join(map(str, runs)), "left": str(left), "top": str(top)}
            element.attrib |= {"width": str(right - left + 1), "height": str(bottom - top + 1)}
        elif shape.kind == "rectangle":
            sides = zip(("xtl", "ytl", "xbr", "ybr"), shape.points, strict=True)
            element.attrib |= {side: f"{one:.2f}" for side, one in sides}
        else:
            pairs = zip(shape.points[::2], shape.points[1::2], strict=True)
            element.set("points", ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs))
        for name, value in thing.attributes.items():
            ET.SubElement(element, "attribute", {"name": name}).text = value


def mask_shape(mask_HW: np.ndarray) -> Shape:
    """A mask as CVAT keeps it."""
    from cvat_sdk import masks

    return Shape("mask", masks.encode_mask(mask_HW.astype(bool)))


def box_shape(*sides: float) -> Shape:
    """A rectangle by two corners."""
    return Shape("rectangle", list(sides))


def polygon_shape(*points: float) -> Shape:
    """A polygon by the coordinates of its points."""
    return Shape("polygon", list(points))


def _attribute(one: dict[str, Any]) -> Any:
    from cvat_sdk import models

    kind = models.InputTypeEnum(one["input_type"])
    values = {"name": one["name"], "mutable": one["mutable"], "input_type": kind, "values": one["values"]}
    return models.AttributeRequest(**values, default_value=one["default_value"])


def _tracked(frame: int, shape: Shape) -> Any:
    from cvat_sdk import models

    kind = models.ShapeType(shape.kind)
    return models.TrackedShapeRequest(type=kind, frame=frame, points=shape.points, outside=shape.outside)


_READ: dict[str, Callable[[ET.Element], Points]] = {
    "polygon": lambda one: [float(x) for point in one.get("points", "").split(";") for x in point.split(",")],
    "box": lambda one: [float(one.get(side, "")) for side in ("xtl", "ytl", "xbr", "ybr")],
    "mask": lambda one: [
        *map(float, one.get("rle", "").split(",")),
        float(one.get("left", "")),
        float(one.get("top", "")),
        float(one.get("left", "")) + float(one.get("width", "")) - 1,
        float(one.get("top", "")) + float(one.get("height", "")) - 1,
    ],
}


def _shape(element: ET.Element) -> Shape:
    kind = "rectangle" if element.tag == "box" else element.tag
    return Shape(kind, _READ[element.tag](element), element.get("outside", "0") == "1")
