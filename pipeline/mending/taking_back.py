"""Taking a saved correction back, whenever it was saved: what counted on its frames before counts again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline.errors import CannotMend
from pipeline.reviews.corrections import Kind, read_rows, write_corrections
from pipeline.reviews.files import Listed
from pipeline.reviews.history import (
    Corrected,
    Row,
    in_time,
    is_same_correction,
    said_again,
    standing_corrections,
)
from pipeline.reviews.times import after
from pipeline.reviews.verdicts import Key
from pipeline.storage.job_storage import JobStorage

_Place = tuple[str, int, int]  # video id, object id, frame index


@dataclass(frozen=True)
class LastCorrection:
    """What a reviewer has corrected last of an object: the file, when, in how many seconds, and on which frames.

    `since` is who has spoken of one of these frames since, empty if nobody has. `handout` names what was handed out to
    another program, if it was said there; `is_last_of_handout`: nothing else that the reviewer said there of the object
    stands. `others` are the tracks that are taken back with it, because the file splits them.
    """

    path: str
    at: datetime
    seconds: float | None
    frame_indexes: tuple[int, ...]
    since: str = ""
    handout: str | None = None
    is_last_of_handout: bool = True
    others: frozenset[Key] = frozenset()


def last_correction(storage: JobStorage, video_id: str, object_id: int, reviewer: str) -> LastCorrection | None:
    """What a reviewer has corrected last of an object and not taken back, whenever that was; None if nothing is left.

    Raises `StorageError` if the store does not answer.
    """
    by_frame: dict[int, list[Corrected]] = {}
    said = _all_rows(storage)
    for one in said:
        if one[1]["video_id"] == video_id and one[1]["object_id"] == object_id:
            by_frame.setdefault(one[1]["frame_index"], []).append(one)
    found: dict[str, LastCorrection] = {}
    by_handout: dict[str | None, set[str]] = {}
    for frame_index, history in by_frame.items():
        standing = standing_corrections(history)
        own = [one for one in standing if one[1]["reviewer"] == reviewer]
        if not own:
            continue
        for path, row in own:
            by_handout.setdefault(row["handout"], set()).add(path)
        mine = path, row = own[-1]
        since = "" if standing[-1] is mine else standing[-1][1]["reviewer"]
        before = found.get(path)
        frames = (*(before.frame_indexes if before else ()), frame_index)
        found[path] = LastCorrection(
            path, row["reviewed_at"], row["seconds"], frames, since or (before.since if before else ""), row["handout"]
        )
    last = max(found.values(), key=lambda one: (one.at, one.path), default=None)
    if last is None:
        return None
    together = _together([row for path, row in said if path == last.path], (video_id, object_id))
    return replace(
        last,
        is_last_of_handout=by_handout[last.handout] == {last.path},
        others=frozenset(place[:2] for place in together) - {(video_id, object_id)},
    )


def take_back(storage: JobStorage, path: str, track: Key, reviewer: str) -> str:
    """Take back what one file of corrections says of a track. Returns the path of the new file.

    A file that came back from another program speaks of many tracks: the others stay as they are. The two sides of a
    split are taken back together, because either alone would leave an object twice, or nowhere.

    The correction that counted before is said once more, in the name of the reviewer who had said it, with its mask
    and clicks. Where there was none, the reviewer who takes back withdraws. A file that was taken back already is left
    as it is: then the path is its own.

    Raises `CannotMend` if somebody has corrected one of the frames since, and for a path without one of the track;
    `StorageError` if the store does not answer.
    """
    said = _all_rows(storage)
    keys = _together([row for at, row in said if at == path], track)
    if not keys:
        raise CannotMend(
            f"nothing is taken back: {path!r} holds no correction of object {track[1]} of video {track[0]!r}"
        )
    now = after(row["reviewed_at"] for _, row in said if _key(row) in keys)
    rows = [_restored(key, [one for one in said if _key(one[1]) == key], path) | {"reviewed_at": now} for key in keys]
    for row in rows:
        if row["kind"] == Kind.WITHDRAW:
            row["reviewer"] = reviewer
    newest = {_key(row): row for _, row in said}
    if all(is_same_correction(newest[_key(row)], row) for row in rows):
        return path
    return write_corrections(storage, rows)


def _all_rows(storage: JobStorage) -> list[Corrected]:
    """All rows of corrections in the order of time."""
    return sorted(read_rows(storage, Listed(storage).paths()), key=lambda one: in_time(*one))


def _together(rows: Iterable[Row], track: Key) -> list[_Place]:
    """Of the rows of one file those of a track, of the tracks that were split from it, and of the one it is split from.

    Of that one it is what was said from the frame of this split on, until the frame of its next one.
    """
    video_id, object_id = track
    rows = [row for row in rows if row["video_id"] == video_id]
    parts = {row["object_id"] for row in rows if row["split_from"] == object_id}
    found = [row for row in rows if row["object_id"] in {object_id, *parts}]
    for whole in {row["split_from"] for row in found if row["object_id"] == object_id} - {None}:
        starts: dict[int, int] = {}
        for row in rows:
            if row["split_from"] == whole:
                starts[row["object_id"]] = min(row["frame_index"], starts.get(row["object_id"], row["frame_index"]))
        start = starts[object_id]
        stop = min((one for one in starts.values() if one > start), default=None)
        ended = (row for row in rows if row["object_id"] == whole and row["frame_index"] >= start)
        found += [row for row in ended if stop is None or row["frame_index"] < stop]
    return list(dict.fromkeys(_key(row) for row in found))


def _restored(key: _Place, history: list[Corrected], path: str) -> dict[str, Any]:
    """The row that counted before those of the file `path`, or a withdrawal."""
    first = next(place for place, (at, _) in enumerate(history) if at == path)
    mine = [row for at, row in history if at == path][-1]
    video_id, object_id, frame_index = key
    before: dict[str, Any] = {"kind": Kind.WITHDRAW.value, "reviewer": mine["reviewer"], "mask_rle": None}
    if first and history[first - 1][1]["kind"] != Kind.WITHDRAW:
        before = said_again(history[first - 1][1])
    before |= {"video_id": video_id, "object_id": object_id, "frame_index": frame_index}
    newest = history[-1][1]
    if not is_same_correction(newest, mine) and not is_same_correction(newest, before):
        raise CannotMend(
            f"nothing is taken back: {newest['reviewer']} has spoken of object {object_id} on frame {frame_index} since"
        )
    return before


def _key(row: Row) -> _Place:
    return row["video_id"], row["object_id"], row["frame_index"]
