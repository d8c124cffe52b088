"""What the next run of a job takes in: of each video which files say what, and hashes that tell whether it is new.

The driver keeps hashes and names of files, never masks. A worker reads the files of its video. Files never change, so
that it finds what the driver has planned with, whatever is saved meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

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


class _Newest(NamedTuple):
    """What was said last of an object on a frame. `digest` is empty and `split_from` None where it was withdrawn."""

    at: datetime
    digest: bytes
    has_mask: bool
    split_from: int | None

    @classmethod
    def of(cls, at: datetime, said: Correction | None) -> _Newest:
        """What a row says that was written at this time."""
        if said is None:
            return cls(at, b"", has_mask=False, split_from=None)
        return cls(at, _digest(said), has_mask=said.rle is not None, split_from=_split_by(said))


def read_reviews(storage: JobStorage) -> dict[str, ReviewedVideo]:
    """What `reviews/` says, by video. One listing where nobody has reviewed anything.

    Raises `InputError` for a file that is no such table, and `StorageError` if the store does not answer.
    """
    paths = [stored.path for stored in storage.listing(REVIEWS)]
    if not paths:
        return {}
    newest: dict[tuple[str, int, int], _Newest] = {}
    files: dict[str, dict[str, None]] = defaultdict(dict)
    last: dict[tuple[str, int], datetime] = {}
    split_ever: dict[tuple[str, int], set[int]] = defaultdict(set)
    for path, row in read_rows(storage, paths):
        video_id, object_id, frame_index, at = (
            row[name] for name in ("video_id", "object_id", "frame_index", "reviewed_at")
        )
        files[video_id][path] = None
        last[video_id, object_id] = max(at, last.get((video_id, object_id), at))
        if row["split_from"] is not None:
            split_ever[video_id, object_id].add(row["split_from"])
        key = video_id, object_id, frame_index
        if key not in newest or newest[key].at <= at:
            newest[key] = _Newest.of(at, correction_of(row))
    digests: dict[str, dict[int, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    shown: dict[str, set[int]] = defaultdict(set)
    split_now: dict[tuple[str, int], set[int]] = defaultdict(set)
    for (video_id, object_id, _), said in sorted(newest.items()):
        if said.digest:
            digests[video_id][object_id].append(said.digest)
        if said.has_mask:
            shown[video_id].add(object_id)
        if said.split_from is not None:
            split_now[video_id, object_id].add(said.split_from)
    splits: dict[str, dict[int, SplitFrom]] = defaultdict(dict)
    for (video_id, object_id), ever in split_ever.items():
        now = split_now.get((video_id, object_id), ())
        splits[video_id][object_id] = SplitFrom(frozenset(now), frozenset(ever))
    times: dict[str, dict[int, datetime]] = defaultdict(dict)
    for (video_id, object_id), at in last.items():
        times[video_id][object_id] = at
    opinions: dict[str, dict[int, Opinion]] = defaultdict(dict)
    for (video_id, object_id), opinion in read_verdicts(storage).items():
        opinions[video_id][object_id] = opinion
    return {
        video_id: ReviewedVideo(
            {object_id: object_hash(found) for object_id, found in digests.get(video_id, {}).items()},
            tuple(files.get(video_id, ())),
            times.get(video_id, {}),
            opinions.get(video_id, {}),
            frozenset(shown.get(video_id, ())),
            splits.get(video_id, {}),
        )
        for video_id in files.keys() | opinions.keys()
    }


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
