"""`conf=verify`: an ordinary job below the output walks tracks back. Where it comes out is held against the prompt."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pycocotools import mask as coco

from pipeline import tables
from pipeline.command import ExitCode
from pipeline.commits.job_record import JobRecord, read_record
from pipeline.config.job_config import JobConfig
from pipeline.config.schedule_config import AfterConfig
from pipeline.config.verify_config import VerifyConfig
from pipeline.driver import driver
from pipeline.errors import ConfigError, InputError, NewerVersion, NoHistory, UnusableStore
from pipeline.inputs.write import prompts_table, videos_table
from pipeline.output.layout import VERIFY, VERIFY_JOB, VERIFY_PROMPTS, VERIFY_VIDEOS, VERIFY_WALKS
from pipeline.records import Status
from pipeline.redact import HIDDEN, redact_uri
from pipeline.reviews.cycles import write_cycles
from pipeline.reviews.live_cycles import made_at
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.parquet import parquet_bytes
from pipeline.storage.uris import is_local
from pipeline.tables import JobTables
from pipeline.text import counted, say
from pipeline.verify.agreement import agreement
from pipeline.verify.choosing import WALKS, choose, walks_of
from pipeline.verify.sources import sources_of

_log = logging.getLogger(__name__)

_LOST = 0.5


def run(config: JobConfig, parts: driver.Parts = driver.DEFAULT_PARTS) -> int:
    """Walk tracks back and return the exit code. The same command goes on where a run was stopped.

    It is `FAILURES` if none of the videos could be read: nothing is known of any track then.

    Raises `ConfigError` if the output is no finished job, or if its videos cannot be found.
    """
    try:
        return _run(config, parts)
    except (InputError, NewerVersion, NoHistory, UnusableStore) as error:
        raise ConfigError(f"conf=verify: {error}") from error


def _run(config: JobConfig, parts: driver.Parts) -> int:
    assert config.output is not None
    assert config.verify is not None
    storage = JobStorage(config.output, {} if is_local(config.output) else config.storage_options, config.single_driver)
    record = _record(storage, config)
    walks = _begun(storage)
    if walks is None:
        walks = _planned(config, config.verify)
        if not walks.num_rows:
            say("verify   no track is left to walk back")
            return ExitCode.DONE
        if not _write_inputs(storage, config, record, walks):
            return ExitCode.DONE
    code = driver.run(_walking(config, record), replace(parts, output_stays=False))
    if code not in (ExitCode.DONE, ExitCode.FAILURES):
        return code
    rows = list(_results(config, walks))
    if rows:
        write_cycles(storage, rows)
    storage.delete_tree(VERIFY)
    _tell(rows, walks.num_rows - len(rows))
    return ExitCode.DONE if rows else ExitCode.FAILURES


def _record(storage: JobStorage, config: JobConfig) -> JobRecord:
    record = read_record(storage)
    if record is None:
        raise ConfigError(f"output={storage} is no job: conf=verify checks the tracks of one that was labeled before")
    hidden = [key for key, place in record.tables.items() if place and HIDDEN in str(place) and not config.videos]
    if hidden:
        raise ConfigError(
            f"the job's {hidden[0]}= has a secret, which the job does not keep: give videos=, a table with column uri"
        )
    return record


def _begun(storage: JobStorage) -> pa.Table | None:
    """The walks of a run that was stopped; they are written last of its inputs."""
    try:
        return pq.read_table(io.BytesIO(storage.read(VERIFY_WALKS)))
    except FileNotFoundError:
        return None


def _planned(config: JobConfig, verify: VerifyConfig) -> pa.Table:
    job = tables.open(str(config.output), config.storage_options)
    rows = job.steadily(lambda: list(walks_of(job, choose(job, verify), verify.min_predicted_iou)))
    return pa.Table.from_pylist(rows, WALKS)


def _write_inputs(storage: JobStorage, config: JobConfig, record: JobRecord, walks: pa.Table) -> bool:
    """Tables of videos and prompts for the walks: the sure mask of each track is its only prompt.

    Returns whether there is anything to walk; else nothing is written.
    """
    rows = walks.to_pylist()
    found = sources_of(config, record, storage, {row["video_id"]: row["uri"] for row in rows})
    cuts = {row["video_id"]: row["cuts_seconds"] for row in rows}
    missing = {row["video_id"] for row in rows} - found.keys()
    if missing:
        _log.warning("%s not checked, because their bytes are in a table", counted(len(missing), "video"))
    prompts = [
        {
            "video_id": row["video_id"],
            "object_id": row["object_id"],
            "frame_index": row["from_frame"],
            "mask_rle": row["from_rle"],
        }
        for row in rows
        if row["video_id"] in found
    ]
    storage.delete_tree(VERIFY)
    if not prompts:
        return False
    videos = videos_table([{"video_id": name, "cuts_seconds": cuts[name], **source} for name, source in found.items()])
    storage.replace(VERIFY_VIDEOS, parquet_bytes(videos))
    storage.replace(VERIFY_PROMPTS, parquet_bytes(prompts_table(prompts)))
    storage.create(VERIFY_WALKS, parquet_bytes(walks))
    say(f"verify   {counted(len(prompts), 'track')} of {counted(len(found), 'video')} are walked back")
    return True


def _walking(config: JobConfig, record: JobRecord) -> JobConfig:
    """The job that walks: it is the one that labeled, but for the way, the tables, and where and how it runs."""
    before = record.job_config()
    output = str(config.output).rstrip("/")
    model = before.model.model_copy(update={"device": config.model.device, "compile": config.model.compile})
    own = ("storage_options", "single_driver", "cluster", "worker", "flush", "decode", "log_file", "checkpoint")
    return before.model_copy(
        update={
            **{name: getattr(config, name) for name in own},
            "model": model,
            "videos": f"{output}/{VERIFY_VIDEOS}",
            "prompts": f"{output}/{VERIFY_PROMPTS}",
            "output": f"{output}/{VERIFY_JOB}",
            "propagate": before.propagate.model_copy(update={"direction": "backward"}),
            "corrections": None,
            "detections": None,
            "columns": type(before.columns)(),
            "input": type(before.input)(),
            "box_format": None,
            "keep_columns": (),
            "retry": (),
            "relabel": False,
            "prune": False,
            "changed": None,
            "shots": "table",
            "discover": None,
            "verify": None,
            "max_failed_fraction": 1.0,
            "stop_after": None,
            "max_cost": None,
            "notify": None,
            "after": AfterConfig(),
        }
    )


def _results(config: JobConfig, walks: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows of `CYCLES`: where each walk came out, held against the mask that the track had there.

    A walk in a video that could not be labeled now has none, so that the next run takes it again: its file may be back.
    """
    labeled = tables.open(str(config.output), config.storage_options)
    walked = tables.open(f"{str(config.output).rstrip('/')}/{VERIFY_JOB}", config.storage_options)
    now = datetime.now(UTC)
    tried = set(walked.videos(where=f"status != '{Status.FAILED.value}'")["video_id"].to_pylist())
    for video_id, group in groupby(walks.to_pylist(), key=lambda walk: str(walk["video_id"])):
        if video_id not in tried:
            continue
        own = list(group)
        made = made_at(labeled.videos, partial(labeled.tracks, rejected=True), [video_id])
        there, here = (_masks_of(job, video_id, own) for job in (walked, labeled))
        for walk in own:
            kept = {name: walk[name] for name in ("video_id", "object_id", "from_frame", "to_frame", "labeled_at")}
            track = _track(there, walk)
            is_same = made.get((video_id, walk["object_id"])) == walk["labeled_at"]
            both = agreement(_track(here, walk), track, walk["from_frame"], _size(walk)) if is_same else None
            yield kept | {
                "cycle_iou": _iou(_code_at(track, walk["to_frame"]), walk["to_rle"]),
                "checked_at": now,
                "walks_iou": None if both is None else both.iou,
                "parting_frame": None if both is None else both.parting_frame,
            }


def _masks_of(job: JobTables, video_id: str, walks: Sequence[dict[str, Any]]) -> pa.Table:
    """The masks of a video on the frames of these walks, sorted by object and frame."""
    first, last = min(walk["to_frame"] for walk in walks), max(walk["from_frame"] for walk in walks)
    where = pc.field("object_id").isin([walk["object_id"] for walk in walks])
    where &= (pc.field("frame_index") >= first) & (pc.field("frame_index") <= last)
    rows = job.masks([video_id], columns=["object_id", "frame_index", "rle"], where=where, rejected=True).to_table()
    return rows.sort_by([("object_id", "ascending"), ("frame_index", "ascending")])


def _track(masks: pa.Table, walk: dict[str, Any]) -> pa.Table:
    frames = pc.field("frame_index")
    is_between = (frames >= walk["to_frame"]) & (frames <= walk["from_frame"])
    return masks.filter((pc.field("object_id") == walk["object_id"]) & is_between)


def _code_at(track: pa.Table, frame_index: int) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = track.filter(pc.field("frame_index") == frame_index)["rle"].to_pylist()
    return found[0] if found else None


def _size(walk: dict[str, Any]) -> tuple[int, int]:
    height, width = walk["from_rle"]["size"]
    return height, width


def _iou(found: dict[str, Any] | None, expected: dict[str, Any] | None) -> float | None:
    """IoU of two masks as run lengths; `None` where one is missing, 0 where one alone is empty."""
    if found is None or expected is None or found["size"] != expected["size"]:
        return None
    if coco.area(found) + coco.area(expected) == 0:
        return 1.0
    return float(np.asarray(coco.iou([found], [expected], [0]))[0, 0])


def _tell(rows: Sequence[dict[str, Any]], num_left: int) -> None:
    if not rows:
        say(f"verify   nothing is checked: no video of the {counted(num_left, 'track')} can be read")
        say("  bring the videos back, or name their new places by videos=, and give the same command again")
        return
    known = [row for row in rows if row["cycle_iou"] is not None]
    lost = sorted((row for row in known if row["cycle_iou"] < _LOST), key=lambda row: row["cycle_iou"])
    do, their = ("does", "its") if len(lost) == 1 else ("do", "their")
    say(f"verify   {counted(len(known), 'track')} walked back, {len(lost)} of them {do} not get to {their} prompt")
    for row in lost[:10]:
        say(
            f"  {row['cycle_iou']:.2f}  {redact_uri(row['video_id'])}  object {row['object_id']}  "
            f"frame {row['from_frame']} back to {row['to_frame']}"
        )
    if len(known) < len(rows):
        say(f"  {counted(len(rows) - len(known), 'walk')} failed")
    if num_left:
        say(f"  {counted(num_left, 'track')} not checked, because their videos cannot be read: the next run takes them")
