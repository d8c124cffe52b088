"""Which objects of a corrected video are labeled again, and what becomes of the rows of the others; without a model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from model import PointPrompt
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts
from pipeline.output.former_rows import FormerRows
from pipeline.output.schema import TRACKS, VIDEOS
from pipeline.records import FramePosition, Segment, VideoSource, WorkItem
from pipeline.reviews.corrections import Correction
from pipeline.reviews.reviewed import NO_CORRECTIONS, VideoCorrections
from pipeline.storage.file_versions import FileVersion
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.labeler import Labels
from pipeline.worker.rework import Made, Rework, rework
from tests.support.labeled import labeled, publish
from tests.support.rounds import square

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
MADE = Made("f", None, finds=False)
ITEM = WorkItem("a", VideoSource("/a.mp4"), (), "p1")


def said(object_id: int, frame_index: int, *, hidden: bool = False, split_from: int | None = None) -> Correction:
    rle = None if hidden else square((24, 32), 4, 5)
    return Correction(object_id, frame_index, rle, "ann", NOON, split_from=split_from)


def corrections(*given: Correction) -> VideoCorrections:
    objects: dict[int, tuple[Correction, ...]] = {}
    for one in given:
        objects[one.object_id] = (*objects.get(one.object_id, ()), one)
    splits = {one.object_id: frozenset([one.split_from]) for one in given if one.split_from is not None}
    return VideoCorrections(objects, frozenset((one.object_id, one.frame_index) for one in given), splits)


def prompts(*object_ids: int) -> VideoPrompts:
    click = PointPrompt(((3.0, 3.0),), (1,))
    return VideoPrompts(tuple(ObjectPrompts(one, None, ((FramePosition(0, None), click),)) for one in object_ids))


@pytest.fixture
def segment(disk_storage: JobStorage, tmp_path: Path) -> Segment:
    """A video with objects 1, 2 and 3, of which 3 was corrected before; and another video."""
    video = labeled("a", object_ids=(1, 2, 3))
    before = f"review:{corrections(said(3, 2)).object_hashes[3]}"
    tracks = video.tracks.set_column(TRACKS.get_field_index("prompts"), "prompts", [[None, "table", before]])
    row = video.video
    for name, value in (("finished_at", NOON), ("source_bytes", 9), ("source_version", "v1")):
        place = VIDEOS.get_field_index(name)
        row = row.set_column(place, VIDEOS.field(place), pa.array([value], VIDEOS.field(place).type))
    return publish(disk_storage, tmp_path, replace(video, tracks=tracks, video=row), labeled("b"))


@pytest.fixture
def rows(disk_storage: JobStorage, segment: Segment, tmp_path: Path) -> FormerRows:
    return FormerRows(disk_storage, segment.name, "a", tmp_path)


def kept(found: Rework) -> list[int]:
    return [] if found.kept is None else sorted(found.kept.object_ids)


def labels_again(found: Rework) -> list[int]:
    return [one.object_id for one in found.to_label.objects]


def test_objects_are_labeled_again_whose_corrections_are_new_or_gone(rows: FormerRows) -> None:
    found = rework(ITEM, prompts(1, 2, 3), corrections(said(1, 1), said(3, 2), said(7, 4)), {}, rows, MADE)
    assert (kept(found), labels_again(found)) == ([2, 3], [1, 7])
    assert found.kept is not None
    assert found.kept.since == NOON
    assert [found.columns(one)["correction"] for one in (1, 2, 7)] == ["fix", None, "added"]
    found = rework(ITEM, prompts(1, 2, 3), NO_CORRECTIONS, {}, rows, MADE)
    assert (kept(found), labels_again(found)) == ([1, 2], [3])


def test_other_prompts_and_another_file_mean_all_objects_and_another_model_all_that_are_not_settled(
    rows: FormerRows,
) -> None:
    given = prompts(1, 2, 3), corrections(said(3, 2))
    later = NOON + timedelta(seconds=1)
    settled = {1: NOON, 2: NOON - timedelta(seconds=1), 9: later}
    assert kept(rework(ITEM, *given, settled, rows, Made("other", None, finds=False))) == [1]
    assert kept(rework(replace(ITEM, prompt_hash="p2"), *given, settled, rows, MADE)) == []
    assert kept(rework(ITEM, *given, {}, rows, replace(MADE, version=FileVersion(9, "v2")))) == []
    assert kept(rework(ITEM, *given, {}, rows, replace(MADE, version=FileVersion(9, "v1")))) == [1, 2, 3]


def test_a_settled_track_is_kept_although_it_was_corrected_before(rows: FormerRows) -> None:
    assert kept(rework(ITEM, prompts(1, 2, 3), corrections(said(1, 1)), {1: NOON, 3: NOON}, rows, MADE)) == [1, 2, 3]


def test_an_object_that_failed_is_labeled_again_alone_unless_a_reviewer_settled_it_or_nothing_can_prompt_it(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    video = labeled("a", object_ids=(1, 2), wrong={3: "nan", 7: "object 7: reviewers say only where it is not visible"})
    tracks = pa.Table.from_pylist([row | {"labeled_at": NOON} for row in video.tracks.to_pylist()], TRACKS)
    name = publish(disk_storage, tmp_path, replace(video, tracks=tracks)).name
    rows = FormerRows(disk_storage, name, "a", tmp_path)
    found = rework(ITEM, prompts(1, 2, 3), NO_CORRECTIONS, {2: NOON}, rows, MADE)
    assert (kept(found), labels_again(found)) == ([1, 2], [3])
    assert kept(rework(ITEM, prompts(1, 2, 3), NO_CORRECTIONS, {3: NOON}, rows, MADE)) == [1, 2, 3]
    found = rework(ITEM, VideoPrompts(()), NO_CORRECTIONS, {}, rows, replace(MADE, finds=True))
    assert (kept(found), labels_again(found)) == ([1, 2, 3, 7], [])


def test_an_object_is_labeled_again_when_a_split_from_it_is_new_or_withdrawn_and_not_when_the_new_one_is_corrected(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    split = corrections(said(7, 2, split_from=1))

    def again(given: VideoCorrections, rows: FormerRows, settled: dict[int, datetime] | None = None) -> list[int]:
        return labels_again(rework(ITEM, prompts(1, 2), given, settled or {}, rows, MADE))

    def published(*object_ids: int) -> FormerRows:
        video = labeled("a", object_ids=object_ids)
        made = {7: {"prompts": f"review:{split.object_hashes[7]}", "correction": "split"}}
        tracks = [row | {"labeled_at": NOON} | made.get(row["object_id"], {}) for row in video.tracks.to_pylist()]
        name = publish(disk_storage, tmp_path, replace(video, tracks=pa.Table.from_pylist(tracks, TRACKS))).name
        return FormerRows(disk_storage, name, "a", tmp_path)

    whole, ended = published(1, 2), published(1, 2, 7)
    assert again(split, whole) == [1, 7]
    assert again(split, ended) == []
    assert again(split, ended, {7: NOON}) == [], "that somebody accepted the new one changes nothing of the old one"
    assert again(corrections(said(7, 2, split_from=1), said(7, 4)), ended) == [7]
    withdrawn = replace(split, objects={})
    assert again(withdrawn, ended) == [1]
    assert again(withdrawn, whole) == [], "no run ever knew of it"
    assert again(withdrawn, ended, {1: NOON}) == []
    assert again(withdrawn, ended, {7: NOON}) == [], "the new object stays, so that the old one still ends there"


def test_rows_that_are_gone_mean_that_all_is_labeled(disk_storage: JobStorage, tmp_path: Path) -> None:
    gone = FormerRows(disk_storage, "e000001-w-000000000000", "a", tmp_path)
    found = rework(ITEM, prompts(1), corrections(said(1, 1)), {}, gone, MADE)
    assert (found.kept, labels_again(found)) == (None, [1])


def test_new_and_kept_rows_are_joined_and_what_failed_keeps_what_it_had(rows: FormerRows) -> None:
    whole = labeled("a", object_ids=(1, 2, 3)).masks.sort_by([("object_id", "ascending"), ("frame_index", "ascending")])
    found = rework(ITEM, prompts(1, 2, 3), corrections(said(1, 1), said(2, 1), said(3, 2)), {}, rows, MADE)
    new = labeled("a", object_ids=(1,), wrong={2: "object 2, frame 1: too late"})
    labels = Labels(new.masks, new.tracks, new.masks.num_rows, 6, 0.0, 0.0)
    merged = found.merged(labels)
    assert merged.masks.equals(whole)
    assert merged.expected_masks == whole.num_rows
    tracks = {row["object_id"]: row for row in merged.tracks.to_pylist()}
    assert {name: (row["status"], row["num_masks"]) for name, row in tracks.items()} == dict.fromkeys(
        (1, 2, 3), ("ok", 6)
    )
    assert tracks[2]["message"] == "keeps its masks, because its corrections do not fit: object 2, frame 1: too late"
    assert merged.failure == ""


def test_a_split_ends_the_old_object_where_the_new_one_begins_until_it_is_shown_again() -> None:
    given = corrections(said(1, 4, hidden=True), said(7, 4, split_from=1))
    assert Rework(prompts(1), given).cuts == {7: [(0, 4)], 1: [(5, None)]}
    item = corrections(said(1, 4, hidden=True), said(1, 9), said(7, 4, split_from=1))
    rows = rework(ITEM, prompts(1), item, {}, None, MADE)
    assert rows.cuts == {7: [(0, 4)], 1: [(5, 9)]}
    assert Rework(prompts(1), corrections(said(1, 4))).cuts == {}


def test_a_found_object_is_prompted_by_the_mask_that_found_it(rows: FormerRows) -> None:
    found = rework(ITEM, VideoPrompts(()), corrections(said(1, 3), said(3, 2)), {}, rows, replace(MADE, finds=True))
    (one,) = found.to_label.objects
    assert [position.frame_index for position, _ in one.prompts] == [0, 3]
    first = rows.masks({1}).filter(pc.field("is_prompt"))["rle"][0].as_py()
    assert one.prompts[0][1].counts == first["counts"].encode()
    assert found.columns(1)["correction"] == "fix"


def test_a_split_cuts_nothing_off_an_object_with_prompts_of_its_own_nor_where_the_new_one_is_not_shown() -> None:
    given = corrections(said(2, 4, split_from=1))
    assert rework(ITEM, prompts(1, 2), given, {}, None, MADE).cuts == {1: [(5, None)]}
    hidden = corrections(said(7, 4, hidden=True, split_from=1))
    assert rework(ITEM, prompts(1), hidden, {}, None, MADE).cuts == {}


def test_the_old_object_of_a_split_is_shown_again_by_its_own_prompts_alone_and_not_by_those_of_unknown_frames() -> None:
    click = PointPrompt(((3.0, 3.0),), (1,))
    timed = ((FramePosition(None, 0.5), click), (FramePosition(0, None), click))
    other = ObjectPrompts(1, None, ((FramePosition(7, None), click),))
    prompted = VideoPrompts((other, ObjectPrompts(2, None, timed)))
    given = corrections(said(7, 4, split_from=2))
    assert rework(ITEM, prompted, given, {}, None, MADE).cuts == {7: [(0, 4)], 2: [(5, None)]}


def test_the_old_object_of_a_split_ends_up_to_the_first_later_frame_that_shows_it() -> None:
    given = corrections(said(1, 4), said(1, 9), said(1, 11), said(7, 4, split_from=1), said(7, 6))
    found = rework(ITEM, prompts(1), given, {}, None, MADE)
    assert found.cuts == {7: [(0, 4)], 1: [(5, 9)]}
    assert (found.columns(7)["correction"], found.columns(1)["correction"]) == ("split", "fix")
