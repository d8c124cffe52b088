"""`detections=` that is no Parquet: workers read rows by their addresses, so that text becomes Parquet once, here."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.config.job_config import JobConfig
from pipeline.errors import InputError
from pipeline.inputs.plan import Plan
from pipeline.inputs.reading import ReadPolicy, read_input
from pipeline.output.layout import DETECTIONS, detections_object
from pipeline.redact import redact, redact_uri
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.parquet import parquet_bytes
from pipeline.storage.uris import open_filesystem

_SEPARATORS = {"csv": ",", "tsv": "\t"}
_NULLS = ["", "null", "nan", "NaN"]
_LINES = ("jsonl", "ndjson", "json")


@dataclass(frozen=True)
class BoxTable:
    """A table of boxes as Parquet. The driver plans with the file `read_from`, workers read `place`.

    `given` is what the user gave, by which messages name it. `content` are the bytes that are to be written at `name`
    below the output before a worker starts; empty: `place` is there.
    """

    given: str
    read_from: str
    place: str
    name: str = ""
    content: bytes = b""

    @contextlib.contextmanager
    def named_as_given(self) -> Iterator[None]:
        """Errors of the table name the user's file, not one that the driver has made of it."""
        try:
            yield
        except InputError as error:
            message = str(error)
            for made in (self.read_from, self.place):
                message = message.replace(redact_uri(made), redact_uri(self.given))
            raise InputError(message) from error

    def publish(self, storage: JobStorage, plan: Plan) -> Plan:
        """Write the table for workers, now that the plan stands. Returns the plan with its place.

        Raises `StorageError` if the store does not take it.
        """
        if not self.content:
            return plan
        storage.replace(self.name, self.content)
        return plan.with_prompt_files((self.place,))


def as_parquet(config: JobConfig, storage: JobStorage) -> BoxTable | None:
    """The table of boxes as Parquet, with the columns that it had; None for a job without one.

    CSV and JSON lines are read whole, a few hundred bytes for each box, and put into a temporary folder. `publish`
    writes them below the output under a name that follows from their content; a check, which writes nothing, goes on
    with the temporary file. Raises `InputError` for text that cannot be read, `StorageError` if storage does not
    answer.
    """
    given = config.detections
    if given is None:
        return None
    kind = given.partition("?")[0].rpartition(".")[2].lower()
    if kind not in (*_SEPARATORS, *_LINES):
        return BoxTable(given, given, given)

    def read() -> bytes:
        filesystem, path = open_filesystem(given, config.storage_options)
        content: bytes = filesystem.cat_file(path)
        return content

    text = read_input("detections", given, ReadPolicy(), read)
    content_hash = hashlib.sha256(text).hexdigest()[:32]
    name = detections_object(content_hash)
    place = f"{storage.uri}/{name}"
    if not config.check and storage.listing(DETECTIONS, content_hash):
        return BoxTable(given, place, place)  # an earlier run has written it
    try:
        content = parquet_bytes(_table(text, kind, config))
    except pa.ArrowException as error:
        raise InputError(
            f"detections: {redact_uri(given)} cannot be read as {_shown(kind)}: {redact(str(error))}; write it again"
        ) from error
    folder = tempfile.mkdtemp(prefix="maskmill-detections-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = Path(folder) / "boxes"
    file.write_bytes(content)
    if config.check:
        return BoxTable(given, str(file), str(file))
    return BoxTable(given, str(file), place, name, content)


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
