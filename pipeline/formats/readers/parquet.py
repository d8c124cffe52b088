"""Tables of masks or boxes in Parquet: those of maskmill, shards of Hugging Face `datasets`, and any with such columns.

Columns are found by `columns.NAME=`, else by their usual names: `video_id`, `object_id`, `frame_index` or
`pts_seconds`, `rle` or `mask_rle` (a struct of `size` and `counts`), boxes as in a table of boxes, `category`, `score`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Iterator
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.formats.label import Label, ReadOptions
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers.boxes import RowLabels, TableColumns, check_form, columns_of
from pipeline.redact import redact

_BATCH_ROWS = 1024


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The rows of all Parquet files, one after the other, in the columns that are needed.

    Raises `InputError` naming file and row.
    """
    names = files.ending_in(".parquet", ".pq") if files.is_folder else list(files.names)
    if not names:
        raise InputError(f"{files.key}: {files.shown} holds no Parquet file; name the table")
    if any(_folder(name) == "masks" for name in names):  # tables of tracks, videos and frames lie beside them
        names = [name for name in names if _folder(name) == "masks"]
    tables: list[TableColumns] = []
    for name in names:
        with files.open(name) as file:
            tables.append((yield from _read_file(files, name, file, options)))
    check_form(files, tables, options)


def _readable(batches: Iterator[pa.RecordBatch], shown: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(redact(str(error)).split())
        raise InputError(f"{shown}: no Parquet file that can be read ({reason}); write it again") from error


def _folder(name: str) -> str:
    return posixpath.basename(posixpath.dirname(name))


def _read_file(
    files: LabelFiles, name: str, file: object, options: ReadOptions
) -> Generator[Label, None, TableColumns]:
    """The rows of a file, and then which columns they have."""
    shown = files.shown_name(name)
    try:
        parquet = pq.ParquetFile(file)
        columns = columns_of(dict.fromkeys(parquet.schema_arrow.names), options)
        batches = partial(parquet.iter_batches, _BATCH_ROWS, columns=columns.read, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{shown}: no Parquet file that can be read ({redact(str(error))}); write it again") from error
    except ValueError as error:
        raise InputError(f"{shown}: {error}") from error
    labels = RowLabels(columns, options.first_frame or 0)
    number = 0
    for batch in _readable(batches(), shown):
        for row in batch.to_pylist():
            place = f"{shown}, row {number}"
            number += 1
            try:
                yield labels.label(row, place)
            except (ValueError, TypeError) as error:
                raise InputError(f"{place}: {error}; correct it or leave it out") from error
    return columns
