"""What a job is compared by."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from pipeline.commits import job_record as fingerprint
from pipeline.commits.job_record import JobRecord, config_hash, difference, make_record, read_record, write_record
from pipeline.config.compose import job_config
from pipeline.config.job_config import JobConfig
from pipeline.errors import ConfigError, NewerVersion
from pipeline.records import Weights
from pipeline.storage.job_storage import JobStorage


@functools.cache
def config(*overrides: str) -> JobConfig:
    return job_config("label", ["prompts=p.parquet", "output=out", *overrides])


def values(*overrides: str) -> dict[str, Any]:
    return fingerprint.fingerprint(config(*overrides), Weights("mini", None, "sha256:0"))


@pytest.mark.parametrize(
    "override",
    [
        "model.dtype=bfloat16",
        "model.dtype=autocast",
        "propagate.direction=both",
        "propagate.max_prompted_memories=3",
        "frames.stride=2",
        "frames.fps=5",
    ],
)
def test_an_option_that_changes_masks_changes_the_fingerprint(override: str) -> None:
    shown = difference(values(), values(override))
    key, _, value = override.partition("=")
    assert key in shown
    assert f"{value} now" in shown or f"{value}.0 now" in shown
    assert config_hash(values()) != config_hash(values(override))


@pytest.mark.parametrize(
    "override",
    [
        "cluster=serial",
        "cluster.actors=7",
        "flush.seconds=1",
        "videos=other.parquet",
        "model.device=cpu",
        "model.compile=true",
        "retry=failed",
    ],
)
def test_an_option_that_does_not_is_left_out(override: str) -> None:
    assert difference(values(), values(override)) == ""


def test_the_record_survives_storage_and_holds_no_secret(disk_storage: JobStorage) -> None:
    asked = config("storage_options.secret=hush", "videos=https://h/v.parquet?X-Amz-Signature=hush")
    record = make_record(asked, Weights("s3://k:hush@h/weights?sig=hush", None, "listing:1"))
    write_record(disk_storage, record)
    assert read_record(disk_storage) == record
    assert b"hush" not in disk_storage.read("job.json")
    assert json.loads(disk_storage.read("job.json"))["config"]["model"]["name"] == "mini"


def test_a_new_job_has_no_record(disk_storage: JobStorage) -> None:
    assert read_record(disk_storage) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"mine": 1}', b"\xff"])
def test_a_strange_job_json_is_refused(content: bytes, disk_storage: JobStorage) -> None:
    disk_storage.replace("job.json", content)
    with pytest.raises(ConfigError, match=r"job\.json is not one of maskmill's"):
        read_record(disk_storage)


def test_a_job_json_of_a_later_program_is_read_unless_its_version_is_newer(disk_storage: JobStorage) -> None:
    record = make_record(config(), Weights("mini", None, "sha256:0"))
    write_record(disk_storage, record)
    document = json.loads(disk_storage.read("job.json"))
    assert set(document) == {
        *("version", "fingerprint", "config", "checkpoint", "files", "versions", "written_at"),
    }
    disk_storage.replace("job.json", json.dumps(document | {"notes": "of later"}).encode())
    assert read_record(disk_storage) == record
    del document["version"]
    disk_storage.replace("job.json", json.dumps(document).encode())
    assert read_record(disk_storage) == record, "programs before versions were written"
    disk_storage.replace("job.json", json.dumps(document | {"version": 2}).encode())
    with pytest.raises(NewerVersion, match=r"job\.json was written by a newer maskmill, in version 2; .* up to 1\."):
        read_record(disk_storage)


def record(job: str, *words: str, weights: tuple[str, str] = ("mini", "sha256:0")) -> JobRecord:
    return make_record(job_config(job, ["output=out", *words]), Weights(weights[0], None, weights[1]))


def test_jobs_whose_objects_come_from_elsewhere_say_so_and_how_to_go_on() -> None:
    keys = ["videos=v", "discover.points_per_side=16", "discover.crop_grids=[16,4]", "frames.stride=2"]
    prompted, found = record("label", "prompts=p"), record("discover", *keys)
    said = found.other_source(prompted)
    assert said.startswith("made by discovery: it found its objects by itself")
    assert "give conf=discover discover.points_per_side=16 'discover.crop_grids=[16,4]' and leave prompts= out" in said
    assert prompted.other_source(found).startswith("labeled with a table of prompts")
    assert "leave conf=discover out" in prompted.other_source(found)
    assert found.other_source(record("discover", "videos=v")) == prompted.other_source(prompted) == ""


def test_weights_that_differ_have_their_names() -> None:
    before, now = (
        record("label", "prompts=p"),
        record("label", "prompts=p", weights=("my/hub", "sha256:1")),
    )
    assert before.differences(now) == "  checkpoint: mini (sha256:0) in the output, my/hub (sha256:1) now"
    renamed = record("label", "prompts=p", "frames.stride=2", weights=("elsewhere", "sha256:0"))
    assert before.differences(renamed) == "  frames.stride: 1 in the output, 2 now"


def test_keys_of_discover_that_came_later_are_no_other_job_where_they_ask_for_nothing_new() -> None:
    def found(*words: str) -> dict[str, Any]:
        job = job_config("discover", ["videos=v", "output=out", *words])
        return fingerprint.fingerprint(job, Weights("mini", None, "sha256:0"))

    first = {"every_seconds", "points_per_side", "min_predicted_iou", "min_stability", "min_area", "sure_score"}
    assert {key for key in found() if key.startswith("discover.")} == {
        *(f"discover.{name}" for name in first),
        "discover.max_objects",
    }
    assert "discover.then" in difference(found(), found("discover.then=prompts"))
