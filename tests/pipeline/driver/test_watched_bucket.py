"""A bucket that a job watches each night: new, half-written, replaced and deleted videos, on a real S3 server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import tables
from pipeline.config.compose import job_config
from pipeline.demo.inputs import clip_mp4, seed_prompts
from pipeline.driver import driver
from pipeline.inputs.kept_listing import KeptListing, write_kept
from pipeline.inputs.write import prompts_table, write_table
from pipeline.output.layout import LISTING
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.listing import list_folder
from pipeline.storage.uris import open_filesystem
from tests.support.clips import moving_clip
from tests.support.proxy import proxy_to
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.slow


@dataclass
class Bucket:
    """A place of incoming videos, the prompts of all that will ever come, and the job that labels them."""

    server: S3Server
    checkpoint: Path

    def __post_init__(self) -> None:
        self.root = self.server.new_folder()
        clip = moving_clip(num_frames=2, num_objects=1, size_hw=(64, 96))
        self.content = clip_mp4(clip)
        self.other_content = clip_mp4(moving_clip(num_frames=3, num_objects=1, size_hw=(64, 96), seed=1))
        (self.row,) = seed_prompts(clip, ["box"])

    def prompt(self, *video_ids: str) -> None:
        """One box for each of these."""
        rows = [dict(self.row) | {"video_id": video_id} for video_id in video_ids]
        write_table(f"{self.root}/prompts.parquet", prompts_table(rows), self.server.options())

    def put(self, name: str, content: bytes | None = None) -> None:
        filesystem, path = open_filesystem(f"{self.root}/incoming/{name}", self.server.options())
        filesystem.pipe_file(path, self.content if content is None else content)

    def delete(self, name: str) -> None:
        filesystem, path = open_filesystem(f"{self.root}/incoming/{name}", self.server.options())
        filesystem.rm_file(path)

    def night(self, *overrides: str, port: int | None = None) -> int:
        """One run, as a schedule starts it."""
        options = self.server.options(port)
        job = job_config(
            "label",
            [
                f"videos={self.root}/incoming/**/*.mp4",
                f"prompts={self.root}/prompts.parquet",
                f"output={self.root}/labels",
                f"model.checkpoint={self.checkpoint}",
                "cluster=serial",
                f"storage_options.key={options['key']}",
                f"storage_options.secret={options['secret']}",
                f"storage_options.client_kwargs.endpoint_url={options['client_kwargs']['endpoint_url']}",
                *overrides,
            ],
        )
        return driver.run(job)

    def labeled(self) -> dict[str, int]:
        """Masks by video."""
        rows: Sequence[dict[str, Any]] = tables.open(f"{self.root}/labels", self.server.options()).videos().to_pylist()
        return {row["video_id"]: row["num_masks"] for row in rows}


@pytest.fixture
def bucket(s3_server: S3Server, small_checkpoint: Path) -> Bucket:
    return Bucket(s3_server, small_checkpoint)


def test_a_bucket_is_watched_night_after_night(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    bucket.prompt("cam1/a", "cam1/b", "cam2/c")
    bucket.put("2026-11-27/cam1/a.mp4")
    bucket.put("2026-11-27/cam1/b.mp4")
    bucket.put("2026-11-28/cam2/c.mp4.part", bucket.content[:100])
    rule = r"input.video_id_from=^[^/]+/(.+)\.mp4"
    assert bucket.night(rule) == 0
    assert bucket.labeled() == {"cam1/a": 2, "cam1/b": 2}
    assert "left     1 video is still being written; the next run takes it" in capsys.readouterr().out

    bucket.delete("2026-11-28/cam2/c.mp4.part")
    bucket.put("2026-11-28/cam2/c.mp4")
    bucket.put("2026-11-27/cam1/a.mp4", bucket.other_content)
    bucket.delete("2026-11-27/cam1/b.mp4")
    assert bucket.night(rule, "changed=relabel", "input.settle_seconds=3600") == 0
    assert bucket.labeled() == {"cam1/a": 2, "cam1/b": 2}, "both files came within the hour"
    printed = capsys.readouterr().out
    assert "left     2 videos are still being written; the next run takes them" in printed
    assert "former   1 of them is in no table any more; its rows stay" in printed

    assert bucket.night(rule, "changed=relabel") == 0
    assert bucket.labeled() == {"cam1/a": 3, "cam1/b": 2, "cam2/c": 2}

    assert bucket.night(rule, "changed=relabel", "prune=true") == 0
    assert bucket.labeled() == {"cam1/a": 3, "cam2/c": 2}
    assert "left     " not in capsys.readouterr().out


def test_a_listing_begins_where_the_last_videos_came_and_forgets_none_that_is_open(bucket: Bucket) -> None:
    bucket.prompt("1/a", "1/bad", "1/never", "2/b", "3/c", "3/d")
    for name in ("1/a.mp4", "1/never.mp4", "2/b.mp4"):
        bucket.put(name)
    bucket.put("1/bad.mp4", b"no film")
    bucket.put("1/never.mp4", b"nor this")
    assert bucket.night("input.listing=from_last") == 0
    assert bucket.labeled() == {"1/a": 2, "1/bad": 0, "1/never": 0, "2/b": 2}

    output = JobStorage(f"{bucket.root}/labels", bucket.server.options())
    kept = KeptListing.from_json(output.read(LISTING), "kept")
    first = f"{bucket.root}/incoming/1/a.mp4".removeprefix("s3://")
    assert kept.start_after == first[:-1], "all of them came within a week"
    assert kept.open_paths == ["/1/bad.mp4", "/1/never.mp4"]
    after = first.replace("1/a.mp4", "2/")
    write_kept(output, kept.model_copy(update={"start_after": after}))  # as it is when the first day is long ago

    bucket.put("1/bad.mp4")
    bucket.put("1/too-early.mp4")
    bucket.put("3/c.mp4")
    with proxy_to(bucket.server.port) as proxy:
        assert bucket.night("input.listing=from_last", "changed=relabel", port=proxy.port) == 0
    assert bucket.labeled() == {"1/a": 2, "1/bad": 2, "1/never": 0, "2/b": 2, "3/c": 2}
    listed = [path for _, path in proxy.requests if "list-type=2" in path and "start-after=" in path]
    assert len(listed) == 1
    paths = (path.rpartition("/incoming")[2] for _, path in proxy.requests if "/incoming/" in path)
    asked = {path for path in paths if "%2A" not in path}  # whether the glob is the name of a video
    assert asked == {"/1/bad.mp4", "/1/never.mp4", "/3/c.mp4"}, "no video that is labeled well"
    kept = KeptListing.from_json(output.read(LISTING), "kept")
    assert (kept.start_after, kept.open_paths) == (f"{after}b.mp", ["/1/never.mp4"])

    bucket.prompt("1/a", "1/bad", "1/never", "1/too-early", "2/b", "3/c")
    assert bucket.night("changed=relabel") == 0
    assert bucket.labeled()["1/too-early"] == 2, "a full listing finds it"


def test_a_listing_from_a_name_on_asks_for_as_many_pages_as_follow(s3_server: S3Server) -> None:
    folder = s3_server.new_folder()
    with proxy_to(s3_server.port) as proxy:
        filesystem, root = open_filesystem(folder, s3_server.options(proxy.port))
        filesystem.pipe({f"{root}/{number}.mp4": b"x" for number in range(8)})
        filesystem.req_kw = {"MaxKeys": 2}
        found = {}
        for after in (None, f"{root}/5", f"{root}/9"):
            proxy.requests.clear()
            names = [one.name for one in list_folder(filesystem, root, lambda call: call(), after)]
            found[after] = (len(names), len(proxy.requests))
    assert list(found.values()) == [(8, 4), (3, 2), (0, 1)]
