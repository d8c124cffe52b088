"""Finished videos of a roll-up that are decoded when they are looked for: a part of them, or all.

A night brings a few thousand videos to ten million known ones. Rows of a roll-up are sorted by id, so that the first
and last id of each row group say where an id can be. Names of new videos mostly come after all known ones, and then
nothing is decoded.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.arrays import Int64Array
from pipeline.commits.finished_columns import Columns, Parts
from pipeline.errors import NewerVersion, StorageError
from pipeline.records import Status
from pipeline.text import reason_in_line

ROWS_OF_A_GROUP = 1 << 16
_FEW = 8_192
_SHARE = 8  # from an eighth of the groups on, decoding all costs little more


@contextlib.contextmanager
def damage_told(name: str) -> Iterator[None]:
    """Turn what goes wrong while a roll-up in memory is decoded into a `StorageError` that names it and the remedy."""
    try:
        yield
    except NewerVersion:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StorageError(
            f"{name} is damaged ({reason_in_line(error)}): put it back, as from a backup or from an earlier version "
            "that the store keeps, or delete it. The entries of the log say the same, unless a run with prune=true has "
            "erased them",
            transient=False,
        ) from error


@dataclass(frozen=True)
class Rolled:
    """What a roll-up says of its videos as a whole: how many have each status, and whether versions of files are known.

    They are in its first `num_groups` row groups.
    """

    num_groups: int
    num_by_status: Mapping[str, int]
    has_sources: bool


class RolledUp:
    """The videos of one roll-up, by row group. `numbers` are those of segments by name; new ones get the next.

    `name` says in messages where the roll-up lies.
    """

    def __init__(self, file: pq.ParquetFile, rolled: Rolled, numbers: dict[str, int], name: str) -> None:
        self._name = name
        self.num_by_status = Counter({Status(name): count for name, count in rolled.num_by_status.items() if count})
        self.has_sources = rolled.has_sources
        self.num_rows = sum(rolled.num_by_status.values())
        self._file = file
        self._numbers = numbers
        self._num_groups = rolled.num_groups
        place = file.schema_arrow.get_field_index("name")
        told = [file.metadata.row_group(group).column(place).statistics for group in range(rolled.num_groups)]
        self._firsts = [one.min for one in told]
        self._lasts = [one.max for one in told]
        self._decoded: dict[int, Columns] = {}

    @staticmethod
    def is_usable(file: pq.ParquetFile, rolled: Rolled) -> bool:
        """Whether these row groups have the videos and nothing else, and say which ids, in ascending order."""
        if file.num_row_groups < rolled.num_groups:
            return False
        place = file.schema_arrow.get_field_index("name")
        groups = [file.metadata.row_group(group) for group in range(rolled.num_groups)]
        told = [group.column(place).statistics for group in groups]
        if sum(group.num_rows for group in groups) != sum(rolled.num_by_status.values()):
            return False
        if not all(one is not None and one.has_min_max and isinstance(one.min, str) for one in told):
            return False
        return all(before.max < after.min for before, after in pairwise(told))

    def parts_of(self, ids: pa.Array) -> list[tuple[Columns, Int64Array]] | None:
        """The parts in which these ids can be, and for each the places of those ids; `None` if all had better be read.

        Ids for which there is no part are not finished.
        """
        if len(ids) >= max(_FEW, self.num_rows // 16):  # a plan of all videos begins
            return None
        groups: dict[int, list[int]] = {}
        for place, video_id in enumerate(ids.to_pylist()):
            if video_id is not None and (group := self._group_of(video_id)) is not None:
                groups.setdefault(group, []).append(place)
        if len(self._decoded.keys() | groups.keys()) > max(1, self._num_groups // _SHARE):
            return None
        return [(self._part(group), np.asarray(places, np.int64)) for group, places in groups.items()]

    def all(self) -> Columns:
        """All of them."""
        self._decoded.clear()
        return self.read(list(range(self._num_groups)))

    def _group_of(self, video_id: str) -> int | None:
        group = bisect_right(self._firsts, video_id) - 1
        return group if group >= 0 and video_id <= self._lasts[group] else None

    def _part(self, group: int) -> Columns:
        if group not in self._decoded:
            self._decoded[group] = self.read([group])
        return self._decoded[group]

    def read(self, groups: list[int]) -> Columns:
        """Decode these row groups. Raises `StorageError` if they are damaged."""
        with damage_told(self._name):
            parts = Parts(sum(self._file.metadata.row_group(group).num_rows for group in groups))
            for batch in self._batches(groups):
                parts.add(batch, self._numbers)
            return parts.columns()

    def _batches(self, groups: list[int]) -> Iterator[pa.RecordBatch]:
        for batch in self._file.iter_batches(ROWS_OF_A_GROUP, row_groups=groups):
            is_video = pc.equal(batch.column("kind"), "video")
            yield batch if is_video.true_count == len(batch) else batch.filter(is_video)
