"""The command that a job's config came from, as `job.json` holds it."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from pipeline.commits.job_record import make_record
from pipeline.config.command_line import as_words
from pipeline.config.compose import job_config
from pipeline.records import Weights

WEIGHTS = Weights("mini", None, "sha256:0")


def on_disk(*words: str) -> dict[str, Any]:
    """The config of these arguments, after a round through JSON."""
    config: dict[str, Any] = json.loads(make_record(job_config("label", words), WEIGHTS).to_json())["config"]
    return config


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["videos=in", "prompts=p.parquet", "output=out"],
        ["videos=a b/$(rm)/it's,{x}.mp4", "prompts=p.parquet", "output=s3://b/ö", "model=large", "cluster=serial"],
        ["videos=in", "prompts=p", "output=out", "model.checkpoint=org/net", "model.dtype=autocast", "frames.fps=2.5"],
        ["prompts=p", "output=out", "keep_columns=[a,b]", "frames.stride=4", "cluster.actors=8", "columns.uri=path"],
        [
            "prompts=s3://b/p",
            "output=s3://b/o",
            "storage_options.anon=true",
            "input.schemes=[https,s3]",
            "cluster=existing",
        ],
        ["prompts=p", "output=out", "corrections=one,1.parquet", "worker.spool_dir=/tmp/x y"],
        ["prompts=p", "output=out", "++corrections=['one,1.parquet',two.parquet]"],
    ],
    ids=str,
)
def test_the_command_makes_the_same_config(words: list[str]) -> None:
    config = on_disk(*words)
    found = as_words(config)
    typed = shlex.split(shlex.join(found))
    assert on_disk(*typed) == config
    assert len(found) <= len(words) + 2, "what is usual is not said"


def test_what_was_asked_once_is_not_asked_again() -> None:
    config = on_disk("prompts=p", "output=out", "retry=failed", "relabel=true", "prune=true", "check=true")
    assert set(as_words(config)) == {"prompts=p", "output=out", "model=mini", "cluster=local"}


def test_secrets_are_no_more_than_the_record_has() -> None:
    config = on_disk("prompts=p", "output=s3://b/o", "storage_options.secret=hunter2")
    assert "storage_options.secret=***" in as_words(config)
    assert "hunter2" not in " ".join(as_words(config))
