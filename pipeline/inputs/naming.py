"""From the columns of an input file, as its writer named them, to the standard ones of `columns`.

A standard column comes from the column that `columns.NAME=` names, from the one of its own name, or from a folder
`NAME=value` above the file. `columns.uri=clips/{episode:06d}.mp4` makes texts of other columns. Boxes may have other
forms (see `boxes`), and a column `video` may have the bytes and the path of each video, as `datasets` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.job_config import JobConfig
from pipeline.errors import InputError
from pipeline.inputs.boxes import BOX_TOLD, FORMS, converted, target_column
from pipeline.inputs.columns import STANDARD, TEXTS, is_number
from pipeline.redact import redact_uri

_FIELD = re.compile(r"\{([^{}]+?)(?::0?(\d+)d?)?\}")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_KEPT = "kept:"
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Naming:
    """What a table's columns are called, by standard name, where that differs; and the form of its boxes.

    `None` as the form says that the name of the column tells it. `keep` are further columns that are read.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    box_format: str | None = None
    keep: tuple[str, ...] = ()

    def table_columns(self, standard: str) -> list[str]:
        """The columns of the table that `columns.{standard}=` names; empty where it is not given."""
        given = self.names.get(standard)
        if given is None:
            return []
        if standard == "box" and "," in given:
            return [name.strip() for name in given.split(",")]
        return [found[1] for found in _FIELD.finditer(given)] or [given]


@dataclass(frozen=True)
class InputNaming:
    """The names in both tables. Without `videos=` the table of prompts serves as both.

    `uses_cuts`: times of shots in the table of videos are read. `has_detections`: in place of prompts there are boxes
    of a detector.
    """

    videos: Naming = field(default_factory=Naming)
    prompts: Naming = field(default_factory=Naming)
    uses_cuts: bool = True
    has_detections: bool = False

    @classmethod
    def of(cls, config: JobConfig) -> InputNaming:
        """What a config says."""
        names = {name: value for name, value in config.columns.model_dump().items() if value is not None}
        in_prompts = names.pop("prompts_video_id", names.get("video_id"))
        names_in_prompts = names | ({"video_id": in_prompts} if in_prompts else {})
        prompts = Naming(names_in_prompts, config.box_format, config.keep_columns)
        videos = prompts if config.videos is None else Naming(names, keep=config.keep_columns)
        return cls(videos, prompts, config.shots != "ignore", config.detections is not None)


@dataclass(frozen=True)
class Source:
    """Where a standard column comes from: the columns to read, its type, and how it is made of them.

    `shown` is what messages call it. A column of a struct is named `struct.column`.
    """

    columns: tuple[str, ...]
    kind: pa.DataType
    make: Callable[[pa.RecordBatch], pa.Array]
    shown: str


def kept_column(name: str) -> str:
    """What a column that `keep_columns` names is called beside the standard ones, which may have the same name."""
    return f"{_KEPT}{name}"


def sources(schema: pa.Schema, file: str, naming: Naming, metadata: Any = None) -> dict[str, Source]:
    """Where the standard columns of a file come from; those that it lacks are left out.

    `metadata` of the Parquet file tells whether a column `video` holds bytes or paths; without it, bytes are taken.
    Raises `InputError` for boxes of two forms, and for videos of which some are bytes and some paths.
    """
    folders = partitions(file)
    found: dict[str, Source] = {}
    for name in (*STANDARD, *map(kept_column, naming.keep)):
        given = naming.names.get(name)
        if given is not None and _FIELD.search(given) and set(naming.table_columns(name)) <= {*schema.names, *folders}:
            columns = tuple(column for column in naming.table_columns(name) if column in schema.names)
            found[name] = Source(columns, pa.string(), partial(_template, given, folders), given)
        elif (column := _first(schema.names, given, name.removeprefix(_KEPT))) is not None:
            found[name] = Source((column,), _type(schema, column), partial(_column, column), column)
        elif (column := _first(folders, given, name.removeprefix(_KEPT))) is not None:
            kind, value = _constant(folders[column], is_text=name in TEXTS)
            found[name] = Source((), kind, partial(_repeated, value, kind), f"{column}={folders[column]}")
    if not {"uri", "bytes"} & found.keys():
        found |= _structs_of_videos(schema, file, naming, metadata)
    return _with_boxes(schema, file, naming, found)


def standard_batch(batch: pa.RecordBatch, wanted: Mapping[str, Source]) -> pa.RecordBatch:
    """The columns that `wanted` names, made of what was read of a file."""
    arrays = [_without_views(source.make(batch)) for source in wanted.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(wanted))


def _without_views(column: pa.Array) -> pa.Array:
    """A column whose texts and bytes are stored as Arrow mostly does it, because few of its functions know views."""
    plain = _plain_type(column.type)
    return column if plain == column.type else column.cast(plain)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct(
            [kind.field(place).with_type(_plain_type(kind.field(place).type)) for place in range(kind.num_fields)]
        )
    return kind


def read_columns(wanted: Mapping[str, Source]) -> list[str]:
    """The columns to read of a file for these standard ones, each once."""
    return list(dict.fromkeys(column for source in wanted.values() for column in source.columns))


def partitions(file: str) -> dict[str, str | None]:
    """What the folders `key=value` right above a file say, as Hive, Spark and pandas write partitions."""
    found: dict[str, str | None] = {}
    for folder in reversed(file.split("/")[:-1]):
        key, equals, value = folder.partition("=")
        if not key or not equals:
            break
        found[unquote(key)] = None if value == _HIVE_NULL else unquote(value)
    return found


class NamedColumns:
    """Standard columns of any file of a table, for a `RowReader`."""

    def __init__(self, names: tuple[str, ...], naming: Naming | None = None) -> None:
        self._names = names
        self._naming = naming or Naming()

    def to_read(self, schema: pa.Schema, file: str) -> list[str]:
        """The columns to read of a file."""
        return read_columns(self._wanted(schema, file))

    def of(self, rows: pa.Table, schema: pa.Schema, file: str) -> pa.Table:
        """What was read, as standard columns; those that the file lacks are left out."""
        wanted = self._wanted(schema, file)
        return pa.Table.from_batches([standard_batch(batch, wanted) for batch in rows.to_batches()])

    def _wanted(self, schema: pa.Schema, file: str) -> dict[str, Source]:
        known = sources(schema, file, self._naming)
        return {name: known[name] for name in self._names if name in known}


def _type(schema: pa.Schema, column: str) -> pa.DataType:
    """The type of a column, of several of one name that of the first: whoever reads the file refuses them."""
    return schema.field(schema.get_all_field_indices(column)[0]).type


def _first(there: Any, *names: str | None) -> str | None:
    return next((name for name in names if name is not None and name in there), None)


def _structs_of_videos(schema: pa.Schema, file: str, naming: Naming, metadata: Any) -> dict[str, Source]:
    """Bytes or uris from a column of structs with `bytes` and `path`. Beside bytes, a path is only a former name."""
    column = _first(schema.names, naming.names.get("video"), "video")
    if column is None:
        return {}
    kind = _type(schema, column)
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return {}
    num_null = _num_null(metadata, f"{column}.bytes")
    standard, inner = "bytes", "bytes"
    are_null = pa.types.is_null(kind.field("bytes").type) or (num_null and num_null == metadata.num_rows)
    if are_null and kind.get_field_index("path") >= 0:
        standard, inner = "uri", "path"
    elif num_null:
        raise InputError(
            f"videos: column {column} of {redact_uri(file)} has bytes in some rows and none in others; write the "
            "column with bytes only, or columns uri and bytes"
        )
    shown = f"{column}.{inner}"
    return {standard: Source((shown,), kind.field(inner).type, partial(_struct_field, column, inner), shown)}


def _num_null(metadata: Any, path: str) -> int:
    """How many values of a column a Parquet file calls null; 0 where it does not say."""
    if metadata is None:
        return 0
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    counts = [column.statistics for column in columns if column.path_in_schema == path]
    return sum(found.null_count for found in counts if found is not None and found.has_null_count)


def _with_boxes(schema: pa.Schema, file: str, naming: Naming, found: dict[str, Source]) -> dict[str, Source]:
    sides = naming.table_columns("box")
    if len(sides) > 1 and set(sides) <= set(schema.names):
        kinds = [_type(schema, name) for name in sides]
        odd = next((kind for kind in kinds if not is_number(kind)), pa.float64())
        form = naming.box_format or "xyxy"
        made = Source(tuple(sides), pa.list_(odd), partial(_box_of_sides, sides, form), ",".join(sides))
        return found | {target_column(form): made, BOX_TOLD: constant(form)}
    named = {f"box_{form}": form for form in FORMS if f"box_{form}" in schema.names}
    if len(named) > 1:
        raise InputError(f"{redact_uri(file)} has several columns of boxes ({', '.join(named)}); keep one")
    column = _first(schema.names, naming.names.get("box"), *named, "bbox" if naming.box_format else None)
    if column is None:
        return found
    form = named.get(column) or naming.box_format or "xyxy"  # the name of a column says more than a key for all tables
    made = Source((column,), _type(schema, column), partial(_box, column, form), column)
    others = {name: source for name, source in found.items() if name not in named}
    return others | {target_column(form): made, BOX_TOLD: constant(column if column in named else form)}


def constant(value: str) -> Source:
    """A column that has this text in all rows of a file."""
    return Source((), pa.string(), partial(_repeated, value, pa.string()), value)


def _column(column: str, batch: pa.RecordBatch) -> pa.Array:
    return batch.column(column)


def _box(column: str, form: str, batch: pa.RecordBatch) -> pa.Array:
    return converted(batch.column(column), form)


def _box_of_sides(sides: Sequence[str], form: str, batch: pa.RecordBatch) -> pa.Array:
    """Boxes of four columns with a number each; null where all four are."""
    sides_4 = [batch.column(name).cast(pa.float64(), safe=False) for name in sides]
    numbers_N4 = np.stack([side.fill_null(np.nan).to_numpy(zero_copy_only=False) for side in sides_4], axis=1)
    is_null = np.isnan(numbers_N4).all(axis=1)
    ends = np.cumsum(np.where(is_null, 0, len(sides)))
    offsets = pa.array(np.append(0, ends), pa.int32(), mask=np.append(is_null, False))
    return converted(pa.ListArray.from_arrays(offsets, pa.array(numbers_N4[~is_null].reshape(-1))), form)


def _struct_field(column: str, inner: str, batch: pa.RecordBatch) -> pa.Array:
    return pc.struct_field(batch.column(column), inner)


def _constant(value: str | None, *, is_text: bool) -> tuple[pa.DataType, Any]:
    """The type and the value of a partition: a whole number, a number or a text.

    A standard column of texts has a text: a video may be called 007. What Python alone takes for a number, as
    `2026_11`, is a text.
    """
    if value is None:
        return pa.null(), None
    if not is_text and _NUMBER.fullmatch(value):
        for kind, of in ((pa.int64(), int), (pa.float64(), float)):
            with suppress(ValueError, OverflowError):
                return kind, pa.scalar(of(value), kind).as_py()
    return pa.string(), value


def _repeated(value: Any, kind: pa.DataType, batch: pa.RecordBatch) -> pa.Array:
    return pa.array([value] * batch.num_rows, kind)


def _template(text: str, folders: Mapping[str, str | None], batch: pa.RecordBatch) -> pa.Array:
    """Texts with the values of columns in them; null where one of the columns is null."""
    names = [found[1] for found in _FIELD.finditer(text)]
    widths = [int(found[2] or 0) for found in _FIELD.finditer(text)]
    pieces = _FIELD.sub("\0", text).split("\0")
    columns = [
        batch.column(name).to_pylist() if name in batch.schema.names else [folders[name]] * batch.num_rows
        for name in names
    ]
    made = []
    for values in zip(*columns, strict=True):
        texts = [_filled(value, width) for value, width in zip(values, widths, strict=True)]
        joined = "".join(part for pair in zip(pieces, [*texts, ""], strict=True) for part in pair)
        made.append(None if any(value is None or value != value for value in values) else joined)
    return pa.array(made, pa.string())


def _filled(value: Any, width: int) -> str:
    """A value as text. One that is filled up with zeros is a whole number, of which pandas may have made a float."""
    if width and isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).zfill(width)
