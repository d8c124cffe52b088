"""Where the prompts of each video lie, and a hash of them. The driver keeps this, never the prompts themselves.

The rows of one video may be scattered over shards. The driver keeps about 20 bytes per video, and 7 per run of
consecutive rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import UInt64Array
from pipeline.errors import InputError
from pipeline.ids import joined
from pipeline.inputs.categories import Categories
from pipeline.inputs.coordinates import Coordinates
from pipeline.inputs.detections import check_scores, detection_digests
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.packed_columns import PlaceCollector, RowPlaces, narrow
from pipeline.inputs.prompt_hash import PROMPT_COLUMNS, PromptHashes, row_digests
from pipeline.inputs.rows import RowBatch
from pipeline.inputs.videos import VideoNumbers
from pipeline.records import RowSpan, TimeRange
from pipeline.redact import redact_uri

_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class _Spans:
    """Runs of rows, sorted by video, else in table order: where each begins, and how many rows it has, `[S]`.

    `first_of_video` is the first run of each of `N` videos, and at the end the number of runs, `[N + 1]`. It is `None`
    where each video has one run: mostly the rows of a video stand together.
    """

    first_of_video: npt.NDArray[np.int32] | None
    begins: RowPlaces
    lengths: npt.NDArray[np.unsignedinteger[Any]]

    @staticmethod
    def of(
        videos: npt.NDArray[np.int32], begins: RowPlaces, lengths: npt.NDArray[np.uint32], num_videos: int
    ) -> _Spans:
        """Those of runs in table order; `videos` are the numbers of their videos, `[S]`."""
        if len(videos) == num_videos and (videos == np.arange(num_videos)).all():
            return _Spans(None, begins, narrow(lengths))
        if (videos[1:] < videos[:-1]).any():
            order = np.argsort(videos, kind="stable")
            begins, lengths = begins.chosen(order), lengths[order]
        first = np.zeros(num_videos + 1, dtype=np.int32)
        np.cumsum(np.bincount(videos, minlength=num_videos), out=first[1:])
        return _Spans(first, begins, narrow(lengths))

    def of_video(self, number: int) -> Iterator[tuple[int, int, int, int]]:
        """File, row group, start and stop of each run of a video."""
        first, last = number, number + 1
        if self.first_of_video is not None:
            first, last = self.first_of_video[number : number + 2].tolist()
        for run in range(first, last):
            file, row_group, start = self.begins.at(run)
            yield file, row_group, start, start + int(self.lengths[run])


@dataclass
class PromptIndex:
    """Prompts of the numbered videos. `unknown_examples` are ids in the prompts table that no numbered video has.

    `oddities` are warnings about the coordinates and categories of the whole table.
    """

    hashes: PromptHashes
    num_rows: int
    num_unknown_rows: int
    unknown_examples: tuple[str, ...]
    num_without_object: int
    oddities: tuple[str, ...]
    files: tuple[str, ...]
    _spans: _Spans

    def hash_of(self, video_number: int, times: TimeRange) -> str:
        """The hash of a video's prompts and of the part of it that is labeled; see `PromptHashes.hash_of`."""
        return self.hashes.hash_of(video_number, times.start_seconds, times.end_seconds, times.cuts_seconds)

    def spans(self, video_number: int) -> tuple[RowSpan, ...]:
        """The rows of a video, in table order."""
        spans: list[RowSpan] = []
        for file, row_group, start, stop in self._spans.of_video(video_number):
            before = spans[-1] if spans else None
            if before == RowSpan(self.files[file], row_group, before.start if before else 0, start):
                spans[-1] = RowSpan(before.file, row_group, before.start, stop)
            else:
                spans.append(RowSpan(self.files[file], row_group, start, stop))
        return tuple(spans)


def _digests(batch: RowBatch, *, are_detections: bool) -> UInt64Array:
    try:
        return detection_digests(batch.rows) if are_detections else row_digests(batch.rows)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"prompts: {redact_uri(batch.file)}: object_id must be a whole number of 64 bits ({error})"
        ) from error


def index_prompts(tables: InputTables, numbers: VideoNumbers) -> PromptIndex:
    """Read all prompts once, by columns. Rows of unknown videos, or without `object_id`, are only counted.

    `numbers` finds the numbers of the videos by id, and by every other name that they have. Raises `InputError` for an
    `object_id` of more than 64 bits and for a score above 1, and what `ParquetShards.read` raises.
    """
    hashes = PromptHashes(numbers.num_videos)
    begins, of_videos, lengths = PlaceCollector(), [np.empty(0, np.int32)], [np.empty(0, np.uint32)]
    num_rows = num_unknown = num_without_object = 0
    examples: dict[str, None] = {}
    coordinates = Coordinates(tables.box_told, tables.key_of_prompts)
    categories = Categories(tables.key_of_prompts)
    names = numbers.all_names() if tables.is_partial else None
    columns = (*PROMPT_COLUMNS, "category", *(("score",) if tables.has_detections else ()))
    for batch in tables.read_prompts(("video_id", *columns), names):
        video_ids = batch.rows.column("video_id")
        videos = numbers.find(video_ids)
        num_rows += len(videos)
        unknown = np.flatnonzero(videos < 0)
        num_unknown += len(unknown)
        if len(examples) < _NUM_EXAMPLES:
            examples.update((name, None) for name in video_ids.take(pa.array(unknown)).to_pylist() if name)
        has_object = batch.rows.column("object_id").is_valid().to_numpy(zero_copy_only=False) | tables.has_detections
        num_without_object += int(np.count_nonzero(~has_object & (videos >= 0)))
        videos[~has_object] = -1
        known = videos >= 0
        coordinates.add(batch.rows)
        if tables.has_detections:
            check_scores(batch.rows, batch.file)
        else:  # the objects of boxes are found later
            categories.add(videos, batch.rows)
        hashes.add(videos[known], _digests(batch, are_detections=tables.has_detections)[known])
        starts, stops = _runs(videos)
        begins.add(batch.file_number, batch.row_group, starts + batch.start)
        of_videos.append(videos[starts].astype(np.int32))
        lengths.append((stops - starts).astype(np.uint32))
    return PromptIndex(
        hashes=hashes,
        num_rows=num_rows,
        num_unknown_rows=num_unknown,
        unknown_examples=tuple(examples)[:_NUM_EXAMPLES],
        num_without_object=num_without_object,
        oddities=(*coordinates.warnings(), *categories.warnings()),
        files=tables.prompt_files,
        _spans=_Spans.of(joined(of_videos), begins.finish(), joined(lengths), numbers.num_videos),
    )


def index_of_found(num_videos: int) -> PromptIndex:
    """The index of videos whose objects workers find. All have one hash: the rules are of the job, not of a video."""
    hashes = PromptHashes(num_videos)
    digest = np.frombuffer(blake2b(b"found", digest_size=16).digest(), dtype="<u8")
    hashes.add(np.arange(num_videos), np.broadcast_to(digest, (num_videos, 2)))
    nothing = np.empty(0, np.int32)
    spans = _Spans.of(nothing, PlaceCollector().finish(), nothing.astype(np.uint32), num_videos)
    return PromptIndex(hashes, num_videos, 0, (), 0, (), (), spans)


def _runs(videos: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where runs of consecutive rows of one known video start and stop; -1 stands for an unknown video."""
    starts = np.flatnonzero(np.diff(videos, prepend=-2))
    stops = np.append(starts[1:], len(videos))
    known = videos[starts] >= 0
    return starts[known], stops[known]
