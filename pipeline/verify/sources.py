"""Where the videos of a job are, and which part of each was labeled: as its tables say, or its own rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.commits.job_record import JobRecord
from pipeline.config.job_config import JobConfig
from pipeline.driver.detections import as_parquet
from pipeline.ids import IdIndex
from pipeline.inputs.address_rules import address_rules
from pipeline.inputs.file_rules import FileRules
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.naming import InputNaming
from pipeline.inputs.videos import read_videos
from pipeline.storage.job_storage import JobStorage


def sources_of(
    config: JobConfig, record: JobRecord, storage: JobStorage, uris: Mapping[str, str | None]
) -> dict[str, dict[str, Any]]:
    """`uri`, `start_seconds` and `end_seconds` of these videos, as the job's tables have them now.

    `uris` by id are what the job's rows say, for those that no table has any more. A video whose bytes lie in a table
    has none.
    """
    before = record.job_config()
    # A table of prompts or boxes that lies among the videos is none of videos, and keys of columns may be its own.
    boxes = None if before.prompts else as_parquet(_with_own_access(before, config), storage)
    read = InputTables(
        config.videos or before.videos,
        before.prompts if boxes is None else boxes.read_from,
        config.storage_options,
        naming=InputNaming.of(before),
        corrections=before.corrections or (),
        rules=address_rules(before),
        files=FileRules.of(before, None),
    )
    videos, _ = read_videos(read)
    places = IdIndex(videos.ids.column).find(pa.array(list(uris), pa.string()))
    found: dict[str, dict[str, Any]] = {video_id: {"uri": uri} for video_id, uri in uris.items() if uri}
    for video_id, place in zip(uris, places.tolist(), strict=True):
        if place >= 0:
            uri, times = videos.uri(place), videos.time_range(place)
            found.pop(video_id, None)
            if uri is not None:
                found[video_id] = {"uri": uri, "start_seconds": times.start_seconds, "end_seconds": times.end_seconds}
    return found


def _with_own_access(before: JobConfig, config: JobConfig) -> JobConfig:
    """The config of a job with the credentials of this run, because a job keeps none."""
    return before.model_copy(update={"storage_options": config.storage_options})
