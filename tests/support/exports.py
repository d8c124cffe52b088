"""What tests of exports need: an export of a job, its files, and the manifest's map back to our numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.formats.engine import ExportJob
from pipeline.formats.folder import ExportFolder
from pipeline.formats.registry import load
from pipeline.formats.selection import Content, Selection
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import Truth


@dataclass(frozen=True)
class IdMap:
    """The lines of `manifest_videos.jsonl`, by number of the video."""

    videos: dict[int, dict[str, Any]]

    @staticmethod
    def of(folder: Path) -> IdMap:
        lines = [json.loads(line) for line in (folder / "manifest_videos.jsonl").read_text().splitlines()]
        return IdMap({line["number"]: line for line in lines})

    def frames(self, number: int) -> list[int]:
        """The indexes of a video's labeled frames."""
        video = self.videos[number]
        return list(range(video["first_frame_index"], video["last_frame_index"] + 1, video["frame_step"] or 1))

    @property
    def images(self) -> dict[int, tuple[str, int]]:
        """Video and frame by id of the image."""
        return {
            video["first_image_id"] + place: (video["video_id"], frame)
            for number, video in self.videos.items()
            for place, frame in enumerate(self.frames(number))
        }

    @property
    def tracks(self) -> dict[int, tuple[str, int]]:
        """Video and object by id of the track."""
        return {
            one["id"]: (video["video_id"], one["object_id"])
            for video in self.videos.values()
            for one in video["objects"]
        }


def assert_same_masks(found: Truth, drawn: Truth) -> None:
    """The visible masks are those that were drawn, and no other ones."""
    expected = {key: mask for key, mask in drawn.items() if mask.any()}
    assert found.keys() == expected.keys()
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, expected[key], err_msg=str(key))


def coco_job(
    uri: str,
    storage: JobStorage,
    selection: Selection | None = None,
) -> ExportJob:
    """An export of this job to `storage` as COCO."""
    coco = load("coco")
    folder = ExportFolder(storage, None)
    return ExportJob(uri, {}, coco.make(coco.options()), selection or Selection(), Content(), folder)


def files_of_export(folder: Path) -> dict[str, bytes]:
    """All files of an export; of the manifest all but when it was written."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if "manifest.json" in found:
        document = json.loads(found["manifest.json"])
        del document["written_at"]
        found["manifest.json"] = json.dumps(document).encode()
    return found
