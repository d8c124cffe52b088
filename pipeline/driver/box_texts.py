"""Boxes in text: CSV, TSV, JSON lines or lists in JSON, in one file or in one beside each video."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import InputError
from pipeline.inputs.reading import ReadPolicy, read_input
from pipeline.inputs.table_files import table_files
from pipeline.redact import redact, redact_uri
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions, open_filesystem

_SEPARATORS = {"csv": ",", "tsv": "\t"}
_JSON = ("jsonl", "ndjson", "json")
_NULLS = ["", "null", "nan", "NaN"]
_FILES_AT_A_TIME = 16
_BLOCK_BYTES = 1 << 20
_MOST_BLOCK_BYTES = (1 << 31) - 1  # a number of 32 bits to Arrow


@dataclass(frozen=True)
class BoxText:
    """One file. `stem` is the path of the video beside which it lies; empty for a file that is named by itself."""

    file: str
    stem: str
    content: bytes


def is_text(given: str) -> bool:
    """Whether a file or a glob is of text, by the end of its name."""
    return _kind(given) in (*_SEPARATORS, *_JSON)


def read_texts(given: str, options: StorageOptions | None) -> list[BoxText]:
    """The files that `detections=` names, sorted: one, or those that a glob matches.

    Raises `InputError` if there is none, `StorageError` if storage does not answer.
    """
    policy = ReadPolicy()
    found = read_input("detections", given, policy, lambda: table_files("detections", given, options))

    def read(file: str) -> bytes:
        def content() -> bytes:
            filesystem, path = open_filesystem(file, options)
            read: bytes = filesystem.cat_file(path)
            return read

        return read_input("detections", file, policy, content)

    with ThreadPoolExecutor(min(_FILES_AT_A_TIME, len(found.files))) as pool:
        contents = pool.map(read, found.files)
        return [BoxText(*one) for one in zip(found.files, found.stems or ("",), contents, strict=True)]


def hash_of_texts(texts: Iterable[BoxText], named: str = "") -> str:
    """32 hex digits that stand for all that the files say, and of which videos.

    `named` says what columns are called, where that changes what is read; empty for the standard names.
    """
    found = hashlib.sha256(named.encode())
    for text in texts:
        if text.stem:
            found.update(f"{text.stem}\0{len(text.content)}\0".encode())
        found.update(text.content)
    return found.hexdigest()[:32]


def table_of_texts(texts: Iterable[BoxText], id_column: str, text_columns: Iterable[str]) -> pa.Table:
    """The rows of all files. Those of a file without the column `id_column` are of the video beside which it lies.

    `text_columns` stay text also where all that stands in them is digits, because a video may be called 007. A file
    without rows counts for nothing where there are several.

    Raises `InputError` for a file that cannot be read, or whose columns are of another type than those of the others.
    """
    tables = [_with_ids(_parsed(text, text_columns), text.stem, id_column) for text in texts if _has_rows(text)]
    try:
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    except pa.ArrowException as error:
        raise InputError(
            f"detections: the files do not have columns of the same types ({redact(str(error))}); write them alike"
        ) from error


def _has_rows(text: BoxText) -> bool:
    return not text.stem or text.content.removeprefix(codecs.BOM_UTF8).strip() not in (b"", b"[]")


def _with_ids(table: pa.Table, stem: str, id_column: str) -> pa.Table:
    if not stem or id_column in table.column_names:
        return table
    return table.append_column(id_column, pa.repeat(stem, len(table)))


def _parsed(text: BoxText, text_columns: Iterable[str]) -> pa.Table:
    kind = _kind(text.file)
    try:
        return _from_json(text.content) if kind in _JSON else _from_csv(text.content, _SEPARATORS[kind], text_columns)
    except (pa.ArrowException, ValueError) as error:
        shown = kind.upper() if kind in _SEPARATORS else "JSON lines or as a list in JSON"
        raise InputError(
            f"detections: {redact_uri(text.file)} cannot be read as {shown}: {redact(str(error))}; write it again"
        ) from error


def _from_json(content: bytes) -> pa.Table:
    content = content.removeprefix(codecs.BOM_UTF8)
    if content.lstrip().startswith(b"["):
        rows: Any = json.loads(content)
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("it is a list of other things than rows")
        names = dict.fromkeys(name for row in rows for name in row)  # `from_pylist` knows those of the first row alone
        return pa.table({name: [row.get(name) for row in rows] for name in names})
    import pyarrow.json as pa_json

    read_options = pa_json.ReadOptions(block_size=_block_bytes(content))
    table = pa_json.read_json(io.BytesIO(content), read_options)
    # Arrow makes times of texts that look like some, and JSON has none: a video may be called 2026-11-29.
    texts = [pa.field(column.name, pa.string()) for column in table.schema if pa.types.is_timestamp(column.type)]
    if not texts:
        return table
    parse_options = pa_json.ParseOptions(explicit_schema=pa.schema(texts))
    return pa_json.read_json(io.BytesIO(content), read_options, parse_options)


def _from_csv(content: bytes, separator: str, text_columns: Iterable[str]) -> pa.Table:
    import pyarrow.csv as pa_csv

    return pa_csv.read_csv(
        io.BytesIO(content),
        pa_csv.ReadOptions(block_size=_block_bytes(content)),
        parse_options=pa_csv.ParseOptions(delimiter=separator),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(text_columns, pa.string()), strings_can_be_null=True, null_values=_NULLS
        ),
    )


def _block_bytes(content: bytes) -> int:
    """How much of a text Arrow reads at a time: a megabyte, or the longest line, because it refuses longer ones."""
    longest, start = 0, 0
    while start < len(content):
        end = content.find(b"\n", start) + 1 or len(content)
        longest, start = max(longest, end - start), end
    return min(max(_BLOCK_BYTES, longest), _MOST_BLOCK_BYTES)


def _kind(name: str) -> str:
    is_web = scheme_of(name).place is Place.WEB  # elsewhere ? is a wildcard
    return (name.partition("?")[0] if is_web else name).rpartition(".")[2].lower()
