"""A job on local disk that does not wait for the disk, which takes long. Nothing pulls the plug in these tests."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from pipeline.errors import AlreadyExists
from pipeline.storage.job_storage import JobStorage


class QuickStorage(JobStorage):
    """Whole objects or none, as `JobStorage` promises while the machine runs."""

    def create(self, path: str, data: bytes) -> None:
        final = self._final(path)
        try:
            with final.open("xb") as file:
                file.write(data)
        except FileExistsError:
            if final.read_bytes() != data:
                raise AlreadyExists(path) from None

    def replace(self, path: str, data: bytes) -> None:
        final = self._final(path)
        aside = final.with_name(f"{uuid.uuid4().hex}.aside")
        aside.write_bytes(data)
        aside.replace(final)

    def put_file(self, local: Path, path: str) -> int:
        return int(shutil.copy(local, self._final(path)).stat().st_size)

    def _final(self, path: str) -> Path:
        final = Path(self.uri, path)
        final.parent.mkdir(parents=True, exist_ok=True)
        return final
