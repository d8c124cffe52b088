"""What a report counts: spreads of values, time of workers, categories; and which frames it shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from botocore.exceptions import NoCredentialsError
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import tables
from pipeline.output.schema import TRACKS, VIDEOS
from pipeline.pages.job_figures import categories, times, visibility
from pipeline.pages.mask_figures import WORTH_A_LOOK, Spread, measure
from pipeline.pages.thumbnails import StripMaker, frames_to_show
from pipeline.pages.track_cards import Dealer
from pipeline.quality.reasons import Doubt
from tests.support.drawn_job import DrawnVideo, write_job
from tests.support.reviewed import say_of, verdict

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def table(schema: pa.Schema, *rows: dict[str, Any]) -> pa.Table:
    """Rows of which only some columns matter."""
    usual = {pa.string(): "", pa.float32(): 0.0}
    blank = {
        field.name: None if field.nullable else [] if pa.types.is_list(field.type) else usual.get(field.type, 0)
        for field in schema
    }
    return pa.Table.from_pylist([blank | row for row in rows], schema)


def video(worker: str, begin: float, end: float, **more: Any) -> dict[str, Any]:
    finished = {"finished_at": BEGIN + timedelta(seconds=end), "wall_seconds": end - begin}
    return {"video_id": f"{worker}{begin}", "status": "ok", "worker": worker, "num_frames": 10, **finished, **more}


def test_a_worker_that_labels_two_videos_at_a_time_is_paid_once() -> None:
    films = {"num_frames_decoded": 240, "fps": 24.0, "propagate_seconds": 3.0}
    videos = [("a", 0, 10), ("a", 2, 8), ("a", 5, 14), ("a", 100, 110), ("b", 4, 20)]
    found = times(table(VIDEOS, *(video(*one, **films) for one in videos)))
    assert found.worker_seconds == pytest.approx(14 + 10 + 16)
    assert found.any_seconds == pytest.approx(20 + 10)
    assert found.num_workers == 2
    assert found.stage_seconds["propagate"] == pytest.approx(15)
    assert found.frames_per_second == pytest.approx(50 / 30)
    assert found.cost(3600) == pytest.approx(40)
    assert found.cost_per_video_hour(3600) == pytest.approx(40 / (5 * 10 / 3600))


def test_an_output_without_times_costs_nothing_and_has_no_speed() -> None:
    old = {"finished_at": None, "wall_seconds": None}
    found = times(table(VIDEOS, video("a", 0, 1, **old)))
    assert (found.worker_seconds, found.frames_per_second, found.cost_per_video_hour(1)) == (0, None, None)
    assert times(VIDEOS.empty_table()).num_frames == 0


def test_categories_count_their_tracks_and_weigh_scores_by_visible_masks() -> None:
    ok = {"status": "ok", "num_masks": 10}
    found = categories(
        table(
            TRACKS,
            ok | {"category": "cat", "num_visible": 10, "predicted_iou_mean": 0.9},
            ok | {"category": "cat", "num_visible": 5, "predicted_iou_mean": 0.6},
            ok | {"category": None, "num_visible": 0},
            {"status": "failed", "category": "cat"},
        )
    )
    assert [(one.name, one.num_tracks, one.num_masks, one.num_never_visible) for one in found] == [
        ("cat", 2, 20, 0),
        (None, 1, 10, 1),
    ]
    assert found[0].predicted_iou == pytest.approx(0.8)
    assert found[1].predicted_iou is None


def test_tracks_are_counted_by_their_visible_share() -> None:
    shares = [0.0, 0.05, 0.5, 0.95, 1.0]
    _, counts = visibility(table(TRACKS, *({"status": "ok", "visible_share": share} for share in shares)))
    assert counts == [2, 0, 0, 0, 0, 1, 0, 0, 0, 2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-2, 3, width=32), min_size=1, max_size=50), st.floats(0.01, 1))
def test_quantiles_of_a_spread_are_those_of_its_values(values: list[float], share: float) -> None:
    spread = Spread(0, 1)
    spread.add(np.array([*values[:20], np.nan]))
    spread.add(np.array(values[20:]))
    assert spread.total == len(values)
    expected = np.quantile(np.clip(values, 0, 1), share, method="inverted_cdf")
    assert spread.quantile(share) == pytest.approx(expected, abs=2e-3)
    _, counts = spread.bars(20)
    assert sum(counts) == len(values)


@pytest.mark.slow
def test_a_large_job_is_read_in_part_and_its_worst_tracks_are_found_all_the_same(tmp_path: Path) -> None:
    # The predicted IoU of a drawn object follows from its id: 0.5 for 5 and 10, 0.9 for 4.
    videos = tuple(DrawnVideo(f"v{number}", {4: None}, num_frames=4) for number in range(5))
    uri, _ = write_job(tmp_path, (*videos[:3], DrawnVideo("bad", {10: None}, num_frames=4), *videos[3:]), broken=())
    job = tables.open(uri)
    whole = measure(job, job.tracks(), lambda video_id: (48, 64), 3)
    assert (whole.is_whole, whole.num_rows, whole.num_rows_in_all) == (True, 24, 24)
    part = measure(job, job.tracks(), lambda video_id: (48, 64), 3, most_rows=12)
    assert 0 < part.num_rows < 24
    assert not part.is_whole
    assert part.predicted_ious.total > 0
    assert [doubt.video_id for doubt in part.worst][:1] == ["bad"]
    assert part.worst[0] == whole.worst[0]


@pytest.mark.slow
def test_a_report_goes_on_when_a_running_job_replaces_a_segment(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, broken=())
    job, seen = tables.open(uri), []

    def size_of(video_id: str) -> tuple[int, int]:
        seen.append(video_id)
        if len(seen) == 1:
            raise FileNotFoundError("a segment that is gone")  # as a reader meets it in the middle
        return 48, 64

    figures = measure(job, job.tracks(), size_of, 3)
    assert figures.num_rows == figures.num_rows_in_all > 0


def test_shown_frames_are_the_marked_one_its_neighbours_the_prompt_and_the_last() -> None:
    frames = list(range(0, 100, 2))
    areas = [5] * 40 + [0] * 10
    assert frames_to_show(frames, areas, marked=30, prompt=10) == [10, 28, 30, 32, 78]
    assert frames_to_show(frames, areas, marked=None, prompt=None, most=3) == [0, 40, 78]
    assert frames_to_show([7], [0], marked=7, prompt=7) == [7]


class Unreachable:
    """A clip whose store refuses."""

    video_id, size_hw = "v", (48, 64)

    def track(self, object_id: int) -> Any:
        return SimpleNamespace(frame_indexes=np.array([0]), boxes=np.zeros((1, 4)))

    def drawn(self, frames: Any, object_ids: Any) -> Any:
        raise NoCredentialsError


def test_a_store_that_refuses_is_asked_three_times_and_costs_pictures_only(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {1: None}),), broken=())
    maker = StripMaker(tables.open(uri))
    clip = cast(Any, Unreachable())
    told = [maker.strip(clip, 1, [0]).why_empty for _ in range(4)]
    assert all("NoCredentialsError" in one for one in told[:3])
    assert told[3] == "No picture: the store of the videos did not answer before."


def test_a_track_that_a_running_job_has_added_meanwhile_waits_for_the_next_report(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {1: None, 2: None}),), broken=())
    job = tables.open(uri)
    doubts = [Doubt("v", 1, 0.5, ()), Doubt("v", 2, 0.4, ()), Doubt("later", 1, 0.3, ())]
    before = job.tracks(where="object_id = 2")
    assert [card.doubt for card in Dealer(before, None).cards(doubts)] == [doubts[1]]


def test_a_page_takes_no_more_pictures_than_it_can_hold(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {1: None}),), broken=())
    maker = StripMaker(tables.open(uri), most_bytes=0)
    assert "as many as it can hold" in maker.strip(cast(Any, Unreachable()), 1, [0]).why_empty


@pytest.mark.slow
def test_a_report_ranks_tracks_as_the_queue_does(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, broken=())
    job = tables.open(uri)
    tracks = job.tracks(where="num_visible > 0").sort_by([("doubt", "descending")])
    worst = tracks.filter(pa.compute.field("doubt") >= WORTH_A_LOOK).to_pylist()
    found = measure(job, job.tracks(), lambda video_id: (48, 64), 8)
    assert len(found.worst) == len(worst) > 2
    for doubt, row in zip(found.worst, worst, strict=True):
        assert (doubt.video_id, doubt.object_id) == (row["video_id"], row["object_id"])
        assert doubt.doubt == pytest.approx(row["doubt"])
        assert [ground.reason.value for ground in doubt.grounds] == row["doubt_reasons"]
        assert doubt.frame_index == row["doubt_frame"]


@pytest.mark.slow
@pytest.mark.parametrize("is_measured", [True, False])
def test_tracks_with_a_verdict_are_not_among_the_doubtful_ones_as_they_are_not_in_the_queue(
    is_measured: bool, tmp_path: Path
) -> None:
    """Also not those of earlier programs, which are ranked by their rows; the next ones take their places."""
    uri, _ = write_job(tmp_path, broken=())
    every, most = tables.open(uri).tracks(), 2
    if not is_measured:
        place = every.schema.get_field_index("doubt")
        every = every.set_column(place, every.schema.field(place), pa.nulls(len(every), pa.float32()))
    before = measure(tables.open(uri), every, lambda video_id: (48, 64), 8)
    keys = [(doubt.video_id, doubt.object_id) for doubt in before.worst]
    soundest = before.best[0]
    say_of(uri, verdict(*keys[0], "accept"), verdict(soundest.video_id, soundest.object_id, "reject"))
    job = tables.open(uri)
    found = measure(job, every, lambda video_id: (48, 64), most, opinions=job.opinions())
    assert [(doubt.video_id, doubt.object_id) for doubt in found.worst] == keys[1:][:most]
    assert (soundest.video_id, soundest.object_id) not in {(one.video_id, one.object_id) for one in found.best}


@pytest.mark.slow
def test_tracks_of_an_earlier_program_are_ranked_by_their_rows(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, broken=())
    job = tables.open(uri)
    tracks = job.tracks()
    place = tracks.schema.get_field_index("doubt")
    old = tracks.set_column(place, tracks.schema.field(place), pa.nulls(len(tracks), pa.float32()))
    found = measure(job, old, lambda video_id: (48, 64), 8)
    assert len(found.worst) > 2
    assert all(doubt.grounds for doubt in found.worst)
