"""Rules for videos that are files of a folder or a glob: which id each has, and which are left for the next run."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from model import VIDEO_SUFFIXES
from pipeline.config.job_config import JobConfig
from pipeline.inputs.kept_listing import KeptListing, place_of, read_kept
from pipeline.inputs.listing_choice import ListingChoice, choose
from pipeline.storage.file_versions import changed_on_disk
from pipeline.storage.job_storage import JobStorage

_WRITTEN_AS = (
    *(".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".opdownload", ".aria2"),
    *(".!qb", ".!ut", ".inprogress", ".incomplete", ".uploading", ".writing"),
)
"""What programs put behind the name of a file while they write it, or its control file."""

_FORGOTTEN_SECONDS = 24 * 3600.0  # such a file that has not changed for a day is left over, and means nothing


@dataclass(frozen=True)
class FileRules:
    """`id_pattern` is searched for in a video's path below the folder; `None` is the path without its suffix.

    A file that changed less than `settle_seconds` ago may still be written. `now` is a clock in seconds since 1970.
    Files that changed at most `late_seconds` before the newest one came last. `choice` says how a place in a store is
    listed; `None`: in full, and nobody asks why.
    """

    id_pattern: re.Pattern[str] | None = None
    settle_seconds: float = 0.0
    now: Callable[[], float] = time.time
    late_seconds: float = 0.0
    choice: ListingChoice | None = None

    @classmethod
    def of(
        cls,
        config: JobConfig,
        storage: JobStorage | None,
        all_because: str = "",
        corrected: Collection[str] = (),
        now: Callable[[], float] = time.time,
    ) -> FileRules:
        """What a config says. `storage` is the job's, where the last run kept where to begin; `None`: list in full.

        `all_because` says why this run must see all videos; empty: it need not. So it must where videos are `corrected`
        that are to be found, wherever they lie.
        """
        given = config.input
        kept = None if storage is None else read_kept(storage, place_of(config))
        if not all_because and not frozenset(corrected).issubset(() if kept is None else kept.missing):
            all_because = "corrections came since"
        return cls(
            None if given.video_id_from is None else re.compile(given.video_id_from),
            given.settle_seconds,
            now,
            given.late_seconds,
            choose(given, kept, now(), all_because),
        )

    @property
    def kept(self) -> KeptListing | None:
        """What says where the listing begins; `None`: it is full."""
        return self.choice.before if self.choice is not None and self.choice.is_from_last else None

    def video_id(self, path: str, stem: str) -> str | None:
        """The id of the video at a path below the folder, which is `stem` without its suffix; `None` if it has none."""
        if self.id_pattern is None:
            return stem
        match = self.id_pattern.search(path)
        if match is None:
            return None
        return "/".join(part for part in match.groups() if part) if match.groups() else match[0]

    def is_young(self, changed_at: float | None) -> bool:
        """Whether a file that changed then may still be written. A time to come is of a clock that is wrong."""
        return changed_at is not None and 0 <= self.now() - changed_at < self.settle_seconds

    def is_young_on_disk(self, path: str) -> bool:
        """Whether this may still be written: a local file, or a folder by the newest file in it."""
        if not self.settle_seconds:
            return False
        place = Path(path)
        files = place.iterdir() if place.is_dir() else [place]
        return any(self.is_young(changed_on_disk(file)) for file in files)

    def is_at_work(self, changed_at: float | None) -> bool:
        """Whether somebody may be writing into a temporary file that changed then."""
        return changed_at is None or self.now() - changed_at < _FORGOTTEN_SECONDS


DEFAULT_FILE_RULES = FileRules()


def written_beside(name: str) -> str | None:
    """The name that a temporary file will have, or whose control file it is; `None` if it is none of a video."""
    stem, dot, suffix = name.rpartition(".")
    if f".{suffix}".lower() not in _WRITTEN_AS or not dot or not stem.lower().endswith(VIDEO_SUFFIXES):
        return None
    return stem
