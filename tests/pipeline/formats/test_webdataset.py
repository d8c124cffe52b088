"""Shards as `webdataset` reads them."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import HEIGHT, WIDTH
from tests.support.media_files import gray_of

Export = Callable[..., Path]


@pytest.mark.slow
def test_webdataset_reads_a_sample_a_frame_with_its_masks(films: DrawnJob, tmp_path: Path) -> None:
    import webdataset

    folder = tmp_path / "x"
    assert door([f"output={films.uri}", "format=webdataset", f"to={folder}", "frames=jpg"]) == 0
    shards = sorted(map(str, folder.glob("*.tar")))
    found = {}
    for sample in webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"):
        assert set(sample) >= {"jpg", "json", "masks.npz"}
        about = sample["json"]
        assert sample["jpg"].shape == (HEIGHT, WIDTH, 3)
        assert abs(int(sample["jpg"][-1, -1, 0]) - gray_of(about["frame_index"])) <= 6
        masks, ids = sample["masks.npz"]["masks"], sample["masks.npz"]["object_ids"]
        assert masks.dtype == bool
        assert ids.tolist() == [one["object_id"] for one in about["objects"]]
        found |= {
            (about["video_id"], int(one), about["frame_index"]): mask for one, mask in zip(ids, masks, strict=True)
        }
    expected = {key: mask for key, mask in films.truth.items() if mask.any()}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], mask) for key, mask in expected.items())


@pytest.mark.slow
def test_shards_end_when_they_are_large_and_are_the_same_bytes_again(export: Export, drawn: DrawnJob) -> None:
    folders = [export("webdataset", "part_masks=10", to=name) for name in ("one", "two")]
    names = [sorted(path.name for path in folder.glob("*.tar")) for folder in folders]
    assert names[0] == names[1] == [f"train-00000{part}-0000.tar" for part in range(3)]
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names[0])
    for name in names[0]:
        with tarfile.open(folders[0] / name) as shard:
            members = shard.getnames()
        keys = [member.partition(".")[0] for member in members]
        assert keys[::2] == keys[1::2], "members of a sample lie together, and no id adds a dot"
        assert not any("/" in member for member in members)
