"""An export is whole or absent, goes on where it was killed, and never takes a folder of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.export import door
from pipeline.formats.engine import OnePartWriter, PartDone, export
from pipeline.formats.folder import ExportFolder
from pipeline.formats.plan import Plan, Task
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import write_job
from tests.support.dying_storage import Died, DyingStorage
from tests.support.exports import coco_job, files_of_export
from tests.support.full_disk import full_disk
from tests.support.quick_storage import QuickStorage

Export = Callable[..., Path]
PART_MASKS = 8


@pytest.mark.slow
def test_a_killed_export_goes_on_and_is_the_same(drawn: DrawnJob, tmp_path: Path) -> None:
    export(coco_job(drawn.uri, QuickStorage(str(tmp_path / "whole"))), PART_MASKS, False)
    expected = files_of_export(tmp_path / "whole")
    assert expected.keys() == {"annotations/instances_train.json", "manifest.json", "manifest_videos.jsonl"}
    num_killed = 0
    for dies_at in count():
        place = tmp_path / f"killed-{dies_at}"
        storage = DyingStorage(str(place), dies_at=dies_at, dies_after=True)
        try:
            export(coco_job(drawn.uri, storage), PART_MASKS, False)
            break
        except Died:
            num_killed += 1
        assert not (place / "manifest.json").exists() or files_of_export(place).items() >= expected.items()
        export(coco_job(drawn.uri, QuickStorage(str(place))), PART_MASKS, False)
        assert files_of_export(place) == expected
    assert num_killed > 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "num_before", [0, 1, None], ids=["while a file is written", "while parts are written", "before they are joined"]
)
def test_the_same_command_twice_at_one_time_makes_one_whole_export(
    drawn: DrawnJob, tmp_path: Path, num_before: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(coco_job(drawn.uri, QuickStorage(str(tmp_path / "whole"))), PART_MASKS, False)

    def other() -> None:
        export(coco_job(drawn.uri, QuickStorage(str(tmp_path / "to"))), PART_MASKS, False)

    class Slow(OnePartWriter):
        def run(self, tasks: Iterable[Task]) -> Iterator[PartDone]:
            for number, part in enumerate(super().run(tasks), 1):
                if number == num_before:
                    other()
                yield part

    job = coco_job(drawn.uri, QuickStorage(str(tmp_path / "to")))
    if num_before == 0:
        spools = ExportFolder.new_spool

        def spool(folder: ExportFolder) -> Any:
            found = spools(folder)
            monkeypatch.setattr(ExportFolder, "new_spool", spools)
            other()
            return found

        monkeypatch.setattr(ExportFolder, "new_spool", spool)
    if num_before is None:
        finish = job.format.writer.finish

        def after_other(plan: Plan, folder: ExportFolder) -> None:
            monkeypatch.setattr(job.format.writer, "finish", finish)
            other()
            finish(plan, folder)

        monkeypatch.setattr(job.format.writer, "finish", after_other)
    assert export(job, PART_MASKS, False, Slow).was_there
    assert files_of_export(tmp_path / "to") == files_of_export(tmp_path / "whole")


@pytest.mark.slow
def test_parts_that_somebody_deletes_are_missed(drawn: DrawnJob, tmp_path: Path) -> None:
    class Deleting(OnePartWriter):
        def run(self, tasks: Iterable[Task]) -> Iterator[PartDone]:
            for number, part in enumerate(super().run(tasks)):
                if number == 0:
                    shutil.rmtree(tmp_path / "to/_parts")
                yield part

    job = coco_job(drawn.uri, QuickStorage(str(tmp_path / "to")))
    with pytest.raises(
        ConfigError, match=r"parts of this export are gone \(\d parts? of \d\), because another process"
    ):
        export(job, PART_MASKS, False, Deleting)


@pytest.mark.slow
def test_an_export_that_is_killed_while_it_deletes_another_one_goes_on(drawn: DrawnJob, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    export(coco_job(drawn.uri, QuickStorage(str(whole))), PART_MASKS, False)
    for dies_at in range(8):
        place = tmp_path / str(dies_at)
        export(coco_job(drawn.uri, QuickStorage(str(place))), PART_MASKS * 2, False)
        with pytest.raises(Died):
            export(coco_job(drawn.uri, DyingStorage(str(place), dies_at=dies_at, dies_after=True)), PART_MASKS, True)
        assert not (place / "manifest.json").exists() or files_of_export(place) != files_of_export(whole)
        export(coco_job(drawn.uri, QuickStorage(str(place))), PART_MASKS, True)
        assert files_of_export(place) == files_of_export(whole)


@pytest.mark.slow
def test_parts_that_are_written_are_not_written_again(drawn: DrawnJob, tmp_path: Path) -> None:
    class DyingAtItsEnd(QuickStorage):
        def replace(self, path: str, data: bytes) -> None:
            if path == "manifest.json":
                raise Died
            super().replace(path, data)

    whole = DyingStorage(str(tmp_path / "whole"))
    export(coco_job(drawn.uri, whole), PART_MASKS, False)
    with pytest.raises(Died):
        export(coco_job(drawn.uri, DyingAtItsEnd(str(tmp_path / "killed"))), PART_MASKS, False)
    num_parts = len(list((tmp_path / "killed/_parts").glob("0*.json")))
    assert num_parts >= 2
    again = DyingStorage(str(tmp_path / "killed"))
    export(coco_job(drawn.uri, again), PART_MASKS, False)
    assert again.num_writes <= whole.num_writes - 4 * num_parts, "each part writes three streams and its mark"


@pytest.mark.slow
def test_the_same_command_finds_a_whole_export_and_another_one_is_refused(
    export: Export, drawn: DrawnJob, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export("coco")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert export("coco") == folder
    assert "is there already, whole" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    arguments = [f"output={drawn.uri}", f"to={folder}"]
    assert door([*arguments, "format=coco", "min_area=5"]) == 2
    assert "holds an export with another min_area (0, not 5): name another folder, or give overwrite=true" in (
        capsys.readouterr().err
    )
    assert door([*arguments, "format=youtube_vis"]) == 2
    assert "holds another export, format=coco: name another folder" in capsys.readouterr().err
    assert door([*arguments, "format=youtube_vis", "overwrite=true"]) == 0
    assert json.loads((folder / "manifest.json").read_text())["format"] == "youtube_vis"


@pytest.mark.slow
def test_what_another_selection_has_written_is_not_mixed_with_this_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, _ = write_job(tmp_path)
    arguments = [f"output={uri}", "format=coco", f"to={tmp_path / 'coco'}"]
    assert door([*arguments, "videos=[c]"]) == 0
    assert door(arguments) == 2
    assert 'holds an export with another videos (["c"], not null): name' in capsys.readouterr().err
    assert door([*arguments, "overwrite=true"]) == 0
    assert len((tmp_path / "coco/manifest_videos.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_folder_of_others_is_left_alone(
    export: Export, drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("words")
    for more in ([], ["overwrite=true"]):
        assert door([f"output={drawn.uri}", "format=coco", f"to={tmp_path / 'mine'}", *more]) == 2
        assert "holds thesis.tex of others: name a folder that is empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def _without_names(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["names"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _unfinished(folder: Path) -> None:
    """As a kill leaves it before its manifest, when all parts are written."""
    identity = json.loads((folder / "manifest.json").read_text())["identity"]
    (folder / "_parts/names").mkdir(parents=True)
    (folder / "_parts/names/annotations.name").touch()
    (folder / "_parts/export.json").write_text(json.dumps({"version": 1, "identity": identity}))
    for name in ("manifest.json", "manifest_videos.jsonl"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda _: None, "job.json, notes.txt beside the export, which others wrote, would be deleted too: move that"),
        (_unfinished, "job.json, notes.txt beside the export, which others wrote, would be deleted too: move that"),
        (_without_names, "its export is of an earlier version, which does not say what belongs to it: delete the"),
    ],
)
def test_what_others_put_beside_an_export_is_not_deleted_with_it(
    change: Callable[[Path], None], told: str, export: Export, drawn: DrawnJob, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export("coco")
    for name in ("notes.txt", "job.json"):
        (folder / name).write_text("words")
    change(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    words = [f"output={drawn.uri}", "format=coco", f"to={folder}", "min_area=5", "overwrite=true"]
    assert door(words) == 2
    assert told in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    if change is not _without_names:
        for name in ("notes.txt", "job.json"):
            (folder / name).unlink()
        assert door(words) == 0


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ({"version": 99, "identity": {}}, "was written by a newer maskmill, in version 99"),
        ({"name": "my app", "version": "2"}, "manifest.json is none of maskmill's: name an empty folder"),
    ],
)
def test_a_manifest_of_others_or_of_a_newer_program_is_left_alone(
    manifest: dict, told: str, drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    assert door([f"output={drawn.uri}", "format=coco", f"to={tmp_path}", "overwrite=true"]) == 2
    assert told in capsys.readouterr().err
    assert json.loads(path.read_text()) == manifest


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_same_command_goes_on(
    drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"output={drawn.uri}", "format=coco", f"to={tmp_path / 'to'}"]
    with full_disk(room_bytes=2000):
        assert door(arguments) == 1
    told = capsys.readouterr().err
    assert "writing to" in told
    assert "Make room" in told
    assert not (tmp_path / "to/manifest.json").exists()
    assert not (tmp_path / "to/annotations").exists()
    assert door(arguments) == 0


@pytest.mark.slow
def test_an_export_that_was_refused_at_its_beginning_leaves_the_folder_to_another_one(
    drawn: DrawnJob, tmp_path: Path
) -> None:
    arguments = [f"output={drawn.uri}", "format=coco", f"to={tmp_path / 'to'}"]
    assert door([*arguments, "frames=jpg"]) == 2, "the job has no files of its videos"
    assert door(arguments) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["format=coco", "videos=[clip-2]"], "no finished video 'clip-2'; did you mean 'clip-1'?"),
        (["format=coco", "categories=cat,dog"], "several are written as a list, in brackets: '[cat,dog]'"),
        (["format=cocoo"], "format=cocoo: there are coco, coco_video"),
        (
            ["format=coco", "categories=[dgo]"],
            "categories: no track is of 'dgo'; there are cat, dog, object; did you mean dog?",
        ),
        (
            ["format=coco", "where=predicted_iou_men > 0.5"],
            "no column 'predicted_iou_men'; did you mean predicted_iou_mean",
        ),
        (
            ["format=coco", "where=num_visible > 1000"],
            "nothing is left to export: videos that failed: 1 (video 'broken': no file)",
        ),
        (["format=coco", "splits.train=0.9"], "splits: the shares sum up to 0.9, and must to 1"),
        (["format=label_studio", "splits.manifest=1"], "splits.manifest: manifest.json is the export's own; give"),
        (["format=cvat_video", "splits._parts=1"], "splits._parts: a name begins with a letter or digit, and has"),
        (["format=yolo_seg", "splits.names=1"], "splits.names: the key names of data.yaml says something else; give"),
        (["format=coco", "frames=jpg"], "its bytes were in the table of videos; "),
        (["format=coco", "variant=gt"], "unknown key variant='gt'"),
        (["format=youtube_vis", "variant=truth"], "variant=truth: allowed are gt, results"),
        ([], "format= is missing"),
    ],
)
def test_a_mistake_is_named_with_its_remedy_and_nothing_is_written(
    words: list[str], told: str, drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door([f"output={drawn.uri}", f"to={tmp_path / 'to'}", *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "to/manifest.json").exists()
