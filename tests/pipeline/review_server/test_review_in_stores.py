"""A review of an output in a bucket, with its videos there too: everything but the browser's part."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from pipeline import tables
from pipeline.storage.job_storage import JobStorage
from pipeline.video.encode import encode_mp4
from tests.support.drawn_job import DrawnVideo, write_job_to
from tests.support.reviewing import gray, reviewing
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.slow


def test_a_review_works_on_an_output_and_on_videos_in_a_bucket(s3_server: S3Server, tmp_path: Path) -> None:
    folder, options = s3_server.new_folder(), s3_server.options()
    video = DrawnVideo("a/ü.mp4", {1: "cat"}, uri=f"{folder}/film.mp4")
    with fsspec.open(f"{folder}/film.mp4", "wb", **options) as file:
        file.write(encode_mp4([gray(frame, *video.size_hw) for frame in range(6)], 24))
    storage = JobStorage(f"{folder}/out", options)
    write_job_to(storage, tmp_path, (video,))
    with reviewing(storage) as client:
        (row,) = client.get("api/tracks")["rows"]
        assert client.raw("api/frame", video=video.video_id, frame=3).content[:2] == b"\xff\xd8"
        assert client.raw("api/filmstrip", video=video.video_id, object=1).status_code == 200
        assert len(client.get("api/masks", video=video.video_id, start=0, stop=6)["frames"]) == 6
        told = client.say(video.video_id, 1, "reject", labeled_at=row["labeled_at"])
        assert tables.open(storage.uri, options).tracks().num_rows == 0
        client.post("api/undo", {"video_id": video.video_id, "object_id": 1, "path": told["path"]})
        assert tables.open(storage.uri, options).tracks().num_rows == 1
        first = [client.state.claim_object_id(video.video_id, name) for name in ("ann", "bob")]
        assert first == [2, 3]
