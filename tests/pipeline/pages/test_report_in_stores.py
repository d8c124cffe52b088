"""A report of a job in a bucket, written to a bucket, with pictures of a video in a bucket."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from lxml import html

from pipeline import report
from pipeline.errors import ConfigError, StorageError
from pipeline.pages.save import save_page
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.uris import open_filesystem
from tests.support.drawn_job import DrawnVideo, write_job, write_job_to
from tests.support.reported import film
from tests.support.s3_server import S3Server


@pytest.mark.slow
def test_job_video_and_page_may_lie_on_s3(s3_server: S3Server, tmp_path: Path) -> None:
    place, options = s3_server.new_folder(), s3_server.options()
    film(tmp_path / "film.mp4")
    filesystem, root = open_filesystem(place, options)
    filesystem.pipe_file(f"{root}/moved/films/film.mp4", (tmp_path / "film.mp4").read_bytes())
    video = DrawnVideo("clip", {10: "cat"}, uri="s3://before/films/film.mp4")
    output, _ = write_job_to(JobStorage(f"{place}/job", options), tmp_path / "spool", (video,))
    words = [f"output={output}", f"to={place}/pages/report.html", f"videos_root={place}/moved"]
    words += [f"storage_options.{key}={value}" for key, value in flat(options)]
    assert report.door(words) == 0
    page = html.fromstring(filesystem.cat_file(f"{root}/pages/report.html"))
    assert len(page.get_element_by_id("doubt").findall(".//img")) == 5
    here, _ = write_job(tmp_path / "here", (video,))
    words = [f"output={here}", f"to={place}/pages/of-here.html", "pictures=false"]
    words += [f"to_storage_options.{key}={value}" for key, value in flat(options)]
    assert report.door(words) == 0, "a job on this disk, its page in a bucket with credentials of its own"
    assert b"<title>" in filesystem.cat_file(f"{root}/pages/of-here.html")


def flat(values: dict[str, object], before: str = "") -> list[tuple[str, object]]:
    """Nested options by their full names."""
    found: list[tuple[str, object]] = []
    for key, value in values.items():
        found += flat(value, f"{before}{key}.") if isinstance(value, dict) else [(f"{before}{key}", value)]
    return found


def test_a_page_is_written_to_any_store_and_replaces_the_one_before() -> None:
    for text in ("<p>one", "<p>two \udcff"):
        size = save_page("memory://pages/a/report.html", text)
    assert fsspec.filesystem("memory").cat_file("/pages/a/report.html") == b"<p>two ?"
    assert size == 8


def test_a_place_that_cannot_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"writing to=.*file/report.html was refused.*Check that the place exists"):
        save_page(f"{tmp_path}/file/report.html", "x")
    with pytest.raises(ConfigError, match="nowhere://a/b"):
        save_page("nowhere://a/b.html", "x")


def test_a_page_that_is_not_finished_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = tmp_path / "report.html"
    save_page(str(to), "before")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        save_page(str(to), "after")
    assert to.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
