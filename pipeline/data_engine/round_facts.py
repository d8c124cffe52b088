"""What happened in each round of reviews: what was labeled, what people looked at, and how masks changed by it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commits.read_history import read_history
from pipeline.commits.read_rounds import RoundEntries
from pipeline.commits.round_state import FIRST_ROUND
from pipeline.data_engine.audit import NO_SAMPLE, Rate, lots
from pipeline.data_engine.differences import Compared, compare_people
from pipeline.data_engine.gone import Gone, rejected, without_masks
from pipeline.errors import InputError, NoHistory
from pipeline.output.layout import REVIEWS
from pipeline.quality.comparison import compare_video
from pipeline.quality.masks import ROWS, VideoMasks, by_video
from pipeline.quality.sources import as_rows, with_all_frames
from pipeline.reviews.corrections import Kind, read_rows
from pipeline.reviews.verdicts import Key, Verdict, read_verdict_files
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables

_VIDEOS_AT_A_TIME = 32
_MASKS_AT_A_TIME = 30_000
_SAID = ("video_id", "object_id", "verdict", "reviewer", "is_audit", "seconds", "frame_index", "comment")
"""Columns by which an undo's copy of a verdict is known; it may have another category and another `labeled_at`."""
_BAD = (Verdict.REJECT, Verdict.FIX)


@dataclass(frozen=True)
class Labeled:
    """What was labeled in a round. Objects and masks are not known (None) of rounds that cannot be read any more."""

    num_videos: int | None = None
    num_objects: int | None = None
    num_masks: int | None = None


@dataclass(frozen=True)
class Looked:
    """What people said in a round: by verdict how many tracks, and how long that took them.

    `seen` are the tracks that they chose to look at with how many of them were bad, `audit` those drawn by lot.
    `people` is what each of several reviewers said alone.
    """

    verdicts: Mapping[str, int] = field(default_factory=dict)
    num_tracks: int = 0
    num_corrections: int = 0
    reviewers: tuple[str, ...] = ()
    seconds: float = 0.0
    seen: Rate = NO_SAMPLE
    audit: Rate = NO_SAMPLE
    people: Mapping[str, Looked] = field(default_factory=dict)


@dataclass(frozen=True)
class Changed:
    """How the masks of objects that were labeled again differ from their former ones, over all frames that either has.

    `worst` is the object whose masks changed most. `num_objects` are all that were labeled again, of which
    `num_compared` were compared.
    """

    num_objects: int
    num_compared: int
    iou_mean: float
    worst: Key
    worst_iou: float

    @property
    def moved(self) -> float:
        """The share of a mask that such a correction changed."""
        return 1 - self.iou_mean


@dataclass(frozen=True)
class Round:
    """All that is told of one round. `changed` is None where nothing was labeled again, or no more can be compared.

    `compared` is what several people say of the same tracks.
    """

    entries: RoundEntries
    labeled: Labeled
    looked: Looked
    changed: Changed | None
    gone: Gone = field(default_factory=Gone)
    compared: Compared = field(default_factory=Compared)


def read_facts(
    storage: JobStorage, rounds: Sequence[RoundEntries], open_round: Callable[[int], JobTables], most: int
) -> list[Round]:
    """What is told of each round. At most so many objects of one are compared, which are drawn by lot.

    Raises `StorageError` and `InputError` as `read_verdicts` does, and `FileNotFoundError` if segments are replaced
    while their masks are read.
    """
    opened = {one.number: open_round(one.number) for one in rounds if one.is_readable}
    verdicts = [row for _, rows in read_verdict_files(storage) for row in rows]
    looked = _looked(storage, rounds, opened, verdicts)
    made_in = {number: _made_in(job, number) for number, job in opened.items()}
    said = _by_round(verdicts, rounds)
    rejected_at_end = rejected(said, made_in)
    found = []
    former: JobTables | None = None
    for entries in rounds:
        number = entries.number
        job, made = opened.get(number), made_in.get(number)
        labeled = _labeled_by_log(storage, entries) if made is None else _labeled(made)
        changed = None if job is None or former is None or made is None else _changed(former, job, made, most)
        out = rejected_at_end.get(number - 1, set())
        lost = set() if number == FIRST_ROUND else without_masks(storage, entries, former, job)
        num_rejected = len(rejected_at_end[number] - out - (lost or set()))
        gone = Gone(None if lost is None else len(lost - out), num_rejected)
        found.append(Round(entries, labeled, looked[number], changed, gone, compare_people(said[number])))
        former = job
    return found


def _made_in(job: JobTables, number: int) -> dict[Key, int]:
    """The objects that were labeled in a round, with how many masks each."""
    where = pc.field("round") == number
    if number == FIRST_ROUND:
        where = where | pc.field("round").is_null()  # of an earlier program
    where = where & (pc.field("status") == "ok")
    rows = job.track_rows(columns=["video_id", "object_id", "num_masks"], where=where, rejected=True)
    return {(row["video_id"], row["object_id"]): row["num_masks"] for row in rows.to_table().to_pylist()}


def _labeled(made: Mapping[Key, int]) -> Labeled:
    return Labeled(len({video_id for video_id, _ in made}), len(made), sum(made.values()))


def _labeled_by_log(storage: JobStorage, entries: RoundEntries) -> Labeled:
    try:
        return Labeled(len(read_history(storage, entries.first, entries.stop).video_ids))
    except NoHistory:
        return Labeled()


# What people said


def _by_round(
    verdicts: Iterable[Mapping[str, Any]], rounds: Sequence[RoundEntries]
) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {one.number: [] for one in rounds}
    for row in verdicts:
        found[_round_of(row["reviewed_at"], rounds)].append(row)
    return found


def _looked(
    storage: JobStorage,
    rounds: Sequence[RoundEntries],
    opened: Mapping[int, JobTables],
    rows_of_all: Sequence[Mapping[str, Any]],
) -> dict[int, Looked]:
    """By round, what was said before the next one began. `rows_of_all` are those of verdicts."""
    verdicts: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    corrections: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row, first_said in said_first(rows_of_all):
        number = _round_of(row["reviewed_at"], rounds)
        if first_said is None:
            verdicts[number].append(row)
        elif _round_of(first_said, rounds) == number:  # it counts again, and took its time when it was said first
            verdicts[number].append({**row, "seconds": None})
    for _, row in read_rows(storage, [stored.path for stored in storage.listing(REVIEWS)]):
        corrections[_round_of(row["reviewed_at"], rounds)].append(row)
    newest = opened[max(opened)] if opened else None
    found = {}
    for one in rounds:
        rows, job = corrections[one.number], opened.get(one.number, newest)
        found[one.number] = looked_at(verdicts[one.number], rows, None if job is None else _lengths(job, rows))
    return found


def _lengths(job: JobTables, corrections: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """So many frames at the most have those of the corrected videos that are labeled."""
    video_ids = sorted({row["video_id"] for row in corrections})
    if not video_ids:
        return {}
    columns = ["video_id", "num_frames_decoded", "num_frames_expected"]
    rows = job.videos(video_ids, where=pc.field("status") == "ok").select(columns).to_pylist()
    return {row["video_id"]: max(row["num_frames_decoded"], row["num_frames_expected"] or 0) for row in rows}


def _round_of(moment: datetime, rounds: Sequence[RoundEntries]) -> int:
    return next((one.number for one in reversed(rounds) if one.began_at <= moment), rounds[0].number)


def said_first(
    verdicts: Iterable[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], datetime | None]]:
    """Rows of verdicts in the order of time, and of those that an undo restates when they were said first; else None.

    An undo takes back all that was said of a track, and says in the same moment once more what counted before.
    """
    taken_back: dict[Key, datetime] = {}
    said: dict[tuple[Any, ...], datetime] = {}
    for row in sorted(verdicts, key=lambda row: row["reviewed_at"]):
        at, key = row["reviewed_at"], (row["video_id"], row["object_id"])
        if row["verdict"] == Verdict.WITHDRAW:
            taken_back[key] = at
            yield row, None
            continue
        content = tuple(row[name] for name in _SAID)
        yield row, said.get(content) if taken_back.get(key) == at else None
        said.setdefault(content, at)


def looked_at(
    verdicts: Sequence[Mapping[str, Any]],
    corrections: Sequence[Mapping[str, Any]],
    lengths: Mapping[str, int] | None = None,
) -> Looked:
    """What these rows of verdicts and corrections say together.

    Of a track the newest verdict counts, and of a frame of an object the newest correction: one that was taken back
    does not. `lengths` are how many frames labeled videos have: a correction elsewhere is taken in by no run, and is
    not counted. The time of a reviewer on a track is that of the verdicts or that of the
    corrections, whichever is more, because the clock of a verdict runs while its track is corrected.
    """
    newest: dict[Key, Mapping[str, Any]] = {}
    for row in sorted(verdicts, key=lambda row: row["reviewed_at"]):
        if row["verdict"] != Verdict.SKIP:
            key = row["video_id"], row["object_id"]
            newest[key] = {**row, "is_audit": row["is_audit"] or _is_drawn(newest.get(key))}
    said = [row for row in newest.values() if row["verdict"] != Verdict.WITHDRAW]
    frames = {
        (row["video_id"], row["object_id"], row["frame_index"]): row["kind"]
        for row in sorted(corrections, key=lambda row: row["reviewed_at"])
        if lengths is None or 0 <= row["frame_index"] < lengths.get(row["video_id"], 0)
    }
    times = [_seconds(rows) for rows in (verdicts, corrections)]
    reviewers = sorted({row["reviewer"] for row in (*verdicts, *corrections)})
    audit, seen = (
        [Verdict(row["verdict"]) in _BAD for row in said if bool(row["is_audit"]) is is_audit]
        for is_audit in (True, False)
    )
    return Looked(
        verdicts=dict(Counter(row["verdict"] for row in said)),
        num_tracks=len(said),
        num_corrections=sum(kind != Kind.WITHDRAW for kind in frames.values()),
        reviewers=tuple(reviewers),
        seconds=sum(max(times[0][key], times[1][key]) for key in times[0].keys() | times[1].keys()),
        seen=Rate(sum(seen), len(seen)),
        audit=Rate(sum(audit), len(audit)),
        people={
            name: looked_at(_of(name, verdicts), _of(name, corrections), lengths)
            for name in (reviewers if len(reviewers) > 1 else ())
        },
    )


def _is_drawn(before: Mapping[str, Any] | None) -> bool:
    """Whether a track was drawn by lot when somebody said this: it stays in the sample when somebody thinks again."""
    return before is not None and before["verdict"] != Verdict.WITHDRAW and bool(before["is_audit"])


def _of(reviewer: str, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["reviewer"] == reviewer]


def _seconds(rows: Iterable[Mapping[str, Any]]) -> defaultdict[tuple[str, int, str], float]:
    """Seconds by track and reviewer."""
    found: defaultdict[tuple[str, int, str], float] = defaultdict(float)
    for row in rows:
        found[row["video_id"], row["object_id"], row["reviewer"]] += row["seconds"] or 0.0
    return found


# How masks changed


def _changed(former: JobTables, job: JobTables, made: Mapping[Key, int], most: int) -> Changed | None:
    rows = former.track_rows(
        sorted({video_id for video_id, _ in made}), columns=["video_id", "object_id", "num_masks"], rejected=True
    ).to_table()
    before = {(row["video_id"], row["object_id"]) for row in rows.to_pylist() if row["num_masks"]}
    again = sorted(key for key, num_masks in made.items() if num_masks and key in before)
    drawn = lots((video_id for video_id, _ in again), (object_id for _, object_id in again), seed=0)
    chosen = [key for _, key in sorted(zip(drawn.tolist(), again, strict=True))[:most]]
    ious = dict(_ious(former, job, {key: made[key] for key in chosen}))
    if not ious:
        return None
    worst = min(ious, key=lambda key: ious[key])
    return Changed(len(again), len(ious), sum(ious.values()) / len(ious), worst, ious[worst])


def _ious(former: JobTables, job: JobTables, num_masks: Mapping[Key, int]) -> Iterator[tuple[Key, float]]:
    """The mean IoU of the masks of each of these objects with its former ones. `num_masks` are how many each has.

    It is that of the frames on which the object has a row on either side, whatever other objects are compared. Memory
    holds those of a few objects at a time, whatever else their videos have.
    """
    for wanted in _groups(num_masks):
        sides = [_masks(side, wanted) for side in (former, job)]
        for video_id, object_ids in wanted.items():
            before, now = (side.get(video_id) for side in sides)
            if before is None or now is None:
                continue
            for object_id in sorted(object_ids):
                if (iou := _iou(before, now, str(object_id))) is not None:
                    yield (video_id, object_id), iou


def _iou(before: VideoMasks, now: VideoMasks, name: str) -> float | None:
    """The mean IoU of one object; None where nothing can be compared."""
    own_T = [video.tracks[name].frames_T for video in (before, now) if name in video.tracks]
    sides = []
    for video in (before, now):
        is_own = np.isin(video.frames_T, np.concatenate(own_T)) if own_T else np.zeros(len(video.frames_T), np.bool_)
        tracks = {name: video.tracks[name]} if name in video.tracks else {}
        sides.append(replace(video, frames_T=video.frames_T[is_own], pts_T=video.pts_T[is_own], tracks=tracks))
    try:
        rows = compare_video(sides[0], sides[1]).rows
    except InputError:  # masks of another size: the file was replaced
        return None
    return rows[0]["iou_mean"] if rows else None


def _groups(num_masks: Mapping[Key, int]) -> Iterator[dict[str, set[int]]]:
    """Objects by video, of a few videos at a time, with about so many masks as one may have."""
    wanted: dict[str, set[int]] = defaultdict(set)
    total = 0
    for video_id, object_id in sorted(num_masks):
        is_new = video_id not in wanted
        if is_new and (total >= _MASKS_AT_A_TIME or len(wanted) == _VIDEOS_AT_A_TIME):
            yield wanted
            wanted, total = defaultdict(set), 0
        wanted[video_id].add(object_id)
        total += num_masks[video_id, object_id]
    if wanted:
        yield wanted


def _masks(job: JobTables, wanted: Mapping[str, set[int]]) -> dict[str, VideoMasks]:
    of_one = [
        (pc.field("video_id") == video_id) & pc.field("object_id").isin(pa.array(sorted(object_ids), pa.int64()))
        for video_id, object_ids in wanted.items()
    ]
    rows = job.masks(list(wanted), columns=ROWS.names, where=reduce(or_, of_one), rejected=True).to_table()
    videos = job.videos(list(wanted)).select(["video_id", "num_frames", "num_frames_decoded"]).to_pylist()
    counts = {row["video_id"]: (row["num_frames"], row["num_frames_decoded"]) for row in videos}
    found = by_video(as_rows(rows, "rle", "output="), "output=")
    return {video.video_id: with_all_frames(video, *counts[video.video_id]) for video in found}
