"""Queues: chosen of a stream as one would of the whole table, within their bounds, with some tracks drawn by lot."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pytest

from pipeline.arrays import Float64Array
from pipeline.data_engine.costs import seconds_to_check
from pipeline.data_engine.queue import COLUMNS, QUEUE, Entry, Order, Queue, QueueRules, queue_table
from pipeline.output.schema import TRACKS

NUM_TRACKS = 400


def tracks(seed: int = 0, num_tracks: int = NUM_TRACKS) -> pa.Table:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "video_id": f"v{number // 3}",
            "object_id": number % 3,
            "category": "cat" if number % 2 else None,
            "num_masks": int(rng.integers(1, 400)),
            "num_visible": int(rng.integers(1, 100)),
            "doubt": float(rng.random()),
            "doubt_reasons": ["lost", "leap"][: int(rng.integers(0, 3))],
            "doubt_frame": int(rng.integers(0, 100)),
            "correction": None,
        }
        for number in range(num_tracks)
    ]
    return pa.Table.from_pylist(rows, pa.schema([TRACKS.field(name) for name in COLUMNS]))


def queued(rows: pa.Table, batch_size: int = 37, done: tuple[tuple[str, int], ...] = (), **rules: object) -> pa.Table:
    queue = Queue(QueueRules(**rules), done)  # type: ignore[arg-type]
    for batch in rows.to_batches(batch_size):
        queue.add(pa.Table.from_batches([batch]))
    return queue_table(queue.entries())


@pytest.mark.parametrize("batch_size", [1, 37, 10_000])
def test_the_most_doubtful_tracks_come_first(batch_size: int) -> None:
    rows = tracks()
    found = queued(rows, batch_size, top=25, order="doubt", audit=0.0)
    assert found.schema == QUEUE
    expected = rows.sort_by([("doubt", "descending")]).slice(0, 25)
    for name, column in (("video_id", "video_id"), ("object_id", "object_id"), ("reasons", "doubt_reasons")):
        assert found[name].to_pylist() == expected[column].to_pylist()
    assert found["frame_index"].to_pylist() == expected["doubt_frame"].to_pylist()
    assert found["place"].to_pylist() == list(range(1, 26))


def test_a_queue_by_value_mends_more_masks_in_the_same_time() -> None:
    rows = tracks()

    def mended(found: pa.Table) -> float:
        return sum(row["doubt"] * row["num_masks"] for row in found.to_pylist())

    by_doubt, by_value = (queued(rows, top=None, minutes=5.0, order=order, audit=0.0) for order in ("doubt", "value"))
    for found in (by_doubt, by_value):
        assert 200 < sum(found["seconds"].to_pylist()) <= 300
    assert mended(by_value) > 1.1 * mended(by_doubt)


@pytest.mark.parametrize("num_long", [5, 2000])
def test_a_queue_takes_no_longer_than_its_minutes_with_the_tracks_that_are_drawn_by_lot(num_long: int) -> None:
    """Sound tracks are looked through: with them 10 minutes took 29."""
    rows = [row | {"num_masks": 100, "doubt": 0.9} for row in tracks(num_tracks=300).to_pylist()]
    rows += [{**rows[0], "video_id": f"w{number}", "num_masks": num_long, "doubt": 0.01} for number in range(300)]
    table = pa.Table.from_pylist(rows, tracks(num_tracks=1).schema)
    found = queued(table, top=None, minutes=10.0)
    drawn = found["is_audit"].to_pylist().count(True)
    assert 590 < sum(found["seconds"].to_pylist()) <= 600
    assert drawn == round(0.1 * (found.num_rows - drawn)) if num_long == 5 else drawn >= 2


def test_where_no_drawn_track_fits_into_the_minutes_the_queue_has_the_others() -> None:
    rows = [row | {"num_masks": 20, "doubt": 0.9} for row in tracks(num_tracks=300).to_pylist()]
    rows += [{**rows[0], "video_id": f"w{number}", "num_masks": 9000, "doubt": 0.0} for number in range(3000)]
    found = queued(pa.Table.from_pylist(rows, tracks(num_tracks=1).schema), top=None, minutes=10.0)
    assert 590 < sum(found["seconds"].to_pylist()) <= 600


@pytest.mark.parametrize("order", ["doubt", "value"])
def test_tracks_as_good_as_each_other_are_chosen_by_their_names_whatever_lies_first(order: Order) -> None:
    """Sound tracks all have a doubt of 0: which of them were queued hung on the order of segments and of batches."""
    rows = pa.Table.from_pylist(
        [
            row | {"doubt": 0.7 if number < 10 else 0.0, "num_masks": 30}
            for number, row in enumerate(tracks().to_pylist())
        ],
        tracks(num_tracks=1).schema,
    )
    found = queued(rows, top=25, order=order, audit=0.0)
    names = rows.slice(10).sort_by([("video_id", "ascending"), ("object_id", "ascending")]).slice(0, 15)
    assert found["video_id"].to_pylist()[10:] == names["video_id"].to_pylist()
    assert found["object_id"].to_pylist()[10:] == names["object_id"].to_pylist()
    mixed = rows.take(np.random.default_rng(1).permutation(NUM_TRACKS))
    for batch_size in (1, 37, 10_000):
        assert queued(mixed, batch_size, top=25, order=order, audit=0.0).equals(found)


def test_seconds_are_those_of_the_doubtful_frame_and_of_its_edit_or_of_looking_through_the_track() -> None:
    masks, doubt = np.array([300.0, 300.0, 40.0]), np.array([0.0, 1.0, 0.5])
    assert seconds_to_check(masks, doubt).tolist() == [1.0 + 30.0, 1.0 + 3 * 1.5, 1.0 + (3 * 1.5 + 4.0) / 2]


@pytest.mark.parametrize("order", ["doubt", "value"])
def test_the_seconds_of_a_look_are_computed_once_for_each_track(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    def counting(num_masks: Float64Array, doubt: Float64Array) -> Float64Array:
        counted.append(len(num_masks))
        return seconds_to_check(num_masks, doubt)

    monkeypatch.setattr("pipeline.data_engine.queue.seconds_to_check", counting)
    found = Queue(QueueRules(order=order))
    found.add(tracks(num_tracks=3))
    assert counted == [3]


def test_by_value_a_track_that_was_corrected_comes_after_one_with_a_third_of_its_doubt() -> None:
    rows = [row | {"num_masks": 40, "num_visible": 40} for row in tracks(num_tracks=3).to_pylist()]
    for row, doubt, correction in zip(rows, (0.9, 0.2, 0.4), ("fix", None, None), strict=True):
        row |= {"doubt": doubt, "correction": correction}
    table = pa.Table.from_pylist(rows, tracks(num_tracks=1).schema)
    assert queued(table, order="value", audit=0.0)["object_id"].to_pylist() == [2, 0, 1]
    assert queued(table, order="doubt", audit=0.0)["object_id"].to_pylist() == [0, 2, 1]


def test_by_value_the_frames_on_which_an_object_is_lost_count_as_well() -> None:
    rows = [row | {"num_masks": 40, "doubt": 0.5} for row in tracks(num_tracks=2).to_pylist()]
    rows[0] |= {"num_visible": 40, "num_masks": 30}
    rows[1]["num_visible"] = 5
    table = pa.Table.from_pylist(rows, tracks(num_tracks=1).schema)
    assert queued(table, order="value", audit=0.0)["object_id"].to_pylist() == [1, 0]


def test_some_tracks_are_drawn_by_lot_of_those_outside_of_the_queue() -> None:
    rows = tracks()
    found = queued(rows, top=50, order="doubt", audit=0.2)
    drawn = found.filter(found["is_audit"])
    assert (found.num_rows, drawn.num_rows) == (60, 10)
    chosen = found.filter(pa.compute.invert(found["is_audit"]))
    assert min(chosen["doubt"].to_pylist()) > max(drawn["doubt"].to_pylist()), "the queue itself is by doubt"
    places = drawn["place"].to_pylist()
    assert max(np.diff([0, *places, 61])) <= 8, "they are spread over the queue"
    assert queued(rows.take(list(reversed(range(NUM_TRACKS)))), 11, top=50, order="doubt", audit=0.2).equals(found)
    others = queued(rows, top=50, order="doubt", audit=0.2, seed=1)
    assert others["object_id"].to_pylist() != found["object_id"].to_pylist()


@pytest.mark.parametrize("audit", [0.05, 0.3, 0.5, 2 / 3, 0.9, 1.0])
@pytest.mark.parametrize("top", [1, 2, 7, 50])
def test_as_many_are_drawn_by_lot_as_the_share_says(top: int, audit: float) -> None:
    found = queued(tracks(), top=top, audit=audit)
    assert found["is_audit"].to_pylist().count(True) == round(audit * top)
    assert found.num_rows == top + round(audit * top)


def test_skipped_tracks_that_are_drawn_by_lot_come_last_as_well() -> None:
    """They stay in the sample, because those that are hard to judge are not as good as others."""
    rows = tracks()
    drawn = [entry.key for entry, is_audit in _entries(rows) if is_audit]
    found = _entries(rows, skipped={drawn[0], drawn[3]})
    assert [entry.key for entry, _ in found[-2:]] == [drawn[0], drawn[3]]
    assert [entry.key for entry, is_audit in found if is_audit] == [*drawn[1:3], *drawn[4:], drawn[0], drawn[3]]


def _entries(rows: pa.Table, skipped: Collection[tuple[str, int]] = ()) -> list[tuple[Entry, bool]]:
    queue = Queue(QueueRules(top=50, audit=0.2), skipped=skipped)
    queue.add(rows)
    return queue.entries()


@pytest.mark.slow
def test_every_track_is_drawn_as_often_as_another() -> None:
    """Over 100 seeds, doubt and the number of masks do not matter to the lot."""
    rows = tracks(num_tracks=60)
    keys = list(zip(rows["video_id"].to_pylist(), rows["object_id"].to_pylist(), strict=True))
    times = dict.fromkeys(keys, 0)
    for seed in range(100):
        found = queued(rows, 1000, top=20, order="doubt", audit=0.5, seed=seed)
        for row in found.filter(found["is_audit"]).to_pylist():
            times[row["video_id"], row["object_id"]] += 1
    inside = rows.sort_by([("doubt", "descending")]).slice(0, 20)
    outside = [
        times[key]
        for key in keys
        if key not in set(zip(inside["video_id"].to_pylist(), inside["object_id"].to_pylist(), strict=True))
    ]
    assert sum(outside) == 100 * 10
    assert max(abs(np.array(outside) - 25)) < 5 * np.sqrt(25 * 0.75), outside


def test_what_was_seen_what_never_shows_and_what_was_not_measured_is_left_out() -> None:
    rows = tracks(num_tracks=6).to_pylist()
    rows[0]["num_visible"] = 0
    rows[1]["doubt"] = None
    table = pa.Table.from_pylist(rows, tracks(num_tracks=1).schema)
    seen = (rows[2]["video_id"], rows[2]["object_id"])
    queue = Queue(QueueRules(audit=0.0), {seen})
    queue.add(table)
    assert (queue.num_tracks, queue.num_unknown, queue.num_done) == (3, 1, 1)
    assert {entry.key for entry, _ in queue.entries()} == {(row["video_id"], row["object_id"]) for row in rows[3:]}


@pytest.mark.parametrize("order", ["doubt", "value"])
def test_skipped_tracks_come_behind_all_others_in_the_same_order(order: str) -> None:
    rows = tracks(num_tracks=60)
    plain = queued(rows, top=60, order=order, audit=0.0)
    keys = list(zip(plain["video_id"].to_pylist(), plain["object_id"].to_pylist(), strict=True))
    skipped = {keys[0], keys[5], keys[40]}
    queue = Queue(QueueRules(top=60, order=order, audit=0.0), skipped=skipped)  # type: ignore[arg-type]
    queue.add(rows)
    found = [entry.key for entry, _ in queue.entries()]
    assert found == [key for key in keys if key not in skipped] + [keys[0], keys[5], keys[40]]


def test_memory_holds_the_queue_whatever_the_number_of_tracks() -> None:
    queue = Queue(QueueRules(top=20, audit=0.5))
    rows = tracks()
    for _ in range(30):
        queue.add(rows)
    assert queue.num_tracks == 30 * NUM_TRACKS
    assert len(queue.entries()) == 30
    assert queue.num_kept <= 20 + 30


def test_an_empty_job_has_an_empty_queue() -> None:
    assert queued(tracks(num_tracks=1).slice(1)).num_rows == 0
