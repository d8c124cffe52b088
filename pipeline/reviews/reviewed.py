"""What the next run of a job takes in: of each video which files say what, and hashes that tell whether it is new.

The driver keeps hashes and names of files, never masks. A worker reads the files of its video. Files never change, so
that it finds what the driver has planned with, whatever is saved meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from pipeline.output.layout import REVIEWS
from pipeline.reviews.corrections import Correction, correction_of, read_rows
from pipeline.reviews.verdicts import Opinion, Verdict, read_verdicts
from pipeline.storage.job_storage import JobStorage

_DIGEST_BYTES = 8


@dataclass(frozen=True)
class SplitFrom:
    """From which objects one was split: by corrections that count (`now`), and by withdrawn ones as well (`ever`)."""

    now: frozenset[int]
    ever: frozenset[int]


@dataclass(frozen=True)
class ReviewedVideo:
    """What was said of one video. `object_hashes` stand for all corrections of an object, by its id.

    `files` hold every row on frames that somebody corrected, also where that was withdrawn. `newest` is when an object
    was corrected last. `opinions` are the verdicts that count. `shown` are the objects of which a mask counts: without
    prompts of the table these can be followed, and others cannot. `splits` are the new halves of splits, by id.
    """

    object_hashes: Mapping[int, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    newest: Mapping[int, datetime] = field(default_factory=dict)
    opinions: Mapping[int, Opinion] = field(default_factory=dict)
    shown: frozenset[int] = frozenset()
    splits: Mapping[int, SplitFrom] = field(default_factory=dict)

    @property
    def has_masks(self) -> bool:
        """Whether reviewers have shown an object with a mask."""
        return bool(self.shown)

    @property
    def review_hash(self) -> str:
        """Stands for all corrections of the video; empty if there are none."""
        return _joined(f"{name}:{found}".encode() for name, found in sorted(self.object_hashes.items()))

    @property
    def settled(self) -> dict[int, datetime]:
        """Objects that are not to be labeled again, and the time of the labels that this was said of.

        They were accepted or rejected, and nobody has corrected them since.
        """
        return {
            object_id: opinion.labeled_at or opinion.reviewed_at
            for object_id, opinion in self.opinions.items()
            if opinion.verdict in (Verdict.ACCEPT, Verdict.REJECT)
            and (object_id not in self.newest or self.newest[object_id] < opinion.reviewed_at)
        }


NOT_REVIEWED = ReviewedVideo()


@dataclass(frozen=True)
class VideoCorrections:
    """The corrections of one video by object, in the order of frames. `touched` are all frames ever corrected.

    `split_from` says of objects from which others they were split, also where that was withdrawn.
    """

    objects: Mapping[int, tuple[Correction, ...]]
    touched: frozenset[tuple[int, int]] = frozenset()
    split_from: Mapping[int, frozenset[int]] = field(default_factory=dict)

    @property
    def object_hashes(self) -> dict[int, str]:
        """A hash for each object; see `ReviewedVideo`."""
        return {object_id: object_hash(map(_digest, found)) for object_id, found in self.objects.items()}

    @property
    def splits(self) -> dict[int, SplitFrom]:
        """The new halves of splits; see `ReviewedVideo`."""
        found: dict[int, SplitFrom] = {}
        for object_id, ever in self.split_from.items():
            by = (_split_by(said) for said in self.objects.get(object_id, ()))
            found[object_id] = SplitFrom(frozenset(one for one in by if one is not None), ever)
        return found


NO_CORRECTIONS = VideoCorrections({})


class _Said(NamedTuple):
    """What one row says of an object on a frame. `digest` is empty where it withdraws what was said before.

    `split_from` is the object whose track this one was, also where the row takes that back; `splits`: it counts.
    """

    path: str
    object_id: int
    frame_index: int
    at: datetime
    digest: bytes
    has_mask: bool
    split_from: int | None
    splits: bool

    @classmethod
    def of(cls, path: str, row: Mapping[str, Any]) -> _Said:
        """A row of this file."""
        said = correction_of(row)
        place = row["object_id"], row["frame_index"], row["reviewed_at"]
        digest, has_mask = (b"", False) if said is None else (_digest(said), said.rle is not None)
        is_split = said is not None and _split_by(said) is not None
        return cls(path, *place, digest, has_mask, row["split_from"], is_split)


def read_reviews(
    storage: JobStorage, taken_in: Callable[[str], Collection[str] | None] | None = None
) -> dict[str, ReviewedVideo]:
    """What `reviews/` says, by video. One listing where nobody has reviewed anything.

    `taken_in` gives hashes of corrections that earlier rounds took in, by the id of a video: what was saved after the
    last of them is left out, but for verdicts. None: all counts.

    Raises `InputError` for a file that is no such table, and `StorageError` if the store does not answer.
    """
    paths = [stored.path for stored in storage.listing(REVIEWS)]
    if not paths:
        return {}
    said: dict[str, list[_Said]] = defaultdict(list)
    for path, row in read_rows(storage, paths):
        said[row["video_id"]].append(_Said.of(path, row))
    opinions: dict[str, dict[int, Opinion]] = defaultdict(dict)
    for (video_id, object_id), opinion in read_verdicts(storage).items():
        opinions[video_id][object_id] = opinion
    found: dict[str, ReviewedVideo] = {}
    for video_id in said.keys() | opinions.keys():
        hashes = None if taken_in is None else taken_in(video_id)
        review = _taken_in(said.pop(video_id, []), opinions.get(video_id, {}), hashes)
        if review.files or review.opinions:
            found[video_id] = review
    return found


def _taken_in(rows: Sequence[_Said], opinions: Mapping[int, Opinion], hashes: Collection[str] | None) -> ReviewedVideo:
    """What rows of one video say: all of them, or those of its first files that add up to one of these hashes.

    The rows of a file count together. Where no files add up to one, nobody knows what was taken in, and all count,
    because else something that was taken in would be lost.
    """
    whole = _reviewed(rows, opinions)
    if hashes is None or whole.review_hash in hashes:
        return whole
    for number in range(len(whole.files) - 1, -1, -1):
        files = frozenset(whole.files[:number])
        part = _reviewed([row for row in rows if row.path in files], opinions)
        if part.review_hash in hashes:
            return part
    return whole


def _reviewed(rows: Iterable[_Said], opinions: Mapping[int, Opinion]) -> ReviewedVideo:
    newest: dict[tuple[int, int], _Said] = {}
    files: dict[str, None] = {}
    last: dict[int, datetime] = {}
    split_ever: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        files[row.path] = None
        last[row.object_id] = max(row.at, last.get(row.object_id, row.at))
        if row.split_from is not None:
            split_ever[row.object_id].add(row.split_from)
        key = row.object_id, row.frame_index
        if key not in newest or newest[key].at <= row.at:
            newest[key] = row
    digests: dict[int, list[bytes]] = defaultdict(list)
    for (object_id, _), row in sorted(newest.items()):
        if row.digest:
            digests[object_id].append(row.digest)
    splits: dict[int, SplitFrom] = {}
    for object_id, ever in split_ever.items():
        now = (row.split_from for (of, _), row in newest.items() if of == object_id and row.splits)
        splits[object_id] = SplitFrom(frozenset(one for one in now if one is not None), frozenset(ever))
    return ReviewedVideo(
        {object_id: object_hash(found) for object_id, found in digests.items()},
        tuple(files),
        last,
        opinions,
        frozenset(object_id for (object_id, _), row in newest.items() if row.has_mask),
        splits,
    )


def read_video(storage: JobStorage, video_id: str, files: Iterable[str]) -> VideoCorrections:
    """The corrections of one video in the files that `ReviewedVideo` names. Raises like `read_reviews`."""
    newest: dict[tuple[int, int], tuple[datetime, Correction | None]] = {}
    split_from: dict[int, set[int]] = defaultdict(set)
    for _, row in read_rows(storage, files):
        if row["video_id"] != video_id:
            continue
        if row["split_from"] is not None:
            split_from[row["object_id"]].add(row["split_from"])
        key, at = (row["object_id"], row["frame_index"]), row["reviewed_at"]
        if key not in newest or newest[key][0] <= at:
            newest[key] = at, correction_of(row)
    objects: dict[int, list[Correction]] = defaultdict(list)
    for key in sorted(newest):
        if (correction := newest[key][1]) is not None:
            objects[key[0]].append(correction)
    return VideoCorrections(
        {name: tuple(found) for name, found in objects.items()},
        frozenset(newest),
        {name: frozenset(found) for name, found in split_from.items()},
    )


def object_hash(digests: Iterable[bytes]) -> str:
    """A hash of all corrections of an object, of their digests in the order of frames."""
    return _joined(digests)


def _split_by(said: Correction) -> int | None:
    """The object from which a correction splits its own one, which begins with a mask there."""
    return None if said.rle is None else said.split_from


def _digest(correction: Correction) -> bytes:
    """What of a correction makes a difference for labels: not who made it, and when."""
    rle = correction.rle
    mask = None if rle is None else (list(rle["size"]), rle["counts"])
    told = correction.frame_index, mask, correction.category, correction.split_from
    return blake2b(repr(told).encode(), digest_size=_DIGEST_BYTES).digest()


def _joined(parts: Iterable[bytes]) -> str:
    whole = b"\n".join(parts)
    return blake2b(whole, digest_size=_DIGEST_BYTES).hexdigest() if whole else ""
