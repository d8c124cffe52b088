"""What reviewers said of videos that leave a job goes with them, and nothing else does."""

from __future__ import annotations

from pipeline.reviews.corrections import read_corrections, write_corrections
from pipeline.reviews.pruning import drop_others
from pipeline.reviews.verdicts import read_verdicts, write_verdicts
from pipeline.storage.job_storage import JobStorage
from tests.pipeline.reviews.test_reviewed import correction, verdict


def test_rows_of_other_videos_are_dropped_and_files_keep_their_names(disk_storage: JobStorage) -> None:
    both = write_corrections(disk_storage, [correction(1, 3), correction(1, 3, video_id="gone")])
    write_verdicts(disk_storage, [verdict(1, "accept", 1) | {"video_id": "gone"}])
    untouched = write_verdicts(disk_storage, [verdict(1, "accept", 1)])
    before = disk_storage.read(untouched)
    assert drop_others(disk_storage, {"a"}.__contains__) == 2
    assert sorted(stored.path for stored in disk_storage.listing("reviews")) == sorted([both, untouched])
    assert disk_storage.read(untouched) == before
    assert set(read_corrections(disk_storage)) == {"a"}
    assert set(read_verdicts(disk_storage)) == {("a", 1)}
    assert drop_others(disk_storage, {"a"}.__contains__) == 0
