"""The side table joined with a dataset of LeRobot's layout v3, written from its description.

`data/chunk-*/file-*.parquet` of such a dataset hold a row a frame, with `episode_index`, `frame_index` (within the
episode), `timestamp` and `index`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline.errors import ConfigError
from pipeline.export import door
from pipeline.formats.writers.lerobot import Options, Writer
from tests.support.drawn_job import FPS, DrawnVideo, Truth, write_job

TOP, WRIST = "observation.images.top", "observation.images.wrist"


def _videos(*names: str, folder: str = "/data") -> tuple[DrawnVideo, ...]:
    """Of each name `12/observation.images.top` a video with that episode's file of layout v2."""
    return tuple(
        DrawnVideo(
            name,
            {3: "cup", 1: None},
            num_frames=3,
            uri=f"{folder}/videos/chunk-000/{name.split('/')[1]}/episode_{int(name.split('/')[0]):06d}.mp4",
        )
        for name in names
    )


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., tuple[int, Path, Truth]]:
    def run(videos: tuple[DrawnVideo, ...], *words: str) -> tuple[int, Path, Truth]:
        uri, truth = write_job(tmp_path, videos, broken=())
        return door([f"output={uri}", "format=lerobot", f"to={tmp_path / 'x'}", *words]), tmp_path / "x", truth

    return run


@pytest.mark.slow
def test_masks_join_the_frames_of_their_episode_and_camera(export: Callable, tmp_path: Path) -> None:
    code, folder, truth = export(_videos(f"0/{TOP}", f"12/{TOP}", f"12/{WRIST}"))
    assert code == 0
    frames = pa.table(
        {
            "episode_index": pa.array([0] * 3 + [12] * 3, pa.int64()),
            "frame_index": pa.array([0, 1, 2] * 2, pa.int64()),
            "timestamp": pa.array([0, 1 / FPS, 2 / FPS] * 2, pa.float32()),
            "index": pa.array(range(6), pa.int64()),
        }
    )
    (tmp_path / "lerobot/data/chunk-000").mkdir(parents=True)
    pq.write_table(frames, tmp_path / "lerobot/data/chunk-000/file-000.parquet")
    dataset = ds.dataset(tmp_path / "lerobot/data", format="parquet").to_table()
    masks = ds.dataset(folder / "masks", format="parquet").to_table()
    keys = ["episode_index", "frame_index"]
    places = masks.select([*keys, "video_key", "object_id", "pts_seconds"]).append_column(
        "row", pa.array(range(len(masks)))
    )
    joined = places.join(dataset, keys, join_type="inner").to_pylist()
    assert len(joined) == len(truth) == masks.num_rows
    codes = masks["rle"].to_pylist()
    for one in joined:
        mask = truth[f"{one['episode_index']}/{one['video_key']}", one["object_id"], one["frame_index"]]
        np.testing.assert_array_equal(coco.decode(codes[one["row"]]).astype(bool), mask)
        assert one["pts_seconds"] == pytest.approx(one["timestamp"]), "an episode with a file of its own"


@pytest.mark.slow
def test_the_reader_of_lerobot_datasets_reads_the_side_table(
    export: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`LeRobotDataset` reads its frames with the package `datasets`; two episodes lie in one file of its layout v3."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    from datasets import load_dataset

    code, folder, truth = export(_videos(f"0/{TOP}", f"1/{TOP}"))
    assert code == 0
    frames = [
        {"episode_index": episode, "frame_index": frame, "timestamp": frame / FPS, "index": 3 * episode + frame}
        for episode in (0, 1)
        for frame in range(3)
    ]
    data = tmp_path / "lerobot/data/chunk-000/file-000.parquet"
    data.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(frames), data)

    def read(place: Path) -> list[dict[str, Any]]:
        loaded = load_dataset("parquet", data_files=str(place), split="train", cache_dir=str(tmp_path / "cache"))
        return loaded.to_list()  # type: ignore[no-any-return]

    by_key = {(one["episode_index"], one["frame_index"]): one for one in read(data)}
    masks = read(folder / "masks/**/*.parquet")
    assert len(masks) == len(truth)
    for one in masks:
        frame = by_key[one["episode_index"], one["frame_index"]]
        assert one["video_key"] == TOP
        assert one["pts_seconds"] == pytest.approx(frame["timestamp"])
        mask = truth[f"{one['episode_index']}/{TOP}", one["object_id"], one["frame_index"]]
        np.testing.assert_array_equal(coco.decode(one["rle"]).astype(bool), mask)


@pytest.mark.slow
def test_a_pattern_and_a_key_tell_the_episode_where_the_path_does_not(export: Callable) -> None:
    videos = tuple(DrawnVideo(name, {1: "cup"}, num_frames=2) for name in ("run 3, top", "run 04, top"))
    code, folder, _ = export(videos, f"video_key={TOP}", r"episode_pattern=run (\d+)")
    assert code == 0
    masks = ds.dataset(folder / "masks", format="parquet").to_table()
    assert set(zip(masks["episode_index"].to_pylist(), masks["video_key"].to_pylist(), strict=True)) == {
        (3, TOP),
        (4, TOP),
    }


def test_kept_columns_go_before_what_paths_tell() -> None:
    row = {"video_id": "episode_1", "uri": f"/d/videos/{TOP}/chunk-000/file-000.mp4"}
    writer = Writer(Options())
    assert writer.episode(row) == (1, TOP), "a file of layout v3"
    assert writer.episode({**row, "episode_index": 40, "video_key": WRIST}) == (40, WRIST)
    assert writer.episode({**row, "episode_index": "41"}) == (41, TOP)
    with pytest.raises(ConfigError, match="video 'episode_1': its episode_index 'x' is no number"):
        writer.episode({**row, "episode_index": "x"})


@pytest.mark.fast_core(2)
@pytest.mark.parametrize(
    ("names", "words", "said"),
    [
        (["one"], ["video_key=top"], "video 'one': neither its id nor its uri tells its episode by episode"),
        (["episode_1"], [], "video 'episode_1': neither a kept column video_key nor its uri tells its video_key"),
        (
            ["episode_1", "episode_01"],
            ["video_key=top"],
            "videos 'episode_01' and 'episode_1' are both episode 1 of top",
        ),
        (["one"], ["video_key=top", "episode_pattern=one"], "one has no group: put the number in parentheses"),
        (["one"], ["video_key=top", "episode_pattern=(one"], "(one is no regular expression: missing )"),
    ],
)
def test_an_episode_that_nothing_tells_is_refused(
    export: Callable, names: list[str], words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, folder, _ = export(tuple(DrawnVideo(name, {1: "cup"}, num_frames=2) for name in names), *words)
    assert code == 2
    assert said in capsys.readouterr().err
    assert not folder.exists()
