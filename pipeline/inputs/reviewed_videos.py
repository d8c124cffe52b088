"""Which videos people have corrected since they were labeled, and what a worker is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Protocol

import numpy as np
import pyarrow as pa

from pipeline.ids import IdIndex
from pipeline.records import ReviewedItem, ReviewWork, Status, WorkItem
from pipeline.reviews.reviewed import ReviewedVideo
from pipeline.text import counted

_NUM_EXAMPLES = 3


class Labeled(Protocol):
    """A finished video, as far as corrections go."""

    @property
    def status(self) -> Status: ...

    @property
    def prompt_hash(self) -> str: ...

    @property
    def review_hashes(self) -> tuple[str, ...]: ...


def is_corrected(review: ReviewedVideo, before: Labeled | None) -> bool:
    """Whether the next run takes in other corrections of a video than those that it was labeled with.

    Those with which that failed are not taken in again. Where nothing shows an object, only a mask changes something. A
    video that failed is labeled again when `retry=` names it; one that only corrections prompted has nothing to be
    labeled any more when their masks are withdrawn.
    """
    if not review.files or review.review_hash in (before.review_hashes if before is not None else ("",)):
        return False
    if before is None or before.status is Status.OK:
        return True
    return review.has_masks if before.status is Status.NO_PROMPTS else not (review.has_masks or before.prompt_hash)


def taken_back(
    reviews: Mapping[str, ReviewedVideo], done: Mapping[str, Labeled], set_back: Iterable[str]
) -> frozenset[str]:
    """Of the videos that could not be labeled again, those that need not be any more.

    The corrections with which that failed were withdrawn, and their masks are of those that count now. What `reviews`
    does not have is not known to be withdrawn.
    """
    return frozenset(name for name in set_back if name in reviews and _is_taken_back(reviews[name], done[name]))


def _is_taken_back(review: ReviewedVideo, before: Labeled) -> bool:
    labeled_with, *failed_with = before.review_hashes
    return review.review_hash == labeled_with and labeled_with not in failed_with


def with_other_corrections(reviews: Mapping[str, ReviewedVideo], done: Mapping[str, Labeled]) -> list[str]:
    """Videos that were labeled with other corrections than those of now, or that are labeled for them alone."""
    return [name for name, review in reviews.items() if is_corrected(review, done.get(name))]


def missing(reviews: Mapping[str, ReviewedVideo], done: Mapping[str, Labeled], video_ids: pa.Array) -> list[str]:
    """Videos with other corrections, as `with_other_corrections` finds them, that are not among those of the tables."""
    corrected = sorted(with_other_corrections(reviews, done))
    if not corrected:
        return []
    places = IdIndex(video_ids).find(pa.array(corrected, pa.string()))
    return [corrected[place] for place in np.flatnonzero(places < 0).tolist()]


def of_missing(video_ids: Sequence[str]) -> list[str]:
    """A warning about corrected videos that no table has; none if there are none."""
    if not video_ids:
        return []
    more = ", …" if len(video_ids) > _NUM_EXAMPLES else ""
    one = len(video_ids) == 1
    return [
        f"corrections of {counted(len(video_ids), 'video')} that no table has wait until one has them: "
        f"{', '.join(map(repr, video_ids[:_NUM_EXAMPLES]))}{more}. Put {'it' if one else 'them'} back, withdraw the "
        f"corrections, or let {'its' if one else 'their'} masks and reviews go with prune=true"
    ]


def with_review(item: WorkItem, review: ReviewedVideo) -> ReviewedItem:
    """An item with what people said of its video."""
    work = ReviewWork(review.review_hash, review.files, settled=tuple(sorted(review.settled.items())))
    return ReviewedItem(**{field.name: getattr(item, field.name) for field in fields(WorkItem)}, review=work)


def with_former(item: WorkItem, segment: str) -> ReviewedItem:
    """An item of a video of which only some objects are labeled: the others have rows in this segment."""
    known = item if isinstance(item, ReviewedItem) else with_review(item, ReviewedVideo())
    work = ReviewWork(known.review.review_hash, known.review.files, segment, known.review.settled)
    return ReviewedItem(**{field.name: getattr(item, field.name) for field in fields(WorkItem)}, review=work)
