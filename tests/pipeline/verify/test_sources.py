"""Where `conf=verify` finds the videos of a job again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from pipeline.config.compose import job_config
from pipeline.storage.job_storage import JobStorage
from pipeline.verify.sources import sources_of


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_job_whose_objects_came_from_boxes_of_a_detector_is_found_by_its_tables(tmp_path: Path, kind: str) -> None:
    """The keys of its columns are of the table of boxes, which may lie among the videos."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()
    boxes = tmp_path / "clips" / f"boxes.{kind}"
    boxes.write_text("video_id,frame,x,y,w,h,conf\na,0,1,2,3,4,0.5\n")
    if kind == "parquet":
        pq.write_table(pa_csv.read_csv(boxes), boxes)
    keys = "columns.frame_index=frame", "columns.box=x,y,w,h", "box_format=xywh", "columns.score=conf"
    output = f"output={tmp_path / 'out'}"
    before = job_config("discover", [f"videos={tmp_path / 'clips'}", f"detections={boxes}", output, *keys])
    record: Any = SimpleNamespace(job_config=lambda: before)
    found = sources_of(job_config("verify", [output]), record, JobStorage(str(tmp_path / "out")), {"a": "/moved/a.mp4"})
    assert found["a"]["uri"] == str(tmp_path / "clips" / "a.mp4")
