"""Rows of `masks` that are read when they are asked for, and then only the columns and parts of files that are."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow as pa

from pipeline.errors import NotInJob
from pipeline.notebook.extras import needs_extra
from pipeline.notebook.html import card
from pipeline.output.where import Condition, columns_of, condition
from pipeline.text import bytes_in_words, counted

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow.dataset as ds

T = TypeVar("T")
_SHOWN_ROWS = 5


@dataclass(frozen=True)
class ReadPlan:
    """What reading takes: files, parts of them (row groups) and bytes, of how many that there are."""

    num_files: int
    of_files: int
    num_row_groups: int
    of_row_groups: int
    num_bytes: int
    of_bytes: int

    def __str__(self) -> str:
        return (
            f"reads {self.num_row_groups} of {counted(self.of_row_groups, 'row group')} in {self.num_files} of "
            f"{counted(self.of_files, 'file')}, {bytes_in_words(self.num_bytes)} of {bytes_in_words(self.of_bytes)}"
        )


class UpToDate(Protocol):
    """How a job's files are read while it runs."""

    def __call__(self, read: Callable[[], T]) -> T:
        """`read()`, once more where files of before are gone, after the log was read again."""


def check_list(key: str, names: object) -> None:
    """Raises `TypeError` for one text where several are asked for: each of its letters would be one of them."""
    if isinstance(names, str):
        raise TypeError(f"{key}={names!r} is one text: give a list, as in {key}=[{names!r}]")


def check_columns(table: str, columns: Sequence[str], schema: pa.Schema) -> None:
    """Raises `NotInJob`, a `KeyError`, for a column that a table has not, and names those that were meant."""
    for column in columns:
        if column not in schema.names:
            near = get_close_matches(str(column), schema.names, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(schema.names)}"
            raise NotInJob(f"{table} has no column {column!r}; {hint}")


def plain(value: Any) -> Any:
    """A value as Python has it, for one that was taken out of a column of Arrow; any other as it is."""
    return value.as_py() if isinstance(value, pa.Scalar) else value


def as_ids(video_ids: Iterable[str] | None) -> list[str] | None:
    """Ids of videos as a list of texts, also those of a column of Arrow; None stays None.

    Raises `TypeError` for one text, and for what is no text: no video has such an id, and nothing would be found.
    """
    check_list("video_ids", video_ids)
    if video_ids is None:
        return None
    found = [plain(one) for one in video_ids]
    for one in found:
        if not isinstance(one, str):
            raise TypeError(f"video_ids has {one!r}, which is no text: ids of videos are texts, as in ['clip-1']")
    return found


class Rows:
    """Rows of `masks`, in `columns` and where `where` holds. Nothing is read before one of its methods is called.

    Args:
        open_dataset: makes the Arrow dataset of the files that count now; it has no condition of its own.
        up_to_date: calls a function, and calls it again with newer files where those of before are gone.
        columns: names of columns; None are all.
        where: an expression of Arrow, or a text as `predicted_iou < 0.7 and area > 100` (see `pipeline.output.where`).
        within: what holds of these rows besides `where`, and is not worth telling. It is asked before each reading,
            because tracks may be rejected meanwhile.
        table: the name of the table, for messages.

    Raises `KeyError` for a column that there is not, `TypeError` for one text in the place of names, and
    `WrongCondition`.
    """

    def __init__(
        self,
        open_dataset: Callable[[], ds.Dataset],
        up_to_date: UpToDate,
        columns: Sequence[str] | None = None,
        where: Condition | None = None,
        within: Callable[[], ds.Expression | None] = lambda: None,
        table: str = "masks",
    ) -> None:
        self._open = open_dataset
        self._up_to_date = up_to_date
        self._where = where
        check_list("columns", columns)
        everything: pa.Schema = open_dataset().schema
        self._within = within
        self._table = table
        self._asked = None if where is None else condition(where, everything)
        self._columns = None if columns is None else list(columns)
        check_columns(table, self._columns or (), everything)
        names = everything.names if self._columns is None else self._columns
        self.schema: pa.Schema = pa.schema([everything.field(column) for column in names])

    @property
    def _condition(self) -> ds.Expression | None:
        parts = [part for part in (self._within(), self._asked) if part is not None]
        return reduce(operator.and_, parts) if parts else None

    # As Arrow

    @property
    def dataset(self) -> ds.Dataset:
        """The rows as an Arrow dataset of all columns. It names the files of now, which a running job may replace."""
        dataset, where = self._open(), self._condition
        return dataset if where is None else dataset.filter(where)

    def scanner(
        self, columns: Sequence[str] | None = None, filter: Condition | None = None, **options: Any
    ) -> ds.Scanner:
        """A scanner of Arrow; `columns` in the place of those that were chosen, `filter` as a further condition."""
        check_list("columns", columns)
        dataset = self.dataset
        further = None if filter is None else condition(filter, dataset.schema)
        return dataset.scanner(columns=list(columns or self.schema.names), filter=further, **options)

    def to_table(self, columns: Sequence[str] | None = None, filter: Condition | None = None) -> pa.Table:
        """All of them as an Arrow table."""
        return self._up_to_date(lambda: self.scanner(columns, filter).to_table())

    def to_batches(
        self, columns: Sequence[str] | None = None, filter: Condition | None = None, **options: Any
    ) -> Iterator[pa.RecordBatch]:
        """All of them, a bounded number at a time; `options` are those of `scanner`, as `batch_size=1024`."""
        yield from self.scanner(columns, filter, **options).to_batches()

    def head(self, num_rows: int = 5) -> pa.Table:
        """The first of them. Raises `ValueError` for a number below 0, for which Arrow gives a table of -1 rows."""
        if num_rows < 0:
            raise ValueError(f"head({num_rows}): give how many of the first rows, 0 or more")
        return self._up_to_date(lambda: self.scanner(batch_size=max(1, num_rows)).head(num_rows))

    def count_rows(self, filter: Condition | None = None) -> int:
        """How many there are: from footers of files alone, where there is no condition."""
        further = None if filter is None else condition(filter, self._open().schema)
        return self._up_to_date(lambda: int(self.dataset.count_rows(filter=further)))

    def filter(self, where: Condition) -> Rows:
        """Those of them where this holds too."""
        found = condition(where, self._open().schema)
        both = found if self._asked is None else self._asked & found
        return Rows(self._open, self._up_to_date, self._columns, both, self._within)

    def get_fragments(self, filter: ds.Expression | None = None) -> Iterator[ds.Fragment]:
        """Files that can hold such rows, by what the log knows. None of them is opened."""
        conditions = [one for one in (self._condition, filter) if one is not None]
        return iter(self._open().get_fragments(reduce(operator.and_, conditions) if conditions else None))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """For polars, duckdb and others: `polars.DataFrame(rows)`, `duckdb.sql("select … from rows")`."""
        return self.scanner().to_reader().__arrow_c_stream__(requested_schema)

    # As frames of other libraries

    def to_pandas(self, **options: Any) -> pandas.DataFrame:
        """As a pandas frame; `options` are those of `pyarrow.Table.to_pandas`."""
        with needs_extra("pandas"):
            return self.to_table().to_pandas(**options)

    def to_polars(self) -> polars.DataFrame:
        """As a polars frame, which shares memory with the Arrow table."""
        with needs_extra("polars"):
            import polars
        frame = polars.from_arrow(self.to_table())
        assert isinstance(frame, polars.DataFrame)
        return frame

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """As a relation of duckdb. What is asked of it reads the columns and files that this needs, a bit at a time."""
        with needs_extra("duckdb"):
            import duckdb
        relation = duckdb.from_arrow(self.dataset, connection=connection or duckdb.default_connection())
        return relation if self._columns is None else relation.select(*self._columns)

    # What it costs, what it is

    def plan(self) -> ReadPlan:
        """What reading these rows takes, by the log and the statistics in the files' footers; reads the footers."""
        return self._up_to_date(self._plan)

    def _plan(self) -> ReadPlan:
        dataset = self._open()
        every = list(dataset.get_fragments())
        where = self._condition
        wanted = set(self.schema.names) | columns_of(where, dataset.schema)
        left = {one.path for one in dataset.get_fragments(where)}
        num_files = num_groups = of_groups = num_bytes = of_bytes = 0
        for fragment in every:
            of_groups += len(fragment.row_groups)
            of_bytes += sum(_num_bytes(fragment, group.id, None) for group in fragment.row_groups)
            if fragment.path not in left:
                continue
            kept = (fragment if where is None else fragment.subset(where, dataset.schema)).row_groups
            num_files += bool(kept)
            num_groups += len(kept)
            num_bytes += sum(_num_bytes(fragment, group.id, wanted) for group in kept)
        return ReadPlan(num_files, len(every), num_groups, of_groups, num_bytes, of_bytes)

    def __repr__(self) -> str:
        where = "" if self._where is None else f" where {self._where}"
        return f"<rows of {self._table}{where}, not read yet: {', '.join(self.schema.names)}>"

    def _repr_html_(self) -> str:
        """For Jupyter: the first few, without run lengths."""
        plain = [field.name for field in self.schema if not pa.types.is_struct(field.type)]
        rows = self._up_to_date(lambda: self.scanner(plain, batch_size=_SHOWN_ROWS).head(_SHOWN_ROWS))
        where = "" if self._where is None else f" where {self._where}"
        note = f"the first {counted(rows.num_rows, 'row')}" if rows.num_rows else "no rows"
        return card(f"rows of {self._table}{where}", [], note, rows)


def _num_bytes(fragment: ds.Fragment, row_group: int, columns: set[str] | None) -> int:
    """Compressed bytes of these columns in a row group; of all with None."""
    group = fragment.metadata.row_group(row_group)
    chunks = (group.column(number) for number in range(group.num_columns))
    return sum(
        chunk.total_compressed_size
        for chunk in chunks
        if columns is None or chunk.path_in_schema.partition(".")[0] in columns
    )
