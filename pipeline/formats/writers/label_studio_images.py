"""`label_studio` with `variant=images`: a task a frame with the mask of each object, to be corrected by brush."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.formats.brush_rle import encode_brush
from pipeline.formats.folder import PartFolder
from pipeline.formats.frame_images import file_name, write_frames
from pipeline.formats.handing_out import HANDOUT
from pipeline.formats.plan import PlannedTrack
from pipeline.formats.rows import MaskRow
from pipeline.formats.shape_text import mask_text
from pipeline.formats.source import ExportVideo
from pipeline.formats.writers.cvat_images import row_runs
from pipeline.formats.writers.xml_text import attribute, hex_color, storable
from pipeline.masks.crop import box_pixels
from pipeline.masks.rle import decode_rle

TO_NAME = "image"


def write_images(video: ExportVideo, out: PartFolder, model_version: str, prefix: str) -> None:
    """A record a labeled frame of a video, and the images if they are wanted. `prefix` is before their names."""
    tracks = {track.object_id: track for track in video.tracks}
    common: dict[str, Any] = {"video_id": video.video_id}
    if video.review is not None:
        common |= {HANDOUT: video.review.handout, "labeled_at": video.review.labeled_at}
        video.review.note_frames(video.frame_indexes.tolist(), video.frame_indexes.tolist())
    for frame_index, rows in video.by_frame():
        image = f"{prefix}images/{video.name}/{file_name(video, frame_index)}"
        result = [_region(row, tracks[row.object_id], video) for row in rows if row.area]
        task = {"data": {"image": image, **common, "frame": frame_index}, "meta": {"video_id": video.video_id}}
        predictions = [{"model_version": model_version, "result": result}]
        out.append(f"tasks.{video.split}", {**task, "predictions": predictions})
    write_frames(video, out, f"images/{video.name}")


def tasks(records: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of the list of tasks."""
    before = b"[\n"
    for record in records:
        yield before + record
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def label_config(categories: Iterable[str], fields: str) -> str:
    """The labeling interface for these tasks, with the `fields` of regions."""
    labels = "\n".join(
        f'    <Label value={attribute(name)} background="{hex_color(number)}"/>'
        for number, name in enumerate(categories, 1)
    )
    return f"""<View>
  <Image name="{TO_NAME}" value="$image" zoom="true"/>
  <BrushLabels name="mask" toName="{TO_NAME}">
{labels}
  </BrushLabels>
{fields}</View>
"""


def _region(row: MaskRow, track: PlannedTrack, video: ExportVideo) -> Mapping[str, Any]:
    height, width = video.size_hw
    if video.review is not None:
        runs = row_runs(box_pixels(row.rle, row.bbox_xywh))
        video.review.note(track, row, row.frame_index, mask_text(runs, row.bbox_xywh))
    rle = encode_brush(decode_rle(video.size_hw, row.rle["counts"]))
    return {
        "id": f"object_{track.object_id}",
        "type": "brushlabels",
        "from_name": "mask",
        "to_name": TO_NAME,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "meta": {"text": told(track, video)},
        "value": {"format": "rle", "rle": rle, "brushlabels": [storable(track.category)]},
    }


def told(track: PlannedTrack, video: ExportVideo) -> list[str]:
    """What Label Studio shows beside a region."""
    lines = [f"object {track.object_id}"]
    if video.review is not None:
        said = dict(video.review.attributes(track))
        lines += [f"{name} {said[name]}" for name in ("doubt", "reasons", "look_at") if said[name]]
    return lines
