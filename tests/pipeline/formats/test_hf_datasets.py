"""The folder as `datasets` opens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import HEIGHT, WIDTH
from tests.support.media_files import gray_of

Export = Callable[..., Path]


@pytest.mark.slow
def test_datasets_loads_masks_tracks_videos_and_frames(films: DrawnJob, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder, cache = tmp_path / "x", str(tmp_path / "cache")
    assert door([f"output={films.uri}", "format=hf_datasets", f"to={folder}", "frames=png", "part_masks=8"]) == 0

    masks = datasets.load_dataset(str(folder), split="train", cache_dir=cache)
    found = {(row["video_id"], row["object_id"], row["frame_index"]): row for row in masks}
    assert found.keys() == {key for key in films.truth if key[1] != 5}, "object 5 is never visible"
    for key, row in found.items():
        np.testing.assert_array_equal(coco.decode(row["rle"]).astype(bool), films.truth[key])
        assert row["area"] == films.truth[key].sum()
    assert len(list((folder / "data/masks").iterdir())) == 3, "a shard a part"

    frames = datasets.load_dataset(str(folder), "frames", split="train", cache_dir=cache)
    for row in frames:
        assert row["image"].size == (WIDTH, HEIGHT)
        assert abs(int(np.asarray(row["image"])[-1, -1, 0]) - gray_of(row["frame_index"])) <= 4
        for one in row["objects"]:
            mask = films.truth[row["video_id"], one["object_id"], row["frame_index"]]
            np.testing.assert_array_equal(coco.decode(one["rle"]).astype(bool), mask)
    assert sum(len(row["objects"]) for row in frames) == sum(mask.any() for mask in films.truth.values())

    tracks = datasets.load_dataset(str(folder), "tracks", split="train", cache_dir=cache)
    assert [(row["video_id"], row["object_id"]) for row in tracks] == sorted({key[:2] for key in found})
    videos = datasets.load_dataset(str(folder), "videos", split="train", cache_dir=cache)
    assert videos["video_id"] == ["b/odd name.mp4", "c", "clip-1"]


@pytest.mark.slow
def test_row_groups_are_small_and_splits_are_words(
    export: Export, drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export("hf_datasets", "row_group_rows=10")
    (shard,) = (folder / "data/masks").iterdir()
    meta = pq.read_metadata(shard)
    assert [meta.row_group(place).num_rows for place in range(meta.num_row_groups)] == [10, 10, 6]
    words = [f"output={drawn.uri}", "format=hf_datasets", f"to={tmp_path / 'y'}", "splits.a-b=1"]
    assert door(words) == 2
    assert "splits.a-b: names of splits of hf_datasets have letters, digits and _ only" in capsys.readouterr().err


def test_each_split_has_its_own_files_and_those_without_videos_are_not_named(export: Export, drawn: DrawnJob) -> None:
    folder = export("hf_datasets", "splits.train=0.5", "splits.val=0.49", "splits.test=0.01", "title=Cats & <dogs> *1*")
    text = (folder / "README.md").read_text()
    named = {line.split()[-1] for line in text.splitlines() if line.startswith("  - split:")}
    found = {path.name.split("-")[0] for path in (folder / "data/masks").iterdir()}
    assert named == found
    assert "# Cats & \\<dogs\\> \\*1\\*\n" in text
