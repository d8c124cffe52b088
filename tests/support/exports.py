"""What tests of exports need of every format: the manifest's map from a format's numbers back to ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
