"""Long videos saved in their middle: what is read back, when it is refused, what remains."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path

import pytest

from pipeline.config.worker_config import CheckpointConfig
from pipeline.output.layout import session_folder
from pipeline.output.saved_sessions import SessionStore, delete_all, num_saved, session_identity
from pipeline.records import ReviewedItem, ReviewWork, TimeRange, VideoSource, WorkItem
from pipeline.storage.job_storage import JobStorage
from tests.support.full_disk import full_disk
from tests.support.labeled import mask_rows

ITEM = WorkItem("a/../b\n" + "x" * 500, VideoSource("s3://bucket/a.mp4?X-Amz-Signature=secret"), (), "p1")
RULE = CheckpointConfig(every_frames=10, every_seconds=60.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def checkpoint(storage: JobStorage, item: WorkItem = ITEM, clock: Clock | None = None) -> SessionStore:
    return SessionStore(storage, session_identity(item, "f1", "9 bytes"), RULE, clock or Clock())


def rows(first: int, stop: int) -> list[object]:
    return mask_rows(ITEM.video_id, (1, 2), stop).slice(2 * first).combine_chunks().to_batches()


def test_what_was_saved_last_is_read_back_with_all_rows(storage: JobStorage) -> None:
    first = checkpoint(storage)
    assert first.load() is None
    assert first.save(b"state 1", rows(0, 3), 3)
    assert first.save(b"state 2", rows(3, 5), 5)
    found = checkpoint(storage).load()
    assert found is not None
    assert (found.state, found.num_frames) == (b"state 2", 5)
    assert [row for batch in found.rows for row in batch.to_pylist()] == mask_rows(ITEM.video_id, (1, 2), 5).to_pylist()
    assert len(storage.listing(session_folder(ITEM.video_id))) == 4  # two parts, one state, the document

    second = checkpoint(storage)
    second.load()
    assert second.save(b"state 3", rows(5, 6), 6)
    again = checkpoint(storage).load()
    assert again is not None
    assert sum(batch.num_rows for batch in again.rows) == 12
    second.delete()
    assert checkpoint(storage).load() is None
    assert storage.tree("_sessions") == []


@pytest.mark.parametrize(
    "other",
    [
        {"prompt_hash": "p2"},
        {"source": VideoSource("s3://bucket/b.mp4")},
        {"range": TimeRange(1.0)},
        {"video_id": "another"},
    ],
)
def test_it_is_of_no_use_for_another_item(disk_storage: JobStorage, other: dict[str, object]) -> None:
    checkpoint(disk_storage).save(b"state", rows(0, 3), 3)
    assert checkpoint(disk_storage, replace(ITEM, **other)).load() is None  # type: ignore[arg-type]


def test_it_is_of_use_for_the_same_item_however_it_comes_again(disk_storage: JobStorage) -> None:
    checkpoint(disk_storage).save(b"state", rows(0, 3), 3)
    assert checkpoint(disk_storage, replace(ITEM, attempt=3, alone=True)).load() is not None
    renewed = replace(ITEM, source=VideoSource("s3://bucket/a.mp4?X-Amz-Signature=renewed"))
    assert checkpoint(disk_storage, renewed).load() is not None


@pytest.mark.parametrize(
    ("identity", "differs"),
    [(session_identity(ITEM, "f2", "9 bytes"), "config_hash"), (session_identity(ITEM, "f1", "8 bytes"), "content")],
)
def test_one_that_does_not_fit_is_deleted_and_counted_no_more(
    storage: JobStorage, caplog: pytest.LogCaptureFixture, identity: dict[str, object], differs: str
) -> None:
    checkpoint(storage).save(b"state", rows(0, 3), 3)
    assert num_saved(storage) == 1
    assert SessionStore(storage, identity, RULE).load() is None
    assert num_saved(storage) == 0
    assert storage.tree("_sessions") == []
    assert f"starts anew, because its saved session does not fit: it was saved with another {differs}" in caplog.text


def change(storage: JobStorage, **fields: object) -> None:
    path = f"{session_folder(ITEM.video_id)}/latest.json"
    storage.replace(path, json.dumps(json.loads(storage.read(path)) | fields).encode())


def test_one_that_a_later_program_saved_is_read_unless_its_version_is_newer(
    disk_storage: JobStorage, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint(disk_storage).save(b"state", rows(0, 3), 3)
    change(disk_storage, found_later=1)
    assert checkpoint(disk_storage).load() is not None
    change(disk_storage, version=2)
    assert checkpoint(disk_storage).load() is None
    assert "latest.json was written by a newer maskmill, in version 2; this one reads versions up to 1." in caplog.text
    assert disk_storage.tree("_sessions") == []


def test_the_document_of_a_session_has_the_names_that_earlier_programs_read(disk_storage: JobStorage) -> None:
    checkpoint(disk_storage).save(b"state", rows(0, 3), 3)
    document = json.loads(disk_storage.read(f"{session_folder(ITEM.video_id)}/latest.json"))
    assert set(document) == {"version", "identity", "state", "parts", "num_frames"}
    assert set(document["identity"]) == {
        *("schema_version", "video_id", "uri", "content", "range", "prompt_hash", "config_hash"),
    }


def test_a_session_that_the_model_refuses_is_deleted(disk_storage: JobStorage) -> None:
    checkpoint(disk_storage).save(b"state", rows(0, 3), 3)
    later = checkpoint(disk_storage)
    assert later.load() is not None
    later.forget()
    assert disk_storage.tree("_sessions") == []
    assert later.save(b"state 2", rows(0, 2), 2)
    again = checkpoint(disk_storage).load()
    assert again is not None
    assert (again.state, again.num_frames) == (b"state 2", 2)


def test_neither_ids_nor_secrets_are_in_paths_or_documents(disk_storage: JobStorage) -> None:
    checkpoint(disk_storage).save(b"state", rows(0, 3), 3)
    root = Path(disk_storage.uri)
    files = [path for path in root.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(root / "_sessions") for path in files)
    assert not any(b"secret" in path.read_bytes() for path in files)


def test_it_is_due_after_frames_or_seconds_or_when_asked(disk_storage: JobStorage) -> None:
    clock = Clock()
    one = checkpoint(disk_storage, clock=clock)
    assert not one.is_due(9)
    assert one.is_due(10)
    one.save(b"", [], 10)
    assert not one.is_due(19)
    clock.now = 61.0
    assert one.is_due(11)
    one.save(b"", [], 11)
    assert not one.ask(), "what was saved a moment ago is not saved again"
    clock.now = 70.0
    assert one.ask()
    assert not one.is_due(11), "nothing new"
    assert one.is_due(12)


@pytest.mark.parametrize("num_bytes", [10, 1500, -500])
def test_rows_that_were_cut_off_mean_starting_anew(disk_storage: JobStorage, num_bytes: int) -> None:
    """Arrow calls it invalid, or an error of the system, by where they are cut."""
    checkpoint(disk_storage).save(b"state", rows(0, 3), 3)
    (path,) = Path(disk_storage.uri).rglob("*.arrow")
    path.write_bytes(path.read_bytes()[:num_bytes])
    assert checkpoint(disk_storage).load() is None
    assert disk_storage.tree("_sessions") == []


@pytest.mark.parametrize("damage", ["latest.json", ".arrow", ".safetensors"])
def test_damaged_or_missing_parts_mean_starting_anew(disk_storage: JobStorage, damage: str) -> None:
    checkpoint(disk_storage).save(b"state", rows(0, 3), 3)
    (path,) = [one for one in Path(disk_storage.uri).rglob("*") if one.name.endswith(damage)]
    if damage == ".safetensors":
        path.unlink()
    else:
        path.write_bytes(b"{}")
    assert checkpoint(disk_storage).load() is None
    assert disk_storage.tree("_sessions") == []


def test_a_store_that_refuses_costs_nothing_but_the_save(disk_storage: JobStorage) -> None:
    one = checkpoint(disk_storage)
    assert one.save(b"state 1", rows(0, 2), 2)
    with full_disk():
        assert not one.save(b"state 2", rows(2, 4), 4)
    assert one.num_saved == 2
    assert not one.is_due(13), "tried again after as many frames as always, not at each"
    assert one.is_due(14)
    assert one.save(b"state 3", rows(4, 5), 5)
    found = checkpoint(disk_storage).load()
    assert found is not None
    assert [row for batch in found.rows for row in batch.to_pylist()] == mask_rows(ITEM.video_id, (1, 2), 5).to_pylist()


def test_what_an_earlier_attempt_saved_is_no_progress_of_this_one(disk_storage: JobStorage) -> None:
    checkpoint(disk_storage).save(b"state 1", rows(0, 2), 2)
    later = checkpoint(disk_storage)
    assert later.load() is not None
    assert later.num_saved == 0
    later.save(b"state 2", rows(2, 3), 3)
    assert later.num_saved == 3


def test_the_end_of_a_job_deletes_everything(storage: JobStorage) -> None:
    for video_id in ("a", "b"):
        checkpoint(storage, replace(ITEM, video_id=video_id)).save(b"state", rows(0, 1), 1)
    storage.replace("masks/x.parquet", b"x")
    assert len(storage.tree("_sessions")) == 6
    delete_all(storage)
    delete_all(storage)
    assert storage.tree("_sessions") == []
    assert storage.read("masks/x.parquet") == b"x"


def test_what_was_saved_with_other_corrections_or_of_other_objects_does_not_fit() -> None:
    plain = session_identity(ITEM, "f1", "9 bytes")
    names = {field.name: getattr(ITEM, field.name) for field in fields(WorkItem)}
    found = [
        session_identity(ReviewedItem(**names, review=work), "f1", "9 bytes")
        for work in (
            ReviewWork("h1", ("reviews/1",)),
            ReviewWork("h2", ("reviews/1", "reviews/2")),
            ReviewWork("", (), "s1"),
            ReviewWork("h1", ("reviews/1",), "s1"),
        )
    ]
    assert all(one != other for one, other in combinations([plain, *found], 2))
    assert session_identity(ReviewedItem(**names), "f1", "9 bytes") == plain, "nobody has said anything of it"
    item = ReviewedItem(**names, review=ReviewWork("h1", ("reviews/1",), "s1"))
    with_kept = [session_identity(item, "f1", "9 bytes", kept) for kept in ({1}, {1, 2})]
    assert all(one != other for one, other in combinations([*found, *with_kept], 2))
    assert session_identity(item, "f1", "9 bytes", frozenset([2, 1])) == with_kept[1]


def test_a_video_is_saved_when_enough_time_has_passed_since_labeling_began_or_it_was_saved_last(
    disk_storage: JobStorage,
) -> None:
    clock = Clock()
    store = checkpoint(disk_storage, clock=clock)
    clock.now = 1000.0
    store.begin()
    clock.now = 1059.0
    assert not store.is_due(1), "what was saved was read long before labeling began"
    clock.now = 1060.0
    assert store.is_due(1)
    assert store.save(b"state", rows(0, 1), 1)
    clock.now = 1119.0
    assert not store.is_due(2)
