"""Labels of other formats as a table of true masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pycocotools import mask as coco

from pipeline.formats.mask_table import KnownVideos, LabelsToRead, write_mask_table


def test_only_endings_of_videos_and_pictures_are_left_out_of_names() -> None:
    """A label of `clip.9` was taken for one of `clip.1`."""
    found = KnownVideos({"clip.1": None, "b/film.mp4": None, "c/one.mov": None, "d/one.mp4": None}).ids_by_name()
    assert found == {"clip.1": "clip.1", "film": "b/film.mp4"}


def test_a_crowd_is_no_object_of_the_truth(tmp_path: Path) -> None:
    """It was one more object, which no job labels, and lowered the scores."""
    code = coco.encode(np.asfortranarray(np.eye(6, dtype=np.uint8)))
    rle = {"size": [6, 6], "counts": code["counts"].decode()}
    tracks = [
        {"id": number, "video_id": 1, "category_id": 1, "iscrowd": is_crowd, "segmentations": [rle]}
        for number, is_crowd in ((1, 0), (2, 1))
    ]
    truth = {
        "videos": [{"id": 1, "name": "clip", "length": 1, "height": 6, "width": 6}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": tracks,
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    source = LabelsToRead(str(tmp_path / "truth.json"), "youtube_vis")
    write_mask_table(tmp_path / "truth.parquet", source, KnownVideos({"clip": (6, 6)}))
    rows = pq.read_table(tmp_path / "truth.parquet").to_pylist()
    assert [(row["object_id"], row["rle"] is None) for row in rows] == [("1", False), (None, True)]
