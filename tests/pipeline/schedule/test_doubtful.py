"""The share of doubtful tracks of a sample of videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipeline import tables
from pipeline.commits.run_document import DoubtCount
from pipeline.driver.sample import Sample
from pipeline.output.schema import TRACKS
from pipeline.output.segment_writer import LabeledVideo
from pipeline.schedule.doubtful import count_doubtful
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, publish


def doubted(video_id: str, *doubts: tuple[int, float | None]) -> LabeledVideo:
    """A video whose tracks are visible on so many frames and have this doubt."""
    video = labeled(video_id, object_ids=tuple(range(len(doubts))))
    rows = [
        row | {"num_visible": num_visible, "doubt": doubt}
        for row, (num_visible, doubt) in zip(video.tracks.to_pylist(), doubts, strict=True)
    ]
    return replace(video, tracks=pa.Table.from_pylist(rows, TRACKS))


def test_visible_tracks_are_counted_by_the_doubt_that_was_measured_in_the_videos_asked_for(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    _, keeper = driver(disk_storage, tmp_path)
    calm = doubted("calm", (6, 0.01), (6, 0.14))
    wild = doubted("wild", (6, 0.9), (6, 0.16), (6, 0.1), (0, None), (6, None))
    keeper.commit([publish(disk_storage, tmp_path, calm, wild, doubted("other", (6, 0.9)))])
    job = tables.open(disk_storage.uri)
    assert count_doubtful(job, ["calm", "wild"]) == DoubtCount(num_videos=2, num_tracks=5, num_doubtful=2)
    assert count_doubtful(job, ["calm"]).share == 0
    assert count_doubtful(job, []) == DoubtCount(num_videos=0, num_tracks=0, num_doubtful=0)


def test_a_sample_is_the_same_in_any_order_and_never_larger_than_asked_for() -> None:
    names = [f"video {number}" for number in range(500)]
    one, other, none = Sample(20), Sample(20), Sample(0)
    for name in names:
        one.add(name)
        none.add(name)
    for name in reversed(names):
        other.add(name)
    assert one.video_ids == other.video_ids
    assert len(set(one.video_ids)) == 20
    assert none.video_ids == []
