"""Every name that a job has below `output=`. Only `JobStorage` (`_tmp`) and the demo (its pictures) add names.

job.json                     what made this job's tables
_owner.json                  which driver is at work
_status.json                 how far it is
last_run.json                how the last run ended
_runs/{time}-{random}.json   how earlier runs ended, for comparison; a bounded number of them
_waiting.parquet             videos that a run with a budget has left, and since when they wait
_listing.json                where the next listing of a watched bucket may begin
_log/{number:020d}.json      the commit log, an entry each
_log/roll-{number}.parquet   the log up to an entry, summed up
_busy/                       which compaction or prune is at work
_digest/{table}-{random}.parquet  rows of `videos` and `tracks` of many small segments: a shortcut for readers
_digest/verdicts-{random}.parquet  rows of many files of verdicts: another one
_sessions/{hash}/            a video saved in its middle: a document, rows and the session's state
_detections/{hash}.parquet   boxes of a detector that were given as text, as workers read them
reviews/{kind}-{time}-{random}.parquet  what reviewers said of tracks (verdicts) and how they mended them (corrections)
reviews/handout-{hash}.parquet  what was handed out to be reviewed in another program, shape by shape
reviews/cycles-{time}-{random}.parquet  which tracks a walk back led to their prompts
_former/{table}/{segment}.parquet  segments that count no more, with rows of earlier rounds of reviews
_verify/                     tracks that are walked back to their prompts, until that is done: tables, and a job
masks/ tracks/ videos/       the tables: {table}/{segment}.parquet
_tmp/                        on local disk: files that are being written; in any store: probes of `JobStorage`
"""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import UTC, datetime
from pathlib import PurePosixPath

JOB = "job.json"
OWNER = "_owner.json"
STATUS = "_status.json"
LAST_RUN = "last_run.json"
RUNS = "_runs"
WAITING = "_waiting.parquet"
LISTING = "_listing.json"
LOG = "_log"
ROLL_UP_STEM = "roll-"
SESSIONS = "_sessions"
DIGESTS = "_digest"
BUSY = "_busy"
REVIEWS = "reviews"
DETECTIONS = "_detections"
FORMER = "_former"
VERIFY = "_verify"
OWN_NAMES = (
    JOB,
    OWNER,
    STATUS,
    LAST_RUN,
    RUNS,
    WAITING,
    LISTING,
    LOG,
    SESSIONS,
    DIGESTS,
    BUSY,
    REVIEWS,
    DETECTIONS,
    FORMER,
)
"""What the job alone writes beside its tables. `_verify` is not meant, because a job lies in it, which writes there."""
VERIFY_WALKS = f"{VERIFY}/walks.parquet"
VERIFY_VIDEOS = f"{VERIFY}/videos.parquet"
VERIFY_PROMPTS = f"{VERIFY}/prompts.parquet"
VERIFY_JOB = f"{VERIFY}/job"

_SESSION_DOCUMENT = "latest.json"
_SEGMENT_NAME = re.compile(r"e\d{6,}-[A-Za-z0-9\-]*-[0-9a-f]{12}")


def log_entry(number: int) -> str:
    """Path of one entry of the commit log."""
    return f"{LOG}/{number:020d}.json"


def roll_up(number: int) -> str:
    """Path of the sum of all entries before entry `number`. Paths in ascending order are roll-ups in theirs."""
    return f"{LOG}/{ROLL_UP_STEM}{number:020d}.parquet"


def number_of_roll_up(path: str) -> int:
    """The inverse of `roll_up`."""
    return int(PurePosixPath(path).name.removeprefix(ROLL_UP_STEM).removesuffix(".parquet"))


def new_segment_name(epoch: int, worker_id: str) -> str:
    """A name for a segment that nobody else uses: epoch, worker, random part."""
    worker = re.sub(r"[^A-Za-z0-9\-]+", "-", worker_id)[:40]
    return f"e{epoch:06d}-{worker}-{uuid.uuid4().hex[:12]}"


def epoch_of_segment(name: str) -> int:
    """The epoch in a name that `new_segment_name` made."""
    return int(name[1:].partition("-")[0])


def past_run(started_at: datetime) -> str:
    """A new path for how a run ended. Paths in ascending order are runs in theirs."""
    return f"{RUNS}/{started_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}.json"


def start_of_run(path: str) -> datetime | None:
    """When a run began that has this path; None: none of ours made the object."""
    stamp = PurePosixPath(path).name.partition("-")[0]
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def busy_mark(work: str, writer_id: str) -> str:
    """Path of the object that says that a process does this work."""
    return f"{BUSY}/{work}-{writer_id}.json"


def new_review(kind: str, at: datetime) -> str:
    """A new path for what reviewers said. Paths of a kind in ascending order are in the order of time."""
    return f"{REVIEWS}/{kind}-{at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-{uuid.uuid4().hex[:8]}.parquet"


def claimed_object(video_id: str, object_id: int) -> str:
    """Path of the note that a reviewer has taken an object id of a video; an id may hold any letters."""
    return f"{REVIEWS}/object-{hashlib.sha256(video_id.encode()).hexdigest()[:24]}-{object_id}.json"


def handout_object(handout: str) -> str:
    """Path of what was handed out to be reviewed in another program, by the hash of what it is."""
    return f"{REVIEWS}/handout-{handout}.parquet"


def is_handout(path: str) -> bool:
    """Whether a path is one of `handout_object`."""
    return is_review("handout", path)


def id_of_handout(path: str) -> str:
    """The inverse of `handout_object`."""
    return PurePosixPath(path).stem.removeprefix("handout-")


def is_claim(path: str) -> bool:
    """Whether a path is one of `claimed_object`."""
    name = PurePosixPath(path).name
    return name.startswith("object-") and name.endswith(".json")


def is_table(path: str) -> bool:
    """Whether an object below `output=` is a table, by its name."""
    return path.endswith(".parquet")


def is_review(kind: str, path: str) -> bool:
    """Whether a path is one of `new_review` of this kind."""
    name = PurePosixPath(path).name
    return name.startswith(f"{kind}-") and name.endswith(".parquet")


def detections_object(content_hash: str) -> str:
    """Path of a table of boxes by a hash of the text that it was made of."""
    return f"{DETECTIONS}/{content_hash}.parquet"


def new_digest(table: str) -> str:
    """A new path for rows of a table of many segments, or of many files of reviews."""
    return f"{DIGESTS}/{table}-{uuid.uuid4().hex}.parquet"


def segment_object(table: str, segment: str) -> str:
    """Path of the rows of one table in a segment."""
    return f"{table}/{segment}.parquet"


def former_object(table: str, segment: str) -> str:
    """Where the rows of a segment lie that counts no more, as long as a round of reviews needs them.

    Not with the tables, which other programs read without the log.
    """
    return f"{FORMER}/{segment_object(table, segment)}"


def table_glob(table: str) -> str:
    """What names all objects of a table for other programs. It is exact after a clean end of a job."""
    return f"{table}/*.parquet"


def segment_of(path: str) -> str | None:
    """Name of the segment that an object belongs to, by its path; None: none of ours made the object."""
    name = PurePosixPath(path).name.removesuffix(".parquet")
    return name if _SEGMENT_NAME.fullmatch(name) else None


def session_folder(video_id: str) -> str:
    """Where a video is saved in its middle. Ids can be of any length, with any letters, so that a hash stands there."""
    return f"{SESSIONS}/{hashlib.sha256(video_id.encode()).hexdigest()[:32]}"


def session_document(folder: str) -> str:
    """Path of the document of a saved session, which names the other files of its folder."""
    return f"{folder}/{_SESSION_DOCUMENT}"


def is_session_document(path: str) -> bool:
    """Whether a path below `SESSIONS` is that of a saved session's document: one for each video."""
    return PurePosixPath(path).name == _SESSION_DOCUMENT


def new_session_rows() -> str:
    """A new name, within the folder of a saved session, for rows of masks."""
    return f"{uuid.uuid4().hex}.arrow"


def new_session_state() -> str:
    """A new name, within the folder of a saved session, for the state of the model's session."""
    return f"{uuid.uuid4().hex}.safetensors"
