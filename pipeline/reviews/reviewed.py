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

from pipeline.output.layout import REVIEWS
from pipeline.reviews.corrections import Correction, correction_of, read_rows
from pipeline.reviews.verdicts import Opinion, Verdict, read_verdicts
from pipeline.storage.job_storage import JobStorage

_DIGEST_BYTES = 8


@dataclass(frozen=True)
class ReviewedVideo:
    """What was said of one video. `object_hashes` stand for all corrections of an object, by its id.

    `files` hold every row on frames that somebody corrected, also where that was withdrawn. `newest` is when an object
    was corrected last. `opinions` are the verdicts that count. `shown` are the objects of which a mask counts: without
    prompts of the table these can be followed, and others cannot.
    """

    object_hashes: Mapping[int, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    newest: Mapping[int, datetime] = field(default_factory=dict)
    opinions: Mapping[int, Opinion] = field(default_factory=dict)
    shown: frozenset[int] = frozenset()

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


NO_CORRECTIONS = VideoCorrections({})


def read_reviews(storage: JobStorage) -> dict[str, ReviewedVideo]:
    """What `reviews/` says, by video. One listing where nobody has reviewed anything.

    Raises `InputError` for a file that is no such table, and `StorageError` if the store does not answer.
    """
    paths = [stored.path for stored in storage.listing(REVIEWS)]
    if not paths:
        return {}
    newest: dict[tuple[str, int, int], tuple[datetime, bytes, bool]] = {}
    files: dict[str, dict[str, None]] = defaultdict(dict)
    last: dict[tuple[str, int], datetime] = {}
    for path, row in read_rows(storage, paths):
        video_id, object_id, frame_index, at = (
            row[name] for name in ("video_id", "object_id", "frame_index", "reviewed_at")
        )
        files[video_id][path] = None
        last[video_id, object_id] = max(at, last.get((video_id, object_id), at))
        key = video_id, object_id, frame_index
        if key not in newest or newest[key][0] <= at:
            correction = correction_of(row)
            newest[key] = at, b"" if correction is None else _digest(correction), bool(correction and correction.rle)
    digests: dict[str, dict[int, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    shown: dict[str, set[int]] = defaultdict(set)
    for (video_id, object_id, _), (_, digest, has_mask) in sorted(newest.items()):
        if digest:
            digests[video_id][object_id].append(digest)
        if has_mask:
            shown[video_id].add(object_id)
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


def _digest(correction: Correction) -> bytes:
    """What of a correction makes a difference for labels: not who made it, and when."""
    rle = correction.rle
    mask = None if rle is None else (list(rle["size"]), rle["counts"])
    told = correction.frame_index, mask, correction.category, correction.split_from
    return blake2b(repr(told).encode(), digest_size=_DIGEST_BYTES).digest()


def _joined(parts: Iterable[bytes]) -> str:
    whole = b"\n".join(parts)
    return blake2b(whole, digest_size=_DIGEST_BYTES).hexdigest() if whole else ""
