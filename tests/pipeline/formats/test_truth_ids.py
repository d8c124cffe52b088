"""Results of YouTube-VIS that are to be scored: each of our frames and videos is the one of the truth that it is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from pipeline.export import door
from pipeline.formats.label import ReadOptions
from pipeline.formats.labels import read_labels
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, write_job, write_job_to
from tests.support.s3_server import S3Server
from tests.support.web_server import Page, WebServer, web

__all__ = ["web"]

pytestmark = pytest.mark.slow


def truth_of(numbers: Iterable[int], name: str = "clip") -> str:
    names = [f"{name}/{number:05d}.jpg" for number in numbers]
    videos = [{"id": 41, "width": 64, "height": 48, "length": len(names), "file_names": names}]
    return json.dumps({"videos": videos, "annotations": [], "categories": [{"id": 17, "name": "cat"}]})


def places(folder: Path, video: DrawnVideo, numbers: Iterable[int]) -> list[int] | int:
    """The places in the truth on which the object of the video shows, or the exit code of an export that is refused."""
    uri, _ = write_job(folder, (video,), broken=())
    (folder / "truth.json").write_text(truth_of(numbers))
    words = [f"output={uri}", f"to={folder / 'to'}", "format=youtube_vis", "variant=results"]
    if code := door([*words, f"truth={folder / 'truth.json'}"]):
        return code
    (track,) = json.loads((folder / "to/results_train.json").read_text())
    return [place for place, mask in enumerate(track["segmentations"]) if mask is not None]


LATE = DrawnVideo("clip", {1: "cat"}, num_frames=4, missing={1: (0,)}, uri="/films/clip.mp4")  # frames 1, 2, 3
LATE_BY_5 = DrawnVideo("clip", {1: "cat"}, 4, 5, missing={1: (0,)}, uri="/films/clip.mp4")  # frames 5, 10, 15
FOLDER = DrawnVideo("clip", {1: "cat"}, num_frames=4, uri="/films/clip")


@pytest.mark.parametrize(
    ("video", "numbers", "expected"),
    [
        (LATE, range(4), [1, 2, 3]),
        (LATE, range(3), 2),  # as many frames as are labeled, and others
        (LATE, range(1, 5), [1, 2, 3]),  # names that count from 1
        (LATE, range(1, 4), [0, 1, 2]),  # our own truth: the labeled frames
        (LATE_BY_5, range(0, 20, 5), [1, 2, 3]),
        (LATE_BY_5, range(0, 100, 5), [1, 2, 3]),
        (LATE_BY_5, range(0, 100, 3), 2),
        (FOLDER, range(0, 20, 5), [0, 1, 2, 3]),
        (FOLDER, range(0, 30, 5), [0, 1, 2, 3]),
    ],
)
def test_a_frame_is_the_one_of_the_truth_that_it_is(
    tmp_path: Path, video: DrawnVideo, numbers: Iterable[int], expected: list[int] | int
) -> None:
    assert places(tmp_path, video, numbers) == expected


def test_two_videos_of_one_name_are_not_scored_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri, _ = write_job(tmp_path, tuple(DrawnVideo(f"{one}/clip", {1: "cat"}, 3) for one in "ab"), broken=())
    (tmp_path / "truth.json").write_text(truth_of(range(3)))
    words = [f"output={uri}", f"to={tmp_path / 'to'}", "format=youtube_vis", "variant=results"]
    assert door([*words, f"truth={tmp_path / 'truth.json'}"]) == 2
    assert "videos 'a/clip' and 'b/clip' would both be its video 'clip'" in capsys.readouterr().err


def test_results_by_the_names_of_a_truth_come_back_as_its_pictures(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("films/clip", {7: "cat"}, 3, uri="/films/clip"),), broken=())
    truth = tmp_path / "truth.json"
    truth.write_text(truth_of(range(0, 15, 5)))
    words = [f"output={uri}", f"to={tmp_path / 'to'}", "format=youtube_vis", "variant=results", f"truth={truth}"]
    assert door(words) == 0
    found = list(read_labels(str(tmp_path / "to"), "youtube_vis", ReadOptions(images=str(truth))))
    assert {(label.video, label.object_key) for label in found} == {("films/clip", 7)}
    assert [(label.frame.index, label.frame.file_name) for label in found] == [
        (None, "00000.jpg"),
        (None, "00005.jpg"),
        (None, "00010.jpg"),
    ]


def test_a_truth_in_a_bucket_is_opened_with_the_options_of_the_job(s3_server: S3Server, tmp_path: Path) -> None:
    place, options = s3_server.new_folder(), s3_server.options()
    job = JobStorage(f"{place}/job", options)
    write_job_to(job, tmp_path / "spool", (DrawnVideo("clip", {1: "cat"}, 3),))
    JobStorage(f"{place}/truth", options).replace("truth.json", truth_of(range(3)).encode())
    words = [f"storage_options.{key}={options[key]}" for key in ("key", "secret")]
    words += [f"storage_options.client_kwargs.endpoint_url={options['client_kwargs']['endpoint_url']}"]
    words += [f"output={job.uri}", f"to={place}/to", "format=youtube_vis", "variant=results"]
    assert door([*words, f"truth={place}/truth/truth.json"]) == 0
    (track,) = json.loads(JobStorage(f"{place}/to", options).read("results_train.json"))
    assert track["video_id"] == 41


def test_results_for_a_truth_that_has_changed_are_another_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("clip", {1: "cat"}, 3),), broken=())
    truth = tmp_path / "truth.json"
    words = [f"output={uri}", f"to={tmp_path / 'to'}", "format=youtube_vis", "variant=results", f"truth={truth}"]
    truth.write_text(truth_of(range(3)))
    assert door(words) == 0
    truth.write_text(truth_of(range(3)).replace('"id": 41', '"id": 42'))
    assert door(words) == 2
    assert "holds an export with another content of truth" in capsys.readouterr().err
    assert door([*words, "overwrite=true"]) == 0
    (track,) = json.loads((tmp_path / "to/results_train.json").read_text())
    assert track["video_id"] == 42


def test_the_signature_of_an_address_of_a_truth_is_in_no_file(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    web.pages["/truth.json"] = Page(truth_of(range(3)).encode())
    uri, _ = write_job(tmp_path, (DrawnVideo("clip", {1: "cat"}, 3),), broken=())
    words = [f"output={uri}", f"to={tmp_path / 'to'}", "format=youtube_vis", "variant=results"]
    for signature in ("not-a-secret", "another-one"):
        assert door([*words, f"truth={web.address}/truth.json?sig={signature}"]) == 0, "it is the same export"
    texts = [path.read_text() for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert not any("not-a-secret" in text for text in texts)
