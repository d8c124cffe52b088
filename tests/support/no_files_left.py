"""A process that for a while can open no more files."""

from __future__ import annotations

import errno
from pathlib import Path

from pipeline.storage.job_storage import JobStorage


class NoFilesLeft(JobStorage):
    """Writes end in the system's own error while there is a file `full` in its folder, and leave `refused` there."""

    def replace(self, path: str, data: bytes) -> None:
        if Path(self.uri, "full").exists():
            Path(self.uri, "refused").touch()
            raise OSError(errno.EMFILE, "Too many open files")
        super().replace(path, data)
