"""What reviewers said of a track goes into formats with room for it, and an export never mixes what was said when."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO

from pipeline import tables
from pipeline.errors import ConfigError
from pipeline.export import door
from pipeline.formats.engine import ExportJob, export
from pipeline.formats.folder import ExportFolder
from pipeline.formats.registry import load
from pipeline.formats.selection import Content, Selection
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, drawn_mask, write_job
from tests.support.drawn_rounds import Rounds
from tests.support.dying_storage import Died, DyingStorage
from tests.support.reviewed import say_of, verdict

CLIPS = (DrawnVideo("a", {1: "cat", 2: "dog"}), DrawnVideo("b", {1: "cat"}))
REVIEW = {"verdict": "accept", "reviewer": "ann & bo"}
NAMES = ("verdict", "reviewer", "round")
Export = Callable[..., Path]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job in which one object of three has a verdict."""
    found, _ = write_job(tmp_path_factory.mktemp("reviewed"), CLIPS, broken=())
    say_of(found, verdict("a", 2, "accept", reviewer=REVIEW["reviewer"]))
    return found


@pytest.fixture
def exported(uri: str, tmp_path: Path) -> Export:
    def run(format_name: str, *words: str) -> Path:
        assert door([f"output={uri}", f"format={format_name}", f"to={tmp_path / 'x'}", *words]) == 0
        return tmp_path / "x"

    return run


@pytest.mark.slow
def test_annotations_of_coco_have_attributes(exported: Export) -> None:
    read = COCO(exported("coco") / "annotations/instances_train.json")
    said = {(read.cats[one["category_id"]]["name"], json.dumps(one.get("attributes"))) for one in read.anns.values()}
    assert said == {("dog", json.dumps(REVIEW)), ("cat", "null")}


def test_annotations_of_coco_video_have_attributes(exported: Export) -> None:
    found = json.loads((exported("coco_video") / "annotations/instances_train.json").read_text())["annotations"]
    assert {one["instance_id"]: one.get("attributes") for one in found} == {1: None, 2: REVIEW, 3: None}


def test_masklets_of_sa_v_have_lists_where_a_video_was_reviewed(exported: Export) -> None:
    folder = exported("sa_v", "frame_step=1") / "sav_train"
    a, b = (json.loads((folder / f"{name}_manual.json").read_text()) for name in "ab")
    assert [a[f"masklet_{name}"] for name in NAMES] == [[None, "accept"], [None, "ann & bo"], [None, None]]
    assert not any(f"masklet_{name}" in b for name in NAMES)


def test_regions_of_label_studio_have_meta(exported: Export) -> None:
    tasks = json.loads((exported("label_studio") / "train.json").read_text())
    found = {
        (task["meta"]["video_id"], region["meta"]["text"][0]): {k: v for k, v in region["meta"].items() if k != "text"}
        for task in tasks
        for region in task["predictions"][0]["result"]
    }
    assert found == {("a", "object 1"): {}, ("a", "object 2"): REVIEW, ("b", "object 1"): {}}


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["cvat_images", "cvat_video"])
def test_cvat_keeps_them_as_attributes_of_labels(format_name: str, exported: Export) -> None:
    """By datumaro: attributes that the label does not declare are dropped."""
    folder = exported(format_name)
    from datumaro.plugins.data_formats.cvat.base import CvatBase

    paths = [folder / "train.xml"] if format_name == "cvat_images" else sorted(folder.glob("train/*/annotations.xml"))
    if format_name == "cvat_images":  # it wants files, and does not look into them
        for frame_index in range(6):
            for name in ("a", "b"):
                file = folder / f"images/{name}/{frame_index:05d}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
    found = set()
    for path in paths:
        for item in CvatBase(str(path)):
            for one in item.annotations:
                found.add((one.attributes["object_id"], one.attributes.get("verdict"), one.attributes.get("reviewer")))
    assert {(str(one), *rest) for one, *rest in found} == {("1", None, None), ("2", "accept", "ann & bo")}


def test_objects_of_fiftyone_have_attributes(exported: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("py7zr", "rarfile"):  # for archives, of which there are none
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    video_labels = importlib.import_module("eta.core.video").VideoLabels
    labels = video_labels.from_json(str(exported("fiftyone") / "train/labels/a.json"))
    found = {}
    for number in labels:
        for one in labels[number].objects:
            values = {attr.name: attr.value for attr in one.attrs}
            found[values["object_id"]] = {name: values[name] for name in NAMES if name in values}
    assert found == {"1": {}, "2": REVIEW}


def test_objects_of_webdataset_have_them(exported: Export) -> None:
    (shard,) = exported("webdataset").glob("*.tar")
    with tarfile.open(shard) as archive:
        samples = [json.load(archive.extractfile(name)) for name in archive.getnames() if name.endswith(".json")]  # type: ignore[arg-type]
    found = {
        (sample["video_id"], one["object_id"]): {name: one[name] for name in NAMES if name in one}
        for sample in samples
        for one in sample["objects"]
    }
    assert found == {("a", 1): {}, ("a", 2): REVIEW, ("b", 1): {}}


def test_tracks_of_hf_datasets_have_columns(exported: Export) -> None:
    rows = pq.read_table(exported("hf_datasets") / "data/tracks/train.parquet").select(["object_id", *NAMES])
    assert rows.to_pylist()[:2] == [
        {"object_id": 1, "verdict": None, "reviewer": None, "round": None},
        {"object_id": 2, **REVIEW, "round": None},
    ]


@pytest.mark.slow
def test_recordings_of_rerun_have_an_entity_of_the_track(exported: Export) -> None:
    from rerun.chunk import RrdReader

    chunks = RrdReader(exported("rerun") / "train/a.rrd").stream()
    found = {one.entity_path: one.to_record_batch().to_pylist() for one in chunks if "tracks" in one.entity_path}
    (rows,) = found.values()
    said = {name.split(":")[-1]: value for name, value in rows[0].items() if name.split(":")[-1] in NAMES}
    assert (list(found), said) == (["/tracks/2"], {"verdict": ["accept"], "reviewer": ["ann & bo"]})


def coco_of(uri: str, storage: JobStorage, round: int | None = None) -> ExportJob:
    made = load("coco")
    folder = ExportFolder(storage, None)
    return ExportJob(uri, {}, made.make(made.options()), Selection(round=round), Content(), folder)


@pytest.mark.slow
def test_an_export_that_began_before_a_verdict_is_not_gone_on_with(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, CLIPS, broken=())
    whole = DyingStorage(str(tmp_path / "whole"))
    export(coco_of(uri, whole), 8, False)
    place = str(tmp_path / "killed")
    with pytest.raises(Died):
        export(coco_of(uri, DyingStorage(place, dies_at=whole.num_writes - 4)), 8, False)
    say_of(uri, verdict("a", 2, "accept"))
    with pytest.raises(ConfigError, match=r"other labels or verdicts of the job.*overwrite=true"):
        export(coco_of(uri, JobStorage(place)), 8, False)
    export(coco_of(uri, JobStorage(place)), 8, True)
    found = json.loads((tmp_path / "killed/annotations/instances_train.json").read_text())["annotations"]
    assert {one["track_id"]: (one.get("attributes") or {}).get("verdict") for one in found} == {
        1: None,
        2: "accept",
        3: None,
    }


def test_an_export_of_a_job_without_reviews_is_that_of_an_earlier_program(uri: str, tmp_path: Path) -> None:
    """Its digest is the same, so that one that was begun by that program goes on: it would write the same."""
    plain = str(shutil.copytree(uri, tmp_path / "job", ignore=shutil.ignore_patterns("reviews")))
    export(coco_of(plain, JobStorage(str(tmp_path / "x"))), 8, False)
    identity = json.loads((tmp_path / "x/manifest.json").read_text())["identity"]
    assert identity["plan"] == "0a6c240be1992ed5560a5d3c7cc67ba864090407faf22262526c6af94284f063"


@pytest.mark.slow
def test_an_export_of_an_earlier_round_has_the_masks_and_the_tracks_of_that_round(
    tmp_path: Path, disk_storage: JobStorage
) -> None:
    """The next round replaced its masks, and a reviewer has rejected a track since."""
    rounds = Rounds(disk_storage, tmp_path)
    first = DrawnVideo("a", {1: "cat", 2: "dog"})
    rounds.commit(first)
    rounds.begin("a")
    rounds.commit(DrawnVideo("a", {1: "cat", 2: "dog"}, num_frames=3))
    made = tables.open(disk_storage.uri).tracks()["labeled_at"][0].as_py()
    say_of(disk_storage.uri, verdict("a", 1, "reject", labeled_at=made))
    for name, words in {"now": [], "then": ["round=1"]}.items():
        assert door([f"output={disk_storage.uri}", "format=coco_video", f"to={tmp_path / name}", *words]) == 0
    now, then = (
        json.loads((tmp_path / name / "annotations/instances_train.json").read_text()) for name in ("now", "then")
    )
    assert (len(now["images"]), len(then["images"])) == (3, first.num_frames)
    assert [one["attributes"] for one in now["annotations"][:1]] == [{"round": 2}]
    visible = [frame for frame in first.frames for k in (1, 2) if _shows(drawn_mask(first, k, frame))]
    assert len(then["annotations"]) == len(visible)
    assert not any("attributes" in one for one in then["annotations"])


def _shows(mask: Any) -> bool:
    return mask is not None and bool(mask.any())


@pytest.mark.slow
def test_a_folder_holds_one_round_and_a_round_that_is_gone_is_named(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"output={uri}", "format=coco", f"to={tmp_path / 'x'}"]
    assert door([*words, "round=1"]) == 0
    assert door(words) == 2
    assert "holds an export with another" in capsys.readouterr().err
    assert door([*words, "round=2", "overwrite=true"]) == 2
    assert "round 2 cannot be read; there is round 1" in capsys.readouterr().err
    assert (tmp_path / "x/manifest.json").exists()
    assert door([*words[:1], "format=cvat_video", f"to={tmp_path / 'y'}", "round=1", "review=true"]) == 2
    assert "round= is of earlier labels" in capsys.readouterr().err
