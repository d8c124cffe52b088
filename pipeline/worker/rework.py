"""A video that reviewers have corrected: which objects are labeled again, and which keep the rows that they had.

An object keeps its rows if neither its corrections nor anything else that masks follow from has changed since they
were made, or if a reviewer has accepted or rejected them. One that failed is tried again. If the prompts of the video
or its file are others, all objects are labeled again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from pipeline.inputs.mask_prompts import RleMask
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts
from pipeline.inputs.reviewed_prompts import CorrectedMask, with_corrections, without
from pipeline.output.former_rows import FormerRows, FormerVideo, merged_masks
from pipeline.output.schema import TRACKS
from pipeline.records import FramePosition, MergedSeed, SeedFacts, Status, WorkItem
from pipeline.reviews.keeping import (
    ADDED,
    DISCOVER,
    FIX,
    SPLIT,
    TABLE,
    labeled_at,
    made_of,
    settled_objects,
    unchanged_objects,
)
from pipeline.reviews.reviewed import NO_CORRECTIONS, VideoCorrections
from pipeline.storage.file_versions import FileVersion
from pipeline.text import counted
from pipeline.worker.labeler import Labels

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """Rows that a video keeps: its row of `videos` as it was, and those of some objects."""

    former: FormerVideo
    tracks: pa.Table
    masks: pa.Table

    @property
    def object_ids(self) -> frozenset[int]:
        """The objects that are not labeled again."""
        return frozenset(self.tracks["object_id"].to_pylist())

    @property
    def since(self) -> datetime:
        """When those of its tracks were made that do not say it themselves."""
        return labeled_at({}, self.former.video)


@dataclass(frozen=True)
class Rework:
    """What is to be done with one video. `prompts` are those of all of its objects, with what reviewers corrected.

    `rows` are those that it had, if there are any and they are of the same video. `by` says where prompts come from
    that no reviewer gave, and `given` which objects have some.
    """

    prompts: VideoPrompts
    corrections: VideoCorrections = NO_CORRECTIONS
    kept: Kept | None = None
    rows: FormerRows | None = None
    by: str = TABLE
    hashes: Mapping[int, str] = field(default_factory=dict)
    given: frozenset[int] = frozenset()

    @property
    def to_label(self) -> VideoPrompts:
        """The prompts of the objects that are labeled."""
        return without(self.prompts, self.kept.object_ids) if self.kept else self.prompts

    @property
    def positions(self) -> tuple[FramePosition, ...]:
        """All frames with prompts, each once. They are labeled whatever the stride is, also those of kept objects."""
        said = (one.frame_index for corrections in self.corrections.objects.values() for one in corrections)
        return tuple(dict.fromkeys((*self.prompts.positions, *(FramePosition(index, None) for index in said))))

    @property
    def cuts(self) -> dict[int, list[tuple[int, int | None]]]:
        """Frames `[first, stop)` on which objects have no rows, because a reviewer has split a track.

        The new object begins at the frame of the split. The old one ends there, up to a later frame with a prompt that
        shows it, because SAM 2 would go on to follow what is the new object now.
        """
        cuts: dict[int, list[tuple[int, int | None]]] = {}
        for object_id, said in self.corrections.objects.items():
            splits = [one for one in said if one.split_from is not None and one.rle is not None]
            if splits and object_id not in self.given:
                cuts.setdefault(object_id, []).append((0, splits[0].frame_index))
            for one in splits:
                assert one.split_from is not None
                stop = self._shown_after(one.split_from, one.frame_index)
                cuts.setdefault(one.split_from, []).append((one.frame_index + 1, stop))
        return cuts

    def _shown_after(self, object_id: int, frame_index: int) -> int | None:
        """The next frame with a prompt that shows an object."""
        prompted = next((one for one in self.prompts.objects if one.object_id == object_id), None)
        frames = (
            position.frame_index
            for position, prompt in (prompted.prompts if prompted else ())
            if not (isinstance(prompt, CorrectedMask) and not prompt.counts)
        )
        return min((index for index in frames if index is not None and index > frame_index), default=None)

    @property
    def shows_nothing(self) -> bool:
        """Whether no correction says where an object is."""
        return all(one.rle is None for said in self.corrections.objects.values() for one in said)

    def source(self, object_id: int) -> str:
        """What the prompts of an object are: column `prompts` of `tracks`."""
        return made_of(self.hashes.get(object_id), self.by)

    def columns(self, object_id: int) -> dict[str, Any]:
        """What `tracks` says of how a labeled object came about, as far as reviewers go."""
        said = self.corrections.objects.get(object_id, ())
        is_split, is_added = any(one.split_from is not None for one in said), object_id not in self.given
        reviewers = sorted({one.reviewer for one in said})
        return {
            "prompts": self.source(object_id),
            "correction": (SPLIT if is_split else ADDED if is_added else FIX) if said else None,
            "corrected_by": ", ".join(reviewers) or None,
        }

    def merged(self, labels: Labels) -> Labels:
        """The labels with the rows that are kept. An object whose corrections do not fit keeps what it had as well.

        Raises `ValueError` if kept rows are not as many as their tracks say, and what reading rows raises.
        """
        if self.kept is None or self.rows is None:
            return labels
        tracks, again = self._with_failed(labels.tracks)
        masks = [labels.masks, self.kept.masks, *([self.rows.masks(again)] if again else [])]
        tracks = pa.concat_tables([tracks, self.kept.tracks])
        whole = replace(
            labels,
            masks=merged_masks(masks),
            tracks=tracks,
            num_frames=max(labels.num_frames, self.kept.former.video["num_frames"]),
        )
        num_kept = sum(_num_masks(self.kept.former.tracks, again | self.kept.object_ids))
        return replace(whole, expected_masks=labels.expected_masks + num_kept)

    def _with_failed(self, tracks: pa.Table) -> tuple[pa.Table, frozenset[int]]:
        """Tracks with those that failed now in place of good ones as they were, with the error as their message."""
        assert self.kept is not None
        former = {row["object_id"]: row for row in self.kept.former.tracks.to_pylist() if row["status"] == Status.OK}
        rows, again = [], set()
        for row in tracks.to_pylist():
            before = former.get(row["object_id"])
            if row["status"] == Status.OK or before is None:
                rows.append(row)
            else:
                again.add(row["object_id"])
                rows.append(
                    before | {"message": f"keeps its masks, because its corrections do not fit: {row['message']}"}
                )
        return (pa.Table.from_pylist(rows, TRACKS) if again else tracks), frozenset(again)


@dataclass(frozen=True)
class Made:
    """What a video is labeled with: rows of another fingerprint are kept only if a reviewer settled them."""

    config_hash: str
    version: FileVersion | None
    finds: bool


def rework(
    item: WorkItem,
    prompts: VideoPrompts,
    corrections: VideoCorrections,
    settled: Mapping[int, datetime],
    rows: FormerRows | None,
    made: Made,
) -> Rework:
    """What is to be done with a reviewed video. `prompts` are those of the table, `rows` those that it had.

    Raises `StorageError` if the store does not answer.
    """
    by, hashes = DISCOVER if made.finds else TABLE, corrections.object_hashes
    former = None if rows is None else _former(item, rows, made)
    whole = Rework(
        with_corrections(prompts, corrections.objects), corrections, by=by, hashes=hashes, given=_ids(prompts)
    )
    if former is None or rows is None:
        return whole
    is_same_job = former.video["config_hash"] == made.config_hash
    tracks = former.tracks.to_pylist()
    settled_ids = settled_objects(tracks, former.video, settled)
    unchanged = unchanged_objects(tracks, hashes, corrections.splits, settled_ids, by) if is_same_job else set()
    kept_ids = frozenset(settled_ids | unchanged)
    if made.finds and is_same_job:
        found = _found_prompts(former, rows, kept_ids, corrections)
        whole = replace(whole, prompts=with_corrections(found, corrections.objects), given=_ids(found))
    kept = Kept(former, _of_objects(former.tracks, kept_ids), rows.masks(kept_ids))
    _log.info(
        "video %r: %s labeled again, %d kept",
        item.video_id,
        counted(len(without(whole.prompts, kept_ids).objects), "object"),
        len(kept_ids),
    )
    return replace(whole, kept=kept, rows=rows)


def _former(item: WorkItem, rows: FormerRows, made: Made) -> FormerVideo | None:
    """The rows that a video had; None if they are gone, or of other prompts or of another file."""
    former = rows.read()
    if former is None:
        _log.warning("video %r is labeled as a whole, because the rows that it had are gone", item.video_id)
        return None
    video = former.video
    before = video["source_bytes"], video["source_version"]
    is_other_file = (
        made.version is not None
        and None not in before
        and before
        != (
            made.version.num_bytes,
            made.version.version,
        )
    )
    if video["prompt_hash"] != item.prompt_hash or is_other_file:
        _log.info("video %r is labeled as a whole, because its prompts or its file are others", item.video_id)
        return None
    return former


def _ids(prompts: VideoPrompts) -> frozenset[int]:
    return frozenset(one.object_id for one in prompts.objects)


def _of_objects(tracks: pa.Table, object_ids: Collection[int]) -> pa.Table:
    return tracks.filter(pa.array([one in object_ids for one in tracks["object_id"].to_pylist()], pa.bool_()))


def _num_masks(tracks: pa.Table, object_ids: Collection[int]) -> list[int]:
    found: list[int] = _of_objects(tracks, object_ids)["num_masks"].to_pylist()
    return found


def _found_prompts(
    former: FormerVideo, rows: FormerRows, kept_ids: Collection[int], corrections: VideoCorrections
) -> VideoPrompts:
    """What an object that a worker found was found by: its masks on frames with a prompt that nobody ever corrected."""
    tracks = {row["object_id"]: row for row in former.tracks.to_pylist() if row["object_id"] not in kept_ids}
    prompts: dict[int, list[tuple[FramePosition, RleMask]]] = {object_id: [] for object_id in tracks}
    masks = rows.masks(tracks.keys())
    for row in masks.filter(masks["is_prompt"]).select(["object_id", "frame_index", "rle"]).to_pylist():
        object_id, frame_index, rle = row["object_id"], row["frame_index"], row["rle"]
        if (object_id, frame_index) not in corrections.touched:
            mask = RleMask((rle["size"][0], rle["size"][1]), rle["counts"].encode())
            prompts[object_id].append((FramePosition(frame_index, None), mask))
    return VideoPrompts(
        tuple(
            ObjectPrompts(name, tracks[name]["category"], tuple(found), seed=_seed(tracks[name]))
            for name, found in sorted(prompts.items())
            if found
        )
    )


def _seed(track: Mapping[str, Any]) -> SeedFacts | None:
    """How an object was found, as its former row says it."""
    if track["seed_source"] is None:
        return None
    merged = tuple(MergedSeed(**one) for one in track["seed_duplicates"] or ())
    return SeedFacts(track["seed_source"], track["seed_score"], track["seed_stability"], merged)


def with_origin(tracks: pa.Table, columns: Mapping[str, Any], of_objects: Mapping[int, Mapping[str, Any]]) -> pa.Table:
    """Labeled tracks with the columns that say how they came about: those of all, and those of each object."""
    object_ids = tracks["object_id"].to_pylist()
    values = {**{name: [value] * len(object_ids) for name, value in columns.items()}}
    for name in ("prompts", "correction", "corrected_by"):
        values[name] = [of_objects[object_id][name] for object_id in object_ids]
    for name, column in values.items():
        place = TRACKS.get_field_index(name)
        tracks = tracks.set_column(place, TRACKS.field(place), pa.array(column, TRACKS.field(place).type))
    return tracks
