"""Prompts and tables of every kind of nonsense, and pickles where none belong, through a whole job."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import model
from pipeline import tables
from pipeline.inputs.write import prompts_table
from pipeline.output.layout import session_folder
from pipeline.run import main
from tests.support.media_files import encode, encode_image, pictures

pytestmark = pytest.mark.slow

GOOD = {"object_id": 1, "frame_index": 0, "box_xyxy": [8.0, 2.0, 30.0, 20.0]}
CLICK = {"points_xy": [[10.0, 5.0]], "point_labels": [1]}

# What is wrong with the only object of a video, and what its row must say.
NONSENSE: dict[str, tuple[dict[str, Any], str]] = {
    "nan": ({"points_xy": [[np.nan, 1.0]], "point_labels": [1]}, "finite x and y"),
    "infinite": ({"box_xyxy": [0.0, 0.0, np.inf, 9.0]}, "four finite numbers"),
    "swapped": ({"box_xyxy": [30.0, 2.0, 8.0, 20.0]}, "x0 < x1"),
    "no area": ({"box_xyxy": [8.0, 2.0, 8.0, 2.0]}, "x0 < x1"),
    "three corners": ({"box_xyxy": [8.0, 2.0, 8.0]}, "four finite numbers"),
    "far outside": ({"box_xyxy": [800.0, 200.0, 900.0, 300.0]}, "outside"),
    "click outside": ({"points_xy": [[1e6, 5.0]], "point_labels": [1]}, "outside"),
    "label": ({"points_xy": [[1.0, 1.0]], "point_labels": [7]}, "labels"),
    "more labels": ({"points_xy": [[1.0, 1.0]], "point_labels": [1, 0]}, "1 point, but point_labels has 2 labels"),
    "labels only": ({"point_labels": [1]}, "0 points, but point_labels has 1 label;"),
    "one number": ({"points_xy": [[1.0]], "point_labels": [1]}, "finite x and y"),
    "nothing": ({}, "neither points, box nor mask"),
    "mask and box": ({"mask_rle": {"size": [48, 64], "counts": "0"}, "box_xyxy": [1.0, 1.0, 9.0, 9.0]}, "contradict"),
    "mask of another size": ({"mask_rle": {"size": [4, 6], "counts": "l0"}}, "size is"),
    "mask code": ({"mask_rle": {"size": [48, 64], "counts": "\x01\x02"}}, "counts"),
    "empty mask": ({"mask_rle": {"size": [48, 64], "counts": "PP3"}}, "mask"),
    "frame beyond the end": ({**CLICK, "frame_index": 99}, "99"),
    "frame before the start": ({**CLICK, "frame_index": -1}, "frame"),
    "time beyond the end": ({**CLICK, "frame_index": None, "pts_seconds": 1e9}, "seconds"),
    "no frame": ({**CLICK, "frame_index": None}, "neither frame_index nor pts_seconds"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "input"
    made.mkdir()
    (made / "image.png").write_bytes(encode_image(pictures(1)[0]))
    return made


def write_job(folder: Path, videos: list[dict[str, Any]], prompts: list[dict[str, Any]]) -> list[str]:
    pq.write_table(pa.Table.from_pylist(videos), folder / "videos.parquet")
    pq.write_table(prompts_table(prompts), folder / "prompts.parquet")
    places = [f"{name}={folder / name}.parquet" for name in ("videos", "prompts")]
    return [*places, f"output={folder.parent / 'out'}", "cluster=serial", "max_failed_fraction=1"]


def test_every_kind_of_nonsense_in_prompts_has_its_message(folder: Path) -> None:
    videos = [{"video_id": name, "uri": "image.png"} for name in ["good", "both", *NONSENSE]]
    prompts: list[dict[str, Any]] = [{"video_id": "good", **GOOD}, {"video_id": "both", **GOOD}]
    prompts.append({"video_id": "both", "object_id": 2, "frame_index": 0, **NONSENSE["swapped"][0]})
    for name, (columns, _) in NONSENSE.items():
        prompts.append({"video_id": name, "object_id": 5, "frame_index": 0, **columns})
    assert main(write_job(folder, videos, prompts)) == 0
    job = tables.open(str(folder.parent / "out"))
    rows = {row["video_id"]: row for row in job.videos().to_pylist()}
    assert {name for name, row in rows.items() if row["status"] == "ok"} == {"good", "both"}
    for name, (_, said) in NONSENSE.items():
        assert rows[name]["error_class"] == "input", rows[name]
        assert said in rows[name]["message"], (name, rows[name]["message"])
        assert "object 5" in rows[name]["message"], (name, rows[name]["message"])
    tracks = {(row["video_id"], row["object_id"]): row["status"] for row in job.tracks().to_pylist()}
    assert (tracks["both", 1], tracks["both", 2]) == ("ok", "failed")
    assert set(job.masks().to_table()["video_id"].to_pylist()) == {"good", "both"}


WRONG_TABLES: dict[str, tuple[str, Any, str]] = {
    "no table": ("prompts", b"video_id,object_id\n1,2\n", "prompts.parquet"),
    "empty file": ("videos", b"", "videos.parquet"),
    "missing column": ("videos", {"uri": ["image.png"]}, "video_id"),
    "numbers as ids": ("videos", {"video_id": [1], "uri": ["image.png"]}, "video_id"),
    "numbers as uris": ("videos", {"video_id": ["v"], "uri": [3]}, "uri"),
    "nested as text": ("prompts", {"video_id": ["v"], "object_id": [1], "frame_index": [0], "box_xyxy": ["[1,2,3,4]"]},
                       "box_xyxy"),
    "objects as text": ("prompts", {"video_id": ["v"], "object_id": ["1"], "frame_index": [0],
                                    "box_xyxy": [[1.0, 2.0, 3.0, 4.0]]}, "object_id"),
    "nothing to say": ("prompts", {"video_id": ["v"], "object_id": [1], "frame_index": [0]}, "prompts"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_TABLES)
def test_a_table_that_cannot_be_used_is_named_and_nothing_is_written(
    kind: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table, content, said = WRONG_TABLES[kind]
    arguments = write_job(folder, [{"video_id": "v", "uri": "image.png"}], [{"video_id": "v", **GOOD}])
    if isinstance(content, bytes):
        (folder / f"{table}.parquet").write_bytes(content)
    else:
        pq.write_table(pa.table(content), folder / f"{table}.parquet")
    assert main(arguments) == 2
    printed = capfd.readouterr().err
    assert said in printed
    assert "Traceback" not in printed
    assert not (folder.parent / "out").exists()


def test_nulls_cost_their_rows_only(folder: Path) -> None:
    videos = [
        {"video_id": "good", "uri": "image.png"},
        {"video_id": None, "uri": "image.png"},
        {"video_id": "nowhere", "uri": None},
    ]
    prompts = [
        {"video_id": "good", **GOOD},
        {"video_id": None, **GOOD},
        {"video_id": "nowhere", **GOOD},
        {"video_id": "good", "object_id": None, "frame_index": 0},
    ]
    assert main(write_job(folder, videos, prompts)) == 0
    rows = {row["video_id"]: row["status"] for row in tables.open(str(folder.parent / "out")).videos().to_pylist()}
    assert rows == {"good": "ok", "nowhere": "failed"}


def test_a_million_rows_about_other_videos(folder: Path) -> None:
    arguments = write_job(folder, [{"video_id": "good", "uri": "image.png"}], [])
    others = pa.array([f"other-{number}" for number in range(1_000_000)])
    columns = {
        "video_id": others,
        "object_id": pa.array(np.ones(len(others), np.int64)),
        "frame_index": pa.array(np.zeros(len(others), np.int32)),
        "box_xyxy": pa.FixedSizeListArray.from_arrays(pa.array(np.tile([8.0, 2.0, 30.0, 20.0], len(others))), 4),
    }
    many = pa.table(columns)
    with pq.ParquetWriter(folder / "prompts.parquet", many.schema) as writer:
        writer.write_table(many)
        writer.write_table(many.slice(0, 1).set_column(0, "video_id", pa.array(["good"])))
    assert main(arguments) == 0
    (row,) = tables.open(str(folder.parent / "out")).videos().to_pylist()
    assert (row["video_id"], row["status"]) == ("good", "ok")


class Bomb:
    """Whoever unpickles it leaves a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


_seen: list[str] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event == "pickle.find_class":
        _seen.append(".".join(map(str, arguments)))


@cache
def _begin_to_listen() -> None:
    """Not before it is needed, because Python calls a listener at each import, file and attribute, and for ever."""
    sys.addaudithook(_listen)


@pytest.fixture
def unpickled() -> Iterator[list[str]]:
    """Classes and functions that Python's unpickler has looked up."""
    global _seen
    _begin_to_listen()
    _seen = []
    yield _seen
    _seen = None


def test_the_ear_hears(unpickled: list[str], tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()
    assert "touch" in " ".join(unpickled) or "getattr" in " ".join(unpickled)


def test_nothing_is_ever_unpickled(folder: Path, tmp_path: Path, unpickled: list[str]) -> None:
    """A pickle as a video, in a table, as a table, in the job's own files, and as weights."""
    marker = tmp_path / "marker"
    bomb = pickle.dumps(Bomb(marker))
    (folder / "bomb.mp4").write_bytes(bomb)
    (folder / "bomb.pkl").write_bytes(bomb)
    (folder / "frames").mkdir()
    (folder / "frames" / "1.png").write_bytes(bomb)
    clip = encode(pictures(3))
    (folder / "clip.mp4").write_bytes(clip)
    uris = {"clip": "clip.mp4", "mp4": "bomb.mp4", "pkl": "bomb.pkl", "frames": "frames"}
    videos: list[dict[str, Any]] = [{"video_id": name, "uri": uri, "bytes": None} for name, uri in uris.items()]
    videos.append({"video_id": "bytes", "uri": None, "bytes": bomb})
    prompts = [{"video_id": row["video_id"], **GOOD} for row in videos]
    prompts.append({"video_id": "pkl", "object_id": 2, "frame_index": 0, "mask_rle": {"size": [4, 4], "counts": "l0"}})
    arguments = write_job(folder, videos, prompts)
    output = tmp_path / "out"
    for path in ("_owner.json", "_status.json", f"{session_folder('clip')}/latest.json", "masks/bomb.parquet"):
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        (output / path).write_bytes(bomb)
    assert main(arguments) == 0
    rows = {row["video_id"]: row["status"] for row in tables.open(str(output)).videos().to_pylist()}
    assert rows == {"clip": "ok"} | dict.fromkeys(("mp4", "pkl", "frames", "bytes"), "failed")

    (folder / "prompts.parquet").write_bytes(bomb)
    assert main([*arguments, f"output={tmp_path / 'other'}"]) == 2
    assert not marker.exists()
    assert unpickled == []


@pytest.mark.parametrize("name", ["model.safetensors", "sam2.1_hiera_tiny.pt", "pytorch_model.bin"])
def test_weights_that_are_a_pickle_are_refused(
    name: str, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`.pt` files are read by torch's own reader of tensors, which runs nothing."""
    marker, weights = tmp_path / "marker", tmp_path / "weights"
    weights.mkdir()
    mini = Path(model.__file__).parent / "checkpoints" / "sam2.1-mini"
    (weights / "config.json").write_bytes((mini / "config.json").read_bytes())
    buffer = io.BytesIO()
    torch.save({"model": Bomb(marker)}, buffer)
    (weights / name).write_bytes(buffer.getvalue())
    arguments = write_job(folder, [{"video_id": "v", "uri": "image.png"}], [{"video_id": "v", **GOOD}])
    code = main([*arguments, f"model.checkpoint={weights}", "worker.max_setup_failures=1"])
    assert code in (1, 2)
    assert not marker.exists()
    assert str(weights) in "".join(capfd.readouterr())
