"""Where the prompts of each video lie, and a hash of them. The driver keeps this, never the prompts themselves.

The rows of one video may be scattered over shards. The driver keeps about 24 bytes per video, and 20 per run of
consecutive rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import UInt64Array
from pipeline.errors import InputError
from pipeline.inputs.coordinates import Coordinates
from pipeline.inputs.detections import DETECTION_COLUMNS, detection_digests
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.prompt_hash import PROMPT_COLUMNS, PromptHashes, row_digests
from pipeline.inputs.rows import RowBatch
from pipeline.inputs.videos import VideoNumbers
from pipeline.records import RowSpan, TimeRange
from pipeline.redact import redact_uri

_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class _Spans:
    """Runs of rows, sorted by video, else in table order: file, row group, start and stop, `[S, 4]`.

    `first_of_video` is the first run of each of `N` videos, and at the end the number of runs, `[N + 1]`.
    """

    first_of_video: npt.NDArray[np.int32]
    spans_N4: npt.NDArray[np.int32]


@dataclass
class PromptIndex:
    """Prompts of the numbered videos. `unknown_examples` are ids in the prompts table that no numbered video has.

    `oddities` are warnings about the coordinates of the whole table.
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
        first, last = self._spans.first_of_video[video_number : video_number + 2]
        spans: list[RowSpan] = []
        for file, row_group, start, stop in self._spans.spans_N4[first:last].tolist():
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
    `object_id` of more than 64 bits, and what `ParquetShards.read` raises.
    """
    hashes = PromptHashes(numbers.num_videos)
    runs_R5 = np.empty((numbers.num_videos, 5), dtype=np.int32)  # video, file, row group, start, stop
    num_runs = 0
    num_rows = num_unknown = num_without_object = 0
    examples: dict[str, None] = {}
    coordinates = Coordinates(tables.box_told, tables.key_of_prompts)
    names = numbers.all_names() if tables.is_partial else None
    columns = DETECTION_COLUMNS if tables.has_detections else PROMPT_COLUMNS
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
        hashes.add(videos[known], _digests(batch, are_detections=tables.has_detections)[known])
        starts, stops = _runs(videos)
        before, num_runs = num_runs, num_runs + len(starts)
        if num_runs > len(runs_R5):  # mostly each video has one run, and the array is never made larger
            runs_R5 = np.concatenate([runs_R5[:before], np.empty((num_runs, 5), dtype=np.int32)])
        new_R5 = runs_R5[before:num_runs]
        new_R5[:, 0], new_R5[:, 1:3] = videos[starts], (batch.file_number, batch.row_group)
        new_R5[:, 3], new_R5[:, 4] = starts + batch.start, stops + batch.start
    spans, of_videos = runs_R5[:num_runs, 1:], runs_R5[:num_runs, 0]
    if (of_videos[1:] < of_videos[:-1]).any():
        spans = spans[np.argsort(of_videos, kind="stable")]
    first_span = np.zeros(numbers.num_videos + 1, dtype=np.int32)
    np.cumsum(np.bincount(of_videos, minlength=numbers.num_videos), out=first_span[1:])
    return PromptIndex(
        hashes=hashes,
        num_rows=num_rows,
        num_unknown_rows=num_unknown,
        unknown_examples=tuple(examples)[:_NUM_EXAMPLES],
        num_without_object=num_without_object,
        oddities=tuple(coordinates.warnings()),
        files=tables.prompt_files,
        _spans=_Spans(first_span, spans),
    )


def index_of_found(num_videos: int) -> PromptIndex:
    """The index of videos whose objects workers find. All have one hash: the rules are of the job, not of a video."""
    hashes = PromptHashes(num_videos)
    digest = np.frombuffer(blake2b(b"found", digest_size=16).digest(), dtype="<u8")
    hashes.add(np.arange(num_videos), np.broadcast_to(digest, (num_videos, 2)))
    spans = _Spans(np.zeros(num_videos + 1, dtype=np.int32), np.empty((0, 4), dtype=np.int32))
    return PromptIndex(hashes, num_videos, 0, (), 0, (), (), spans)


def _runs(videos: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where runs of consecutive rows of one known video start and stop; -1 stands for an unknown video."""
    starts = np.flatnonzero(np.diff(videos, prepend=-2))
    stops = np.append(starts[1:], len(videos))
    known = videos[starts] >= 0
    return starts[known], stops[known]
