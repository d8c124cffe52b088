"""Whole jobs for the tests: inputs of drawn clips, the command, and what it left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline import tables
from pipeline.commits.read_history import read_history
from pipeline.config.compose import job_config
from pipeline.config.job_config import JobConfig
from pipeline.demo.inputs import seed_prompts
from pipeline.output.schema import MASKS
from pipeline.run import main
from pipeline.storage.job_storage import JobStorage
from tests.support.clips import moving_clip, write_job_inputs


@dataclass(frozen=True)
class Tables:
    """Masks and tracks, sorted, and the rows of videos by id."""

    masks: pa.Table
    tracks: pa.Table
    videos: Mapping[str, dict[str, Any]]

    @property
    def statuses(self) -> dict[str, str]:
        return {video_id: row["status"] for video_id, row in self.videos.items()}

    def equals(self, other: Tables) -> bool:
        """Equal rows: never times, workers or attempts."""
        return bool(self.masks.equals(other.masks) and self.tracks.equals(other.tracks))


@dataclass(frozen=True)
class JobFolder:
    """One job in a folder: `in/` holds its tables, `out` is its output.

    Its model is mini, or what `checkpoint` holds: the network of 64 × 64 of `tests.support.sessions.save_small` for
    jobs whose masks need not be good.
    """

    folder: Path
    checkpoint: Path | None = None

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def arguments(self, *overrides: str) -> list[str]:
        return [
            f"videos={self.folder / 'in' / 'videos.parquet'}",
            f"prompts={self.folder / 'in' / 'prompts.parquet'}",
            f"output={self.output}",
            *([f"model.checkpoint={self.checkpoint}"] if self.checkpoint else []),
            *overrides,
        ]

    def config(self, *overrides: str) -> JobConfig:
        """The typed config of the job, for `driver.run` with parts of a test's own."""
        return job_config("label", self.arguments(*overrides))

    def run(self, *overrides: str) -> int:
        """The job in this process, without Ray."""
        return main(self.arguments("cluster=serial", *overrides))

    def write(self, names: Sequence[str], num_frames: int = 3, num_objects: int = 1) -> JobFolder:
        """Inputs: a clip and a box per object for each name; the same name is always the same clip."""
        clips = [
            moving_clip(name, num_frames=num_frames, num_objects=num_objects, seed=sum(map(ord, name)))
            for name in names
        ]
        write_job_inputs(self.folder / "in", clips, [row for clip in clips for row in seed_prompts(clip, ["box"])])
        return self

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Rows of an input table."""
        found: list[dict[str, Any]] = pq.read_table(self.folder / "in" / f"{table}.parquet").to_pylist()
        return found

    def rewrite(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Replaces an input table."""
        path = self.folder / "in" / f"{table}.parquet"
        pq.write_table(pa.Table.from_pylist(list(rows), pq.read_schema(path)), path)

    def tables(self) -> Tables:
        """The output through the log, as the job wrote it."""
        job = tables.open(str(self.output), reviews=False)
        masks = job.masks().to_table()
        tracks = job.tracks().drop_columns(["labeled_at"])
        return Tables(_sorted(masks), tracks, {row["video_id"]: row for row in job.videos().to_pylist()})

    def changes(self, entry: int = 0) -> dict[str, tuple[str, str]]:
        """What became of each video that changed since an entry of the log, and why; the log alone says it."""
        history = read_history(JobStorage(str(self.output)), entry)
        return {change.video_id: (str(change.kind), str(change.why)) for change in history.changes}

    def next_entry(self) -> int:
        """How many entries the log has."""
        return read_history(JobStorage(str(self.output))).entry

    def files(self) -> dict[str, int]:
        """Every file of the output with the time of its last change."""
        return {str(path): path.stat().st_mtime_ns for path in self.output.rglob("*") if path.is_file()}


def read_plainly(output: Path) -> pa.Table:
    """All masks as any Parquet reader sees them, without the log."""
    return _sorted(ds.dataset(output / "masks", schema=MASKS).to_table())


def _sorted(masks: pa.Table) -> pa.Table:
    return masks.sort_by([(key, "ascending") for key in ("video_id", "object_id", "frame_index")])
