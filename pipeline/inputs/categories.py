"""Objects whose rows name several categories. An object has one, so that the others count for nothing: people are told.

The driver compares rows that stand near each other in a table, in one batch, so that its memory does not grow with the
objects. A worker reads all rows of a video and writes the same sentence into the message of the track.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Int64Array
from pipeline.text import counted, one_line

_NUM_EXAMPLES = 3
_NUM_CATEGORIES = 3


def several_categories(categories: Collection[str]) -> str:
    """What is told of an object whose rows name these categories; empty if it is one, or none."""
    if len(categories) < 2:
        return ""
    names = sorted(categories)
    more = ", …" if len(names) > _NUM_CATEGORIES else ""
    shown = ", ".join(repr(one_line(name)) for name in names[:_NUM_CATEGORIES])
    return f"its rows name {len(names)} categories ({shown}{more}), of which {one_line(names[0])!r} counts"


class Categories:
    """Collects objects with several categories: how many, and the first few with their names."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._num = 0
        self._examples: list[str] = []

    def add(self, videos: Int64Array, rows: pa.RecordBatch) -> None:
        """Look at a batch. `videos` are the numbers of the videos of its rows, below 0 where nobody has them."""
        column = rows.column("category")
        if pa.types.is_null(column.type) or column.null_count == len(column):
            return
        is_named = pc.fill_null(pc.not_equal(column, ""), False).to_numpy(zero_copy_only=False)
        places = np.flatnonzero(is_named & (videos >= 0))
        objects = pc.fill_null(rows.column("object_id"), 0).cast(pa.int64()).to_numpy(zero_copy_only=False)[places]
        names = column.dictionary_encode()
        codes = names.indices.fill_null(-1).to_numpy(zero_copy_only=False)[places]
        order = np.lexsort((codes, objects, videos[places]))
        places, objects, codes = places[order], objects[order], codes[order]
        is_same = (np.diff(videos[places]) == 0) & (np.diff(objects) == 0)
        if not (is_same & (np.diff(codes) != 0)).any():
            return
        starts = np.flatnonzero(np.concatenate([[True], ~is_same]))
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(places)], strict=True):
            if codes[start] == codes[stop - 1]:
                continue
            self._num += 1
            if len(self._examples) < _NUM_EXAMPLES:
                said = names.dictionary.take(pa.array(np.unique(codes[start:stop]))).to_pylist()
                video_id = one_line(str(rows.column("video_id")[int(places[start])].as_py()))
                self._examples.append(f"object {objects[start]} of video {video_id!r}: {several_categories(said)}")

    def warnings(self) -> Iterator[str]:
        """What is odd, for the user."""
        if self._num:
            verb = "has" if self._num == 1 else "have"
            more = "; …" if self._num > len(self._examples) else ""
            yield (
                f"{counted(self._num, 'object')} of the {self._table} table {verb} rows of several categories, and an "
                f"object has one: {'; '.join(self._examples)}{more}. Give the rows of an object one category"
            )
