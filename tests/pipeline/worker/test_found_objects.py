"""Found objects become rows that hold their seeds, and from these a table of prompts that a job takes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from model import FoundMask
from pipeline import doors
from pipeline.output.rows import Provenance, labeled_video
from pipeline.records import FramePosition, Status, VideoSource, WorkItem
from pipeline.seeds.discovery import Discovered, FoundObject
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.found_objects import prompts_of, seed_rows
from tests.support.labeled import driver, publish

SIZE = (40, 60)
# Every other frame is labeled, so that the labeled frame 3 is frame 6 of the video.
FRAMES = SimpleNamespace(size_hw=SIZE, num_frames=5, position=lambda index: FramePosition(2 * index, index / 12))


def ring(x0: int, y0: int, predicted_iou: float, stability: float) -> FoundMask:
    inner = np.ones((10, 12), np.bool_)
    inner[3:6, 4:8] = False
    return FoundMask(inner, (x0, y0, x0 + 12, y0 + 10), SIZE, predicted_iou, stability, (x0, y0), (0, 0, 60, 40))


FOUND = Discovered(
    (FoundObject(1, 0, ring(2, 3, 0.9, 0.8)), FoundObject(3, 3, ring(30, 20, 0.5, 1.0))),
    (FoundObject(2, 1, ring(3, 3, 0.8, 0.5), duplicate_of=1),),
    unexplained=0.0,
    num_ambiguous=0,
    num_left_out=0,
    num_unconfirmed=0,
)


def test_each_object_has_one_mask_on_its_frame_and_says_how_it_was_found_and_what_it_swallowed() -> None:
    labels = seed_rows("clip", FOUND, "grid", FRAMES, None)
    first, second = labels.masks.to_pylist()
    assert (second["object_id"], second["frame_index"], second["pts_seconds"], second["is_prompt"]) == (
        3,
        6,
        0.25,
        True,
    )
    assert (coco.decode(second["rle"]).astype(bool) == FOUND.objects[1].mask.mask()).all()
    assert (first["area"], first["bbox_x"], first["bbox_w"], first["num_parts"]) == (108, 2, 12, 1)
    one, other = labels.tracks.to_pylist()
    assert (one["seed_source"], one["seed_score"], one["seed_stability"]) == ("grid", *map(pytest.approx, (0.72, 0.8)))
    assert one["seed_duplicates"] == [{"object_id": 2, "frame_index": 2, "score": pytest.approx(0.4)}]
    assert (other["seed_duplicates"], other["prompt_frames"]) == ([], [6])
    assert (labels.expected_masks, labels.num_frames) == (2, 5)


def test_prompts_of_found_objects_are_their_masks() -> None:
    for one, found in zip(prompts_of(FOUND, "grid", FRAMES).objects, FOUND.objects, strict=True):
        ((position, mask),) = one.prompts
        assert position.frame_index == 2 * found.frame_index
        assert (mask.fit(SIZE).mask_HW == found.mask.mask()).all()


def test_seeds_of_an_output_are_a_table_of_prompts_with_source_score_and_stability(tmp_path: Path) -> None:
    storage = JobStorage(str(tmp_path / "found"))
    labels = seed_rows("clip", FOUND, "grid", FRAMES, None)
    item = WorkItem("clip", VideoSource("clip.mp4"), (), "p")
    video = labeled_video(
        item, Status.OK, Provenance("w", "mini", "f", ""), masks=labels.masks, tracks=labels.tracks, expected_masks=2
    )
    driver(storage, tmp_path / "spool")[1].commit([publish(storage, tmp_path / "spool", video)])
    assert doors.main(["prompts", f"from={storage.uri}", f"to={tmp_path / 'found.parquet'}"]) == 0
    rows = pq.read_table(tmp_path / "found.parquet").to_pylist()
    assert [(row["object_id"], row["frame_index"], row["source"], row["category"]) for row in rows] == [
        (1, 0, "grid", None),
        (3, 6, "grid", None),
    ]
    assert [row["score"] for row in rows] == [pytest.approx(0.72), pytest.approx(0.5)]
    assert [row["stability"] for row in rows] == [pytest.approx(0.8), pytest.approx(1.0)]
    assert (coco.decode(rows[0]["mask_rle"]).astype(bool) == FOUND.objects[0].mask.mask()).all()
