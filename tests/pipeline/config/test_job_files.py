"""Job files: what stands in them means what it means on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.compose import job_config
from pipeline.config.job_config import JobConfig
from pipeline.errors import ConfigError

PLACES = ["videos=v", "prompts=p.parquet", "output=o"]


def config_of(folder: Path, text: str) -> JobConfig:
    (folder / "job.yaml").write_text(text)
    return job_config(str(folder / "job.yaml"), PLACES)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("date: 2026-11-29", "date", "2026-11-29"),
        ("columns.video_id: 2026-11-29", "columns.video_id", "2026-11-29"),
        (
            "storage_options: {key: 0123, port: 80, share: .5}",
            "storage_options",
            {"key": "0123", "port": 80, "share": 0.5},
        ),
        ("frames: {fps: 29.97}", "frames.fps", 29.97),
        ("frames.stride: 1_0", "frames.stride", 10),
        ("prune: yes", "prune", True),
        ("stop_after: 90", "stop_after", 90.0),
        ("retry: [failed]", "retry", ("failed",)),
        ("frames: &slow {fps: 2}\nflush: {<<: {seconds: 3}, seconds: 4}", "flush.seconds", 4.0),
    ],
)
def test_a_value_means_what_it_means_on_the_command_line(tmp_path: Path, text: str, key: str, value: Any) -> None:
    found: Any = config_of(tmp_path, text)
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_what_yaml_would_take_otherwise_than_it_was_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'1:30' is no duration: give one as 4h"):
        config_of(tmp_path, "stop_after: 1:30")
