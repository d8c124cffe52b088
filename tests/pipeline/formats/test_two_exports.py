"""Two exports into one folder: whichever comes second is refused, and what is there is always one whole export."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from pipeline.commits.process import facts_of_this_process
from pipeline.errors import ConfigError
from pipeline.formats.engine import OnePartWriter, PartDone, export
from pipeline.formats.exporters import WRITERS, Exporter
from pipeline.formats.plan import Task
from pipeline.formats.selection import Selection
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.exports import coco_job, files_of_export
from tests.support.quick_storage import QuickStorage

PART_MASKS = 8
OTHER = Selection(min_area=5)

pytestmark = pytest.mark.slow


def _alone(drawn: DrawnJob, folder: Path, selection: Selection | None = None) -> dict[str, bytes]:
    """The files of the same export where nobody else writes."""
    export(coco_job(drawn.uri, QuickStorage(str(folder)), selection), PART_MASKS, False)
    return files_of_export(folder)


def _with(at_part: int, beside: Callable[[], None]) -> type[OnePartWriter]:
    """A writer beside which something happens when this part is written; 0 is before all of them."""

    class Beside(OnePartWriter):
        def run(self, tasks: Iterable[Task]) -> Iterator[PartDone]:
            if at_part == 0:
                beside()
            for number, part in enumerate(super().run(tasks), 1):
                if number == at_part:
                    beside()
                yield part

    return Beside


def _mark(folder: Path, process_id: int, *, has_helpers: bool = False) -> Path:
    """What an export of this process id has left that was killed."""
    facts = {**facts_of_this_process(), "process_id": process_id}
    mark = Exporter(writer_id="killed", format="coco", export="0" * 64, has_helpers=has_helpers, **facts)
    path = folder / WRITERS / "killed.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(mark.to_json())
    return path


@pytest.fixture
def ended_process() -> int:
    """The id of a process of this machine that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("at_part", [0, 1, 3])
def test_another_export_is_refused_while_one_is_being_written(
    at_part: int, overwrite: bool, drawn: DrawnJob, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    refused = []

    def beside() -> None:
        with pytest.raises(ConfigError, match="another export, format=coco, is being written there by") as error:
            export(coco_job(drawn.uri, QuickStorage(str(to)), OTHER), PART_MASKS, overwrite)
        refused.append(str(error.value))

    export(coco_job(drawn.uri, QuickStorage(str(to))), PART_MASKS, False, _with(at_part, beside))
    assert files_of_export(to) == _alone(drawn, tmp_path / "alone")
    assert str(to) in refused[0]
    assert "wait until it has ended, stop it, or name another folder" in refused[0]
    export(coco_job(drawn.uri, QuickStorage(str(to)), OTHER), PART_MASKS, True)
    assert files_of_export(to) == _alone(drawn, tmp_path / "other", OTHER)


def test_an_export_that_overwrites_another_one_keeps_a_third_one_out(drawn: DrawnJob, tmp_path: Path) -> None:
    to = tmp_path / "to"
    _alone(drawn, to)

    def beside() -> None:
        with pytest.raises(ConfigError, match="is being written there"):
            export(coco_job(drawn.uri, QuickStorage(str(to))), PART_MASKS, True)

    export(coco_job(drawn.uri, QuickStorage(str(to)), OTHER), PART_MASKS, True, _with(1, beside))
    assert files_of_export(to) == _alone(drawn, tmp_path / "alone", OTHER)


def test_an_export_that_ends_at_this_very_moment_is_not_taken_for_files_of_others(
    drawn: DrawnJob, tmp_path: Path
) -> None:
    to = tmp_path / "to"

    class Late(QuickStorage):
        """The other one writes its manifest and goes when this one has looked for it."""

        def read_existing(self, paths: list[str]) -> list[bytes | None]:
            found = super().read_existing(paths)
            if paths == ["manifest.json"] and not to.exists():
                export(coco_job(drawn.uri, QuickStorage(str(to))), PART_MASKS, False)
            return found

    assert export(coco_job(drawn.uri, Late(str(to))), PART_MASKS, False).was_there


def test_an_export_that_was_killed_here_keeps_nobody_out(drawn: DrawnJob, tmp_path: Path, ended_process: int) -> None:
    to = tmp_path / "to"
    _mark(to, ended_process)
    export(coco_job(drawn.uri, QuickStorage(str(to))), PART_MASKS, False)
    assert files_of_export(to) == _alone(drawn, tmp_path / "alone")


def test_the_helpers_of_a_killed_export_count_until_nothing_was_heard_of_it_for_long(
    drawn: DrawnJob, tmp_path: Path, ended_process: int
) -> None:
    to = tmp_path / "to"
    storage = QuickStorage(str(to))
    mark = _mark(to, ended_process, has_helpers=True)
    with pytest.raises(ConfigError, match="another export, format=coco, is being written there by killed"):
        export(coco_job(drawn.uri, storage), PART_MASKS, False)
    os.utime(mark, times=(time.time() - 61, time.time() - 61))
    export(coco_job(drawn.uri, storage), PART_MASKS, False)
    assert files_of_export(to) == _alone(drawn, tmp_path / "alone")


def test_who_was_taken_for_dead_does_not_write_over_the_export_that_took_its_place(
    drawn: DrawnJob, tmp_path: Path
) -> None:
    to = tmp_path / "to"

    def beside() -> None:
        shutil.rmtree(to / WRITERS)  # as who has not heard of it for a minute does
        export(coco_job(drawn.uri, QuickStorage(str(to)), OTHER), PART_MASKS, True)

    with pytest.raises(ConfigError, match="has taken this folder while this one showed no sign of life"):
        export(coco_job(drawn.uri, QuickStorage(str(to))), PART_MASKS, False, _with(1, beside))
    assert files_of_export(to) == _alone(drawn, tmp_path / "alone", OTHER)


def test_the_same_command_twice_deletes_nothing_that_could_be_of_the_other(drawn: DrawnJob, tmp_path: Path) -> None:
    to = tmp_path / "to"
    before = _alone(drawn, to)

    class Racing(QuickStorage):
        """Starts the same command once more when the first one is about to delete what was there."""

        def delete_tree(self, path: str) -> None:
            with pytest.raises(ConfigError, match="has the same command, may be about to do that: run the same"):
                export(coco_job(drawn.uri, QuickStorage(str(to)), OTHER), PART_MASKS, True)
            assert files_of_export(to).items() >= before.items()
            Racing.delete_tree = QuickStorage.delete_tree  # type: ignore[method-assign]
            super().delete_tree(path)

    export(coco_job(drawn.uri, Racing(str(to)), OTHER), PART_MASKS, True)
    assert files_of_export(to) == _alone(drawn, tmp_path / "alone", OTHER)


def test_nothing_of_the_processes_at_work_stays_in_the_folder(drawn: DrawnJob, tmp_path: Path) -> None:
    to = tmp_path / "to"
    _alone(drawn, to)
    names = {path.name for path in to.iterdir()}
    assert names == {"annotations", "manifest.json", "manifest_videos.jsonl"}
    with pytest.raises(ConfigError, match="holds an export with another min_area"):
        export(coco_job(drawn.uri, QuickStorage(str(to)), OTHER), PART_MASKS, False)
    assert {path.name for path in to.iterdir()} == names
