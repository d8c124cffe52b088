"""Texts of MOTS and tracks of CVAT have nothing of a frame on which nothing shows: it is labeled, though."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline.evaluate import door as evaluate_door
from pipeline.export import door
from pipeline.formats.labels import read_labels
from tests.support.drawn_job import DrawnVideo, write_job

pytestmark = pytest.mark.slow

MASK = np.zeros((48, 64), bool)
MASK[5:30, 5:40] = True
LEAVING = DrawnVideo(
    "v", {1: "car"}, 5, 2, masks={(1, place): MASK if place < 2 else MASK & False for place in range(5)}
)
STAYING = DrawnVideo("v", {1: "car"}, 5, 2, masks={(1, place): MASK for place in range(5)})


def exported(folder: Path, *words: str) -> Path:
    uri, _ = write_job(folder, (LEAVING, DrawnVideo("w", {1: "car"}, 3)), broken=())
    assert door([f"output={uri}", f"to={folder / 'to'}", *words]) == 0
    return folder / "to"


@pytest.mark.parametrize(
    "words",
    [["mots"], ["mots", "variant=kitti"], ["mots", "variant=mots_challenge"], ["cvat_video"], ["coco"]],
    ids=str,
)
def test_masks_on_frames_where_nothing_is_are_counted(tmp_path: Path, words: list[str]) -> None:
    truth = exported(tmp_path / "true", f"format={words[0]}", *words[1:])
    uri, _ = write_job(tmp_path / "predicted", (STAYING,), broken=())
    asked = [f"output={uri}", f"truth={truth}", "missing=skip", f"to={tmp_path / 'scores'}"]
    assert evaluate_door(asked) == 0
    (row,) = pq.read_table(tmp_path / "scores/objects.parquet").to_pylist()
    assert (row["num_frames"], row["num_hidden"], row["num_invented"]) == (4, 3, 3)


@pytest.mark.parametrize(
    "words", [["mots", "variant=kitti"], ["mots", "variant=mots_challenge"], ["cvat_video"]], ids=str
)
def test_frames_between_those_that_a_stride_takes_are_not_labeled(tmp_path: Path, words: list[str]) -> None:
    truth = exported(tmp_path, f"format={words[0]}", *words[1:])
    frames = [label.frame_index for label in read_labels(str(truth), "auto") if label.video == "v"]
    assert frames == sorted(frames)
    assert sorted(set(frames)) == [0, 2, 4, 6, 8]


def test_a_frame_between_keyframes_that_somebody_deleted_is_not_empty(tmp_path: Path) -> None:
    truth = exported(tmp_path, "format=cvat_video")
    annotations = truth / "train/w/annotations.xml"
    document = ElementTree.parse(annotations)
    (track,) = document.iter("track")
    track.remove(track[1])  # CVAT shows the object on frame 1 too, between those of 0 and 2
    document.write(annotations)
    frames = [label.frame_index for label in read_labels(str(truth), "auto") if label.video == "w"]
    assert frames == [0, 2]


def line(frame: int) -> str:
    code = coco.encode(np.asfortranarray(MASK, np.uint8))["counts"].decode()
    return f"{frame} 1001 1 48 64 {code}\n"


def test_the_files_of_a_data_set_tell_how_many_frames_there_are(tmp_path: Path) -> None:
    """As TrackEval takes them: `seqLength` frames from 1, and those up to the last number of a line of the seqmap."""
    (tmp_path / "challenge/MOTS20-02/gt").mkdir(parents=True)
    (tmp_path / "challenge/MOTS20-02/gt/gt.txt").write_text(line(2))
    (tmp_path / "challenge/MOTS20-02/seqinfo.ini").write_text("[Sequence]\nname=MOTS20-02\nseqLength=3\n")
    (tmp_path / "kitti/label_02").mkdir(parents=True)
    for name in ("0002", "0006"):
        (tmp_path / f"kitti/label_02/{name}.txt").write_text(line(1))
    (tmp_path / "kitti/evaluate_mots.seqmap.val").write_text("0002 empty 000000 000003\n")
    challenge = [(one.frame_index, one.object_key) for one in read_labels(str(tmp_path / "challenge"), "mots")]
    assert challenge == [(1, 1001), (0, None), (2, None)]
    kitti = [(one.video, one.frame_index, one.object_key) for one in read_labels(str(tmp_path / "kitti"), "mots")]
    assert kitti == [("0002", 1, 1001), *(("0002", frame, None) for frame in (0, 2, 3)), ("0006", 1, 1001)]
