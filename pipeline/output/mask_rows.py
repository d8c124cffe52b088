"""The rows of masks of one video, put in order: in memory while they are few, on local disk when they are many.

A session gives masks frame by frame, forward or backward. The table needs them by object, then frame. Rows are cut into
runs: stretches of one object in one direction. To sort a million rows, it is then enough to sort a few runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.arrays import Int64Array
from pipeline.output.schema import MASKS, RLE


@dataclass(frozen=True)
class RowLimits:
    """How many rows are kept together.

    Rows are packed after `chunk_rows` of them or `chunk_bytes` of codes, because the code of a mask takes from 10 bytes
    to 100 kB. Sorted rows come out in batches of at most `chunk_runs` runs. Beyond `memory_bytes` rows go to disk.
    """

    chunk_rows: int = 8192
    chunk_bytes: int = 4 << 20
    chunk_runs: int = 1024
    memory_bytes: int = 32 << 20


@dataclass(frozen=True)
class MaskSigns:
    """What says how good a mask is, beside its scores: columns of `masks` that earlier programs did not write.

    `stability` is the IoU of the mask at logit 1 and at logit -1 (None: neither has a pixel), `num_parts` the number
    of its connected parts. `pointer_similarity` is the cosine of the network's object pointer to that of the prompted
    frame from which the object was followed (None: prompted here, or hidden).
    """

    stability: float | None = None
    num_parts: int | None = None
    pointer_similarity: float | None = None


@dataclass(frozen=True)
class Mask:
    """One object on one frame: a row of `masks` without the video's id. `rle_counts` is COCO's compressed code."""

    object_id: int
    frame_index: int
    pts_seconds: float | None
    rle_counts: str
    area: int
    bbox_xywh: tuple[int, int, int, int]
    object_score: float
    predicted_iou: float
    is_prompt: bool
    signs: MaskSigns = MaskSigns()


@dataclass(frozen=True)
class _Run:
    """Rows of one object with ascending frames. They lie in batch `batch`.

    Other runs have frames between these where an object is followed on in a later shot, and then back to its begin.
    """

    object_id: int
    first_frame: int
    last_frame: int
    batch: int
    start: int
    num_rows: int


class MaskRows:
    """Collects the masks of one video in the order of its walks. Memory does not grow with their number.

    `folder` is on local disk (None: the system's temporary one). With `keep_new`, `take_new` gives the rows since its
    last call. `categories` are those of the objects. `close` frees the disk; a table that was made stays readable.
    """

    def __init__(
        self,
        video_id: str,
        size_hw: tuple[int, int],
        folder: Path | None = None,
        *,
        keep_new: bool = False,
        limits: RowLimits | None = None,
        categories: Mapping[int, str | None] | None = None,
    ) -> None:
        self._video_id = video_id
        self._categories = categories or {}
        self._size_hw = size_hw
        self._limits = limits or RowLimits()
        self._batches = _Batches(folder, self._limits)
        self._runs: list[_Run] = []
        self._walks: dict[int, _Walk] = {}
        self._waiting: list[Mask] = []
        self._waiting_bytes = 0
        self._new: list[pa.RecordBatch] | None = [] if keep_new else None

    def add(self, mask: Mask) -> None:
        """Take one more row."""
        self._waiting.append(mask)
        self._waiting_bytes += len(mask.rle_counts)
        if len(self._waiting) == self._limits.chunk_rows or self._waiting_bytes >= self._limits.chunk_bytes:
            self._pack()

    def put(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take rows that `take_new` gave earlier."""
        for batch in batches:
            categories = self._categories_of(batch["object_id"].to_pylist())  # earlier programs did not save them
            self._store(batch.set_column(batch.schema.get_field_index("category"), "category", categories))

    def take_new(self) -> list[pa.RecordBatch]:
        """The rows since the last call, as they came."""
        if self._new is None:
            raise ValueError("new rows are not kept: make the collection with keep_new=True")
        self._pack()
        new, self._new = self._new, []
        return new

    def table(self) -> pa.Table:
        """All rows, sorted by object and frame. The last call: nothing can be added any more."""
        self._pack()
        return self._batches.table(self._runs)

    def close(self) -> None:
        """Give the disk back."""
        self._batches.close()

    def _pack(self) -> None:
        masks, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not masks:
            return
        boxes_N4 = np.array([mask.bbox_xywh for mask in masks], np.int32)
        columns = {
            "video_id": pa.array([self._video_id] * len(masks), pa.string()),
            "rle": _rle_column([mask.rle_counts for mask in masks], self._size_hw),
            "category": self._categories_of([mask.object_id for mask in masks]),
            **{f"bbox_{side}": pa.array(boxes_N4[:, column]) for column, side in enumerate("xywh")},
            **{
                name: pa.array([getattr(mask.signs, name) for mask in masks], MASKS.field(name).type)
                for name in ("stability", "num_parts", "pointer_similarity")
            },
        }
        for name in MASKS.names:
            if name not in columns:
                columns[name] = pa.array([getattr(mask, name) for mask in masks], MASKS.field(name).type)
        batch = pa.RecordBatch.from_arrays([columns[name] for name in MASKS.names], schema=MASKS)
        if self._new is not None:
            self._new.append(batch)
        self._store(batch)

    def _categories_of(self, object_ids: Sequence[int]) -> pa.Array:
        return pa.array([self._categories.get(object_id) for object_id in object_ids], pa.string())

    def _store(self, batch: pa.RecordBatch) -> None:
        object_ids_N, frames_N = (batch[name].to_numpy(zero_copy_only=False) for name in ("object_id", "frame_index"))
        together_N = np.argsort(object_ids_N, kind="stable")
        edges = np.flatnonzero(np.diff(object_ids_N[together_N])) + 1
        runs: list[tuple[int, Int64Array]] = []
        for rows in np.split(together_N, edges):
            object_id = int(object_ids_N[rows[0]])
            for run in self._walks.setdefault(object_id, _Walk()).runs(frames_N[rows].astype(np.int64)):
                ordered = rows[run] if frames_N[rows[run.start]] <= frames_N[rows[run.stop - 1]] else rows[run][::-1]
                runs.append((object_id, ordered))
        number = self._batches.put(batch.take(pa.array(np.concatenate([rows for _, rows in runs]))))
        start = 0
        for object_id, rows in runs:
            first, last = int(frames_N[rows[0]]), int(frames_N[rows[-1]])
            self._runs.append(_Run(object_id, first, last, number, start, len(rows)))
            start += len(rows)


class _Walk:
    """In which order the rows of an object come: its last frame, and the direction to it (0: not known yet)."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._heading = 0

    def runs(self, frames_N: Int64Array) -> Iterator[slice]:
        """Cut the next rows where the walk turns around, because rows of another run may lie between both sides."""
        before = frames_N[0] if self._last is None else self._last
        headings = np.sign(np.diff(frames_N, prepend=before))
        if self._last is None:
            headings = headings[1:]
        start = 0
        first = len(frames_N) - len(headings)
        for index, heading in enumerate(headings.tolist(), first):
            if self._heading and heading != self._heading and index > start:
                yield slice(start, index)
                start = index
            self._heading = heading
        self._last = int(frames_N[-1])
        yield slice(start, len(frames_N))


def without_frames(masks: pa.Table, cuts: Mapping[int, Sequence[tuple[int, int | None]]]) -> pa.Table:
    """Rows that `MaskRows.table` gave without those on frames `[first, stop)` of an object; None: to its end.

    What is left is not copied.
    """
    object_ids_N, frames_N = (masks[name].to_numpy() for name in ("object_id", "frame_index"))
    dropped = []
    for object_id, ranges in cuts.items():
        start, end = (int(np.searchsorted(object_ids_N, object_id, side)) for side in ("left", "right"))
        for first, stop in ranges:
            bounds = [first, np.iinfo(frames_N.dtype).max if stop is None else stop]
            dropped.append((start + np.searchsorted(frames_N[start:end], bounds)).tolist())
    kept, place = [], 0
    for first, stop in sorted(dropped):
        kept.append(masks.slice(place, max(0, first - place)))
        place = max(place, stop)
    return pa.concat_tables([*kept, masks.slice(place)])


def _rle_column(counts: Sequence[str], size_hw: tuple[int, int]) -> pa.Array:
    sizes = pa.ListArray.from_arrays(
        pa.array(np.arange(len(counts) + 1) * 2, pa.int32()), pa.array(np.tile(size_hw, len(counts)), pa.int32())
    )
    return pa.StructArray.from_arrays([sizes, pa.array(counts, pa.string())], fields=list(RLE))


def _sorted(runs: Iterable[_Run], batches: Sequence[pa.RecordBatch]) -> Iterator[_Run]:
    """The runs by object and frame. Those are cut between whose frames other runs of their object lie."""
    ordered = sorted(runs, key=_place_of)
    for _, of_object in groupby(ordered, lambda run: run.object_id):
        own = list(of_object)
        if all(before.last_frame < after.first_frame for before, after in pairwise(own)):
            yield from own
        else:
            firsts = [run.first_frame for run in own]
            yield from sorted((part for run in own for part in _cut(run, firsts, batches[run.batch])), key=_place_of)


def _place_of(run: _Run) -> tuple[int, int]:
    return run.object_id, run.first_frame


def _cut(run: _Run, frames: Sequence[int], batch: pa.RecordBatch) -> Iterator[_Run]:
    """Parts of a run that end where one of these frames comes next."""
    frames_N = batch["frame_index"].to_numpy()[run.start : run.start + run.num_rows]
    places = np.unique(np.searchsorted(frames_N, frames, side="left"))
    edges = [0, *places[(places > 0) & (places < run.num_rows)].tolist(), run.num_rows]
    for start, stop in pairwise(edges):
        first, last = int(frames_N[start]), int(frames_N[stop - 1])
        yield _Run(run.object_id, first, last, run.batch, run.start + start, stop - start)


class _Batches:
    """Batches by number: in memory, and from some size on in a file."""

    def __init__(self, folder: Path | None, limits: RowLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._in_memory: list[pa.RecordBatch] = []
        self._num_bytes = 0
        self._num_batches = 0
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def put(self, batch: pa.RecordBatch) -> int:
        self._num_batches += 1
        if self._temporary is not None:
            self._writer.write_batch(batch)
            return self._num_batches - 1
        self._in_memory.append(batch)
        self._num_bytes += batch.nbytes
        if self._num_bytes > self._limits.memory_bytes:
            self._spill()
        return self._num_batches - 1

    def table(self, runs: Iterable[_Run]) -> pa.Table:
        """The rows of these runs, sorted. On disk they are mapped, so that memory holds only what is read."""
        if self._temporary is None:
            return pa.Table.from_batches(self._joined(runs, self._in_memory), schema=MASKS)
        self._finish()
        folder = Path(self._temporary.name)
        with (
            pa.memory_map(str(folder / "runs.arrow")) as source,
            pa.ipc.open_file(source) as reader,
            pa.OSFile(str(folder / "sorted.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, MASKS) as writer,
        ):
            for batch in self._joined(runs, [reader.get_batch(number) for number in range(reader.num_record_batches)]):
                writer.write_batch(batch)
        (folder / "runs.arrow").unlink()
        with pa.memory_map(str(folder / "sorted.arrow")) as source:
            return pa.ipc.open_file(source).read_all()

    def _joined(self, runs: Iterable[_Run], batches: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The runs in batches of some size. A batch takes 10 kB by itself, and a run of many objects is a few rows."""
        row_bytes = [batch.nbytes / batch.num_rows for batch in batches]
        waiting: list[pa.RecordBatch] = []
        num_bytes = 0.0
        for run in _sorted(runs, batches):
            waiting.append(batches[run.batch].slice(run.start, run.num_rows))
            num_bytes += run.num_rows * row_bytes[run.batch]
            if num_bytes >= self._limits.chunk_bytes or len(waiting) == self._limits.chunk_runs:
                yield pa.concat_batches(waiting)
                waiting, num_bytes = [], 0.0
        if waiting:
            yield pa.concat_batches(waiting)

    def close(self) -> None:
        if self._temporary is not None:
            self._finish()
            self._temporary.cleanup()
            self._temporary = None

    def _finish(self) -> None:
        if not self._sink.closed:
            self._writer.close()
            self._sink.close()

    def _spill(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="rows-", dir=self._folder)
        self._sink = pa.OSFile(str(Path(self._temporary.name) / "runs.arrow"), "wb")
        self._writer = pa.ipc.new_file(self._sink, MASKS)
        for batch in self._in_memory:
            self._writer.write_batch(batch)
        self._in_memory = []
