"""Objects that the output has and the tables do not name any more: named and refused, unless that is meant."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.commits.snapshot import JobState
from pipeline.driver.losses import check_losses
from pipeline.errors import ConfigError
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.inputs.write import prompts_table, videos_table, write_table
from pipeline.output.schema import TRACKS
from pipeline.records import Status
from pipeline.reviews.reviewed import ReviewedVideo
from pipeline.reviews.verdicts import Opinion, Verdict
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, publish


def click(video_id: str, object_id: int, **columns: Any) -> dict[str, Any]:
    return {"video_id": video_id, "object_id": object_id, "points_xy": [[1.0, 2.0]], "point_labels": [1], **columns}


@pytest.fixture
def state(disk_storage: JobStorage, tmp_path: Path) -> JobState:
    """Objects 1 and 2 of `v` and object 1 of `w`, each with a prompt on frame 0; `broken` has failed."""
    log, keeper = driver(disk_storage, tmp_path / "spool")
    videos = [labeled("v"), labeled("w", object_ids=(1,)), labeled("broken", status=Status.FAILED)]
    keeper.commit([publish(disk_storage, tmp_path / "spool", *videos)])
    return log.state


def check(
    folder: Path,
    storage: JobStorage,
    state: JobState,
    *rows: dict[str, Any],
    are_meant: bool = False,
    reviews: Mapping[str, ReviewedVideo] | None = None,
) -> None:
    videos = [{"video_id": video_id, "uri": f"{video_id}.mp4"} for video_id in ("v", "w", "broken")]
    write_table(str(folder / "videos.parquet"), videos_table(videos))
    write_table(str(folder / "prompts.parquet"), prompts_table(rows))
    tables = InputTables(str(folder / "videos.parquet"), str(folder / "prompts.parquet"))
    check_losses(make_plan(tables, state.finished, reviews=reviews or {}), storage, state, are_meant=are_meant)


W = click("w", 1, frame_index=0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([click("v", 2, frame_index=0), W], r"^1 object of the output has no prompts any more: 'v' \(object 1\)\. "),
        ([W], r"^2 objects of the output have no prompts any more: 'v' \(objects 1, 2\)\. "),
        (
            [click("v", 7, frame_index=0)],
            r"^3 objects .*: 'v' \(objects 1, 2\), 'w' \(object 1\)\. Nothing was labeled",
        ),
    ],
)
def test_objects_without_prompts_are_refused_by_name(
    rows: list[dict[str, Any]],
    said: str,
    state: JobState,
    disk_storage: JobStorage,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        check(tmp_path, disk_storage, state, *rows)
    assert "corrections=" in str(refused.value)
    assert "prune=true" in str(refused.value)
    check(tmp_path, disk_storage, state, *rows, are_meant=True)
    assert "masks go" in caplog.text


@pytest.mark.parametrize("verdict", [None, Verdict.REJECT, Verdict.ACCEPT])
def test_an_object_that_was_added_and_taken_back_goes_unasked_unless_somebody_has_accepted_it_since(
    verdict: Verdict | None, disk_storage: JobStorage, tmp_path: Path
) -> None:
    log, keeper = driver(disk_storage, tmp_path / "spool")
    video = labeled("v")
    tracks = [row | {"correction": {1: "added"}.get(row["object_id"])} for row in video.tracks.to_pylist()]
    added = replace(video, tracks=pa.Table.from_pylist(tracks, TRACKS))
    keeper.commit([publish(disk_storage, tmp_path / "spool", added, labeled("w", object_ids=(1,)))])
    taken_back, later = datetime(2026, 11, 29, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC)
    opinions = {} if verdict is None else {1: Opinion(verdict, later, False)}
    reviews = {"v": ReviewedVideo(newest={1: taken_back}, opinions=opinions)}

    said = r"^1 object of the output has no prompts any more: 'v' \(object 1\)\. "
    is_refused = pytest.raises(ConfigError, match=said) if verdict is Verdict.ACCEPT else nullcontext()
    with is_refused:
        check(tmp_path, disk_storage, log.state, click("v", 2, frame_index=3), W, reviews=reviews)


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([{"frame_index": 0}, {"frame_index": 5}], ""),
        ([{"frame_index": 5}], "'v' (object 1)"),
        ([{"pts_seconds": 0.5}], ""),
    ],
)
def test_objects_that_lost_prompts_are_named_and_labeled_again(
    rows: list[dict[str, Any]],
    named: str,
    state: JobState,
    disk_storage: JobStorage,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prompts = [*(click("v", 1, **row) for row in rows), click("v", 2, frame_index=0), W]
    with caplog.at_level(logging.INFO):
        check(tmp_path, disk_storage, state, *prompts)
    assert [record.getMessage() for record in caplog.records if record.name == "pipeline.driver.losses"] == (
        [f"objects with fewer prompts than before are labeled again: {named}"] if named else []
    )


@pytest.mark.parametrize("is_shown", [False, True])
def test_what_failed_and_what_reviewers_show_may_lose_its_prompts_unasked(
    is_shown: bool, disk_storage: JobStorage, tmp_path: Path
) -> None:
    log, keeper = driver(disk_storage, tmp_path / "spool")
    videos = [labeled("v", wrong={5: "box: x0 < x1"}), labeled("w", object_ids=(1,))]
    keeper.commit([publish(disk_storage, tmp_path / "spool", *videos)])
    reviews = {"v": ReviewedVideo({1: "h"}, shown=frozenset({1} if is_shown else {}))}
    is_refused = nullcontext() if is_shown else pytest.raises(ConfigError, match=r"^1 object .*: 'v' \(object 1\)\. ")
    with is_refused:
        check(tmp_path, disk_storage, log.state, click("v", 2, frame_index=0), W, reviews=reviews)


def test_an_object_that_reviewers_have_corrected_is_not_named_because_its_row_counts_more_frames(
    state: JobState, disk_storage: JobStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reviews = {"v": ReviewedVideo({1: "h"}, newest={1: datetime(2026, 11, 29, tzinfo=UTC)})}
    moved = [click("v", object_id, frame_index=5) for object_id in (1, 2)]
    check(tmp_path, disk_storage, state, *moved, W, reviews=reviews)
    assert "labeled again: 'v' (object 2)" in caplog.text
