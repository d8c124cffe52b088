"""The number of masks that an export tells is that of the masks which programs find in it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.export import door
from pipeline.formats.label import ReadOptions
from pipeline.formats.labels import read_labels
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import HEIGHT, USUAL, WIDTH, DrawnVideo, write_job

pytestmark = pytest.mark.slow


def _box(left: int, top: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + height, left : left + width] = True
    return mask


NOTHING = np.zeros((HEIGHT, WIDTH), bool)
COVERED = DrawnVideo(
    "episode_000012",
    {1: "cat", 2: "dog"},
    num_frames=3,
    uri="/data/videos/chunk-000/observation.images.top/episode_000012.mp4",
    masks={
        (1, 0): _box(0, 0, 20, 20),
        (1, 1): _box(0, 0, 20, 20),
        (1, 2): NOTHING,
        (2, 0): _box(5, 5, 4, 4),
        (2, 1): _box(30, 5, 4, 1),
        (2, 2): _box(30, 5, 9, 9),
    },
)
"""Object 1 covers object 2 wholly on frame 0, where the score of both is the same, and is hidden on frame 2."""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> DrawnJob:
    return DrawnJob(*write_job(tmp_path_factory.mktemp("counted"), (*USUAL, COVERED)))


def _labels(folder: Path, **options: Any) -> int:
    labels = read_labels(str(folder), "auto", ReadOptions(**options))
    return sum(not label.is_hidden for label in labels)


def _samples(folder: Path) -> int:
    found = 0
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as shard:
            for member in shard:
                if member.name.endswith(".json"):
                    file = shard.extractfile(member)
                    assert file is not None
                    found += len(json.load(file)["objects"])
    return found


def _of_fiftyone(folder: Path) -> int:
    documents = [json.loads(path.read_text()) for path in folder.glob("train/labels/*.json")]
    return sum(len(frame["objects"]["objects"]) for one in documents for frame in one["frames"].values())


def _table_rows(folder: Path) -> int:
    tables = [pq.read_table(path) for path in folder.glob("masks/chunk-*/*.parquet")]
    return sum(int((np.asarray(table["area"]) > 0).sum()) for table in tables)


def _recorded(folder: Path) -> int:
    from rerun.chunk import RrdReader

    chunks = [chunk for path in folder.glob("train/*.rrd") for chunk in RrdReader(path).stream()]
    rows = [row for one in chunks if one.entity_path == "/video/boxes" for row in one.to_record_batch().to_pylist()]
    return sum(len(row["Boxes2D:half_sizes"] or ()) for row in rows)


def _items(folder: Path) -> int:
    """Boxes of Label Studio: each shown item of a region is one."""
    tasks = json.loads((folder / "train.json").read_text())
    results = [one for task in tasks for one in task["predictions"][0]["result"]]
    return sum(len(one["value"]["sequence"]) for one in results)


def _regions(folder: Path) -> int:
    tasks = json.loads((folder / "train.json").read_text())
    return sum(len(task["predictions"][0]["result"]) for task in tasks)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["coco"], _labels),
        (["coco", "min_area=5"], _labels),
        (["coco_video"], _labels),
        (["youtube_vis"], _labels),
        (["davis"], _labels),
        (["davis", "overlap=id"], _labels),
        (["sa_v"], _labels),
        (["sa_v", "variant=png"], _labels),
        (["mots"], _labels),
        (["mots", "variant=kitti"], _labels),
        (["mots", "variant=mots_challenge", "min_area=5"], _labels),
        (["yolo_seg"], _labels),
        (["cvat_video"], _labels),
        (["cvat_images"], _labels),
        (["label_studio"], _items),
        (["label_studio", "variant=images"], _regions),
        (["hf_datasets"], _labels),
        (["webdataset"], _samples),
        (["fiftyone"], _of_fiftyone),
        (["lerobot", "where=video_id = 'episode_000012'"], _table_rows),
        (["rerun"], _recorded),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_number_of_masks_is_that_of_those_in_the_files(
    words: list[str], count: Callable[[Path], int], job: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [f"output={job.uri}", f"format={words[0]}", *words[1:], f"to={tmp_path / 'to'}"]
    assert door(command) == 0
    found = count(tmp_path / "to")
    manifest = json.loads((tmp_path / "to/manifest.json").read_text())
    assert found > 3
    assert manifest["counts"]["masks"] == found
    assert manifest["split_counts"]["train"]["masks"] == found
    assert f" tracks, {found} masks, in " in capsys.readouterr().out
    assert door(command) == 0
    assert f"is there already, whole: {manifest['counts']['videos']} video" in (told := capsys.readouterr().out)
    assert told.endswith(f" {found} masks\n")


def test_the_card_of_a_dataset_says_how_many_masks_show_something(job: DrawnJob, tmp_path: Path) -> None:
    assert door([f"output={job.uri}", "format=hf_datasets", f"to={tmp_path / 'to'}"]) == 0
    visible = sum(mask.any() for mask in job.truth.values())
    assert f"\n{visible} masks of " in (tmp_path / "to/README.md").read_text()
