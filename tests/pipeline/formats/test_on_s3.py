"""An export from a bucket into a bucket is the one that a disk gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.export import door
from pipeline.prompts import door as prompts_door
from pipeline.reviews.corrections import read_corrections
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, write_job_to
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.slow


def test_a_bucket_gets_the_same_objects_as_a_folder(
    export: Callable[..., Path],
    s3_server: S3Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place, options = s3_server.new_folder(), s3_server.options()
    job = JobStorage(f"{place}/job", options)
    write_job_to(job, tmp_path / "spool", broken=("broken",))
    words = [f"output={job.uri}", "format=davis", f"to={place}/to", "part_masks=8"]
    words += [f"storage_options.{key}={options[key]}" for key in ("key", "secret")]
    words += [f"storage_options.client_kwargs.endpoint_url={options['client_kwargs']['endpoint_url']}"]
    assert door(words) == 0
    folder = export("davis", "part_masks=8")
    local = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    to = JobStorage(f"{place}/to", options)
    names = [name for top in to.names_below() for name in ([*to.tree(top)] or [top])]
    assert set(names) == set(local), "nothing is left of the parts"
    for name, data in zip(names, to.read_existing(names), strict=True):
        if name != "manifest.json":
            assert data == local[name], name
    manifest = json.loads(to.read("manifest.json"))
    assert manifest["counts"] == json.loads(local["manifest.json"])["counts"]
    assert "not-a-secret" not in json.dumps(manifest)
    assert door(words) == 0
    assert "is there already, whole" in capsys.readouterr().out
    assert door([*words, "min_area=3"]) == 2
    assert "holds an export with another min_area" in capsys.readouterr().err
    assert door([*words, "min_area=3", "overwrite=true"]) == 0


def test_a_review_goes_out_of_a_bucket_and_comes_back_into_it(s3_server: S3Server, tmp_path: Path) -> None:
    place, options = s3_server.new_folder(), s3_server.options()
    job = JobStorage(f"{place}/job", options)
    write_job_to(job, tmp_path / "spool", (DrawnVideo("clip-1", {7: "cat", 3: "dog"}),))
    words = [f"storage_options.{key}={options[key]}" for key in ("key", "secret")]
    words += [f"storage_options.client_kwargs.endpoint_url={options['client_kwargs']['endpoint_url']}"]
    assert door([f"output={job.uri}", "format=cvat_video", f"to={place}/to", "review=true", *words]) == 0
    to = JobStorage(f"{place}/to", options)
    document = to.read("train/clip-1/annotations.xml").replace(b'frame="2" keyframe="1" outside="0"', b"", 1)
    hidden = document.replace(b"<polygon  occluded", b'<polygon frame="2" keyframe="1" outside="1" occluded', 1)
    to.replace("annotations.xml", hidden)
    back = [f"from={place}/to/annotations.xml", "format=cvat_video", f"to_review={job.uri}", "reviewer=ann", *words]
    assert prompts_door(back) == 0
    (row,) = read_corrections(job)["clip-1"]
    assert (row.object_id, row.frame_index, row.rle, row.reviewer) == (3, 2, None, "ann")
