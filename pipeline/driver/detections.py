"""`detections=` that is no Parquet: workers read rows by their addresses, so that text becomes Parquet once, here."""

from __future__ import annotations

import atexit
import hashlib
import io
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa

from pipeline.config.job_config import JobConfig
from pipeline.errors import InputError
from pipeline.inputs.reading import ReadPolicy, read_input
from pipeline.output.layout import DETECTIONS, detections_object
from pipeline.redact import redact, redact_uri
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.parquet import parquet_bytes
from pipeline.storage.uris import open_filesystem

_SEPARATORS = {"csv": ",", "tsv": "\t"}
_NULLS = ["", "null", "nan", "NaN"]
_LINES = ("jsonl", "ndjson", "json")


def as_parquet(config: JobConfig, storage: JobStorage) -> str | None:
    """The place of the table of boxes as Parquet, with the columns that it had; None for a job without one.

    CSV and JSON lines are read whole, a few hundred bytes for each box, and written below the output under a name that
    follows from their content; a check, which writes nothing, puts them into a temporary folder. Raises `InputError`
    for text that cannot be read, `StorageError` if storage does not answer.
    """
    place = config.detections
    if place is None:
        return None
    kind = place.partition("?")[0].rpartition(".")[2].lower()
    if kind not in (*_SEPARATORS, *_LINES):
        return place

    def read() -> bytes:
        filesystem, path = open_filesystem(place, config.storage_options)
        content: bytes = filesystem.cat_file(path)
        return content

    text = read_input("detections", place, ReadPolicy(), read)
    content_hash = hashlib.sha256(text).hexdigest()[:32]
    name = detections_object(content_hash)
    if not config.check and storage.listing(DETECTIONS, content_hash):
        return f"{storage.uri}/{name}"  # an earlier run has written it
    try:
        table = _table(text, kind, config)
    except pa.ArrowException as error:
        raise InputError(
            f"detections: {redact_uri(place)} cannot be read as {_shown(kind)}: {redact(str(error))}; write it again"
        ) from error
    if config.check:
        folder = tempfile.mkdtemp(prefix="maskmill-detections-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        file = Path(folder) / "boxes"
        file.write_bytes(parquet_bytes(table))
        return str(file)
    storage.replace(name, parquet_bytes(table))
    return f"{storage.uri}/{name}"


def _shown(kind: str) -> str:
    return "JSON lines" if kind in _LINES else kind.upper()


def _table(text: bytes, kind: str, config: JobConfig) -> pa.Table:
    if kind in _LINES:
        import pyarrow.json as pa_json

        return pa_json.read_json(io.BytesIO(text))
    import pyarrow.csv as pa_csv

    # A video that is called 007 keeps its name.
    columns = config.columns
    names = columns.prompts_video_id or columns.video_id or "video_id", columns.category or "category"
    return pa_csv.read_csv(
        io.BytesIO(text),
        parse_options=pa_csv.ParseOptions(delimiter=_SEPARATORS[kind]),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=_NULLS
        ),
    )
