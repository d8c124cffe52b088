"""Places below a folder that this user may not enter: each is told in one line, and not by a traceback."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.command import parse
from pipeline.commits.job_record import local_files
from pipeline.commits.read_history import read_history
from pipeline.config.job_config import _place_of_weights
from pipeline.errors import ConfigError, StorageError, UnusableStore
from pipeline.output import targets
from pipeline.report import ReportArguments
from pipeline.reviews.verdicts import write_verdicts
from pipeline.storage.destinations import check_file, check_folder, load_file, save_file
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.uris import local_path


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is another user's. The superuser, as whom tests may run, enters all folders."""
    folder = tmp_path / "locked"
    folder.mkdir()

    def guarded(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and folder in Path(os.fspath(path)).parents:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return plain(path, *arguments, **options)

        return call

    for name in ("stat", "lstat", "scandir", "mkdir"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    monkeypatch.setattr("io.open", guarded(open))
    monkeypatch.setattr("builtins.open", guarded(open))
    monkeypatch.setattr(os, "access", lambda path, mode: folder not in (Path(path), *Path(path).parents))
    return folder


def test_a_place_to_write_to_is_refused_in_one_line(locked: Path) -> None:
    with pytest.raises(ConfigError, match=r"may not write to .*locked; name another place"):
        check_file(f"{locked}/sub/report.html", "report.html")
    with pytest.raises(ConfigError, match=r"may not write to .*locked; name another place"):
        check_folder(f"{locked}/sub/export")
    with pytest.raises(ConfigError, match=r"may not write to .*locked; name another place"):
        targets.check_folder(f"{locked}/sub/export")


def test_a_file_that_may_not_be_read_is_named(locked: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"reading .*queue.parquet was refused: .*Permission denied"):
        load_file(f"{locked}/queue.parquet")
    with pytest.raises(StorageError, match=r"was refused: .*Check that it is a file"):
        load_file(str(tmp_path))


def test_an_output_that_may_not_be_read_is_named(locked: Path) -> None:
    with pytest.raises(StorageError, match=r"read .*labels/_log/0+.json was refused"):
        read_history(JobStorage(f"{locked}/labels"))


def test_a_root_of_videos_that_may_not_be_read_is_refused(locked: Path) -> None:
    with pytest.raises(ConfigError, match=r"videos_root: .*locked/videos: there is no folder .*; check the path"):
        parse(ReportArguments, ["output=labels", "to=report.html", f"videos_root={locked}/videos"])


def test_a_verdict_into_an_output_that_may_not_be_read_is_refused(locked: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"locked/labels holds no job"):
        write_verdicts(JobStorage(f"{locked}/labels"), [])


def test_weights_that_may_not_be_read_are_none(locked: Path) -> None:
    assert _place_of_weights(f"{locked}/weights") is None
    assert local_files(f"{locked}/weights") == {}
    assert local_path(f"file://{locked}/a%20b") == f"{locked}/a b"


def test_a_link_and_what_is_no_plain_file_stay_what_they_are(tmp_path: Path) -> None:
    report, latest, null = tmp_path / "reports" / "1.html", tmp_path / "latest.html", tmp_path / "null.html"
    report.parent.mkdir()
    latest.symlink_to(report)
    null.symlink_to("/dev/null")
    for place in (latest, null):
        save_file(str(place), b"<p>")
        assert place.is_symlink()
    assert report.read_bytes() == b"<p>"
    assert Path("/dev/null").is_char_device()
    assert [path.name for path in report.parent.iterdir()] == ["1.html"]


def test_a_link_that_leads_nowhere_is_named_with_what_it_means(tmp_path: Path) -> None:
    """As one to a disk that is not mounted: a run ended by a traceback about a file that exists already."""
    link = tmp_path / "labels"
    link.symlink_to(tmp_path / "nas" / "labels")
    told = f"{link} is a link to {tmp_path}/nas/labels, and this user finds nothing there: mount its disk"
    for place in (link, link / "monday"):
        with pytest.raises(UnusableStore, match=f"^output={place}: {told}"):
            JobStorage(str(place)).probe()
        with pytest.raises(UnusableStore, match=told):
            JobStorage(str(place)).read("job.json")
        with pytest.raises(ConfigError, match=f"^to={place}: {told}"):
            check_folder(str(place))
        with pytest.raises(ConfigError, match=f"^to={place}/r.html: {told}"):
            check_file(f"{place}/r.html", "report.html")
    (tmp_path / "nas" / "labels").mkdir(parents=True)
    JobStorage(str(link / "monday")).probe()
    check_folder(str(link / "coco"))


def test_a_link_may_name_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    report, latest = tmp_path / "reports" / "1.html", tmp_path / "latest.html"
    report.parent.mkdir()
    latest.symlink_to(report)
    check_file(str(latest), "report.html")
    save_file(str(latest), b"<p>")
    assert (latest.is_symlink(), report.read_bytes()) == (True, b"<p>")


def test_a_pipe_is_written_in_a_folder_to_which_this_user_may_not_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `to=/dev/stdout`: none but the superuser may write to `/dev`."""
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path).is_char_device())
    check_file("/dev/null", "report.html")
    with pytest.raises(ConfigError, match="this user may not write to /dev"):
        check_file("/dev/report.html", "report.html")
