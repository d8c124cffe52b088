"""`detections=` that is no Parquet: workers read rows by their addresses, so that text becomes Parquet once, here."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.job_config import JobConfig
from pipeline.driver.box_texts import hash_of_texts, is_text, read_texts, table_of_texts
from pipeline.errors import InputError
from pipeline.inputs.plan import Plan
from pipeline.output.layout import DETECTIONS, detections_object
from pipeline.redact import redact_uri
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.parquet import parquet_bytes


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

    Text is read whole, a few hundred bytes for each box, and put into a temporary folder. `publish` writes it below the
    output under a name that follows from what it says; a check, which writes nothing, goes on with the temporary file.
    Raises `InputError` for text that cannot be read, `StorageError` if storage does not answer.
    """
    given = config.detections
    if given is None:
        return None
    if not is_text(given):
        return BoxTable(given, given, given)
    texts = read_texts(given, config.storage_options)
    columns = config.columns
    id_column, category = columns.prompts_video_id or columns.video_id or "video_id", columns.category or "category"
    names = "" if (id_column, category) == ("video_id", "category") else f"{id_column}\0{category}\0"
    content_hash = hash_of_texts(texts, names)
    name = detections_object(content_hash)
    place = f"{storage.uri}/{name}"
    if not config.check and storage.listing(DETECTIONS, content_hash):
        return BoxTable(given, place, place)  # an earlier run has written it
    content = parquet_bytes(table_of_texts(texts, id_column, (id_column, category)))
    folder = tempfile.mkdtemp(prefix="maskmill-detections-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = Path(folder) / "boxes"
    file.write_bytes(content)
    if config.check:
        return BoxTable(given, str(file), str(file))
    return BoxTable(given, str(file), place, name, content)
