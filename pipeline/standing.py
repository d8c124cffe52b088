"""How a job stands, running or not: its state in a word, counts, and why videos and objects failed. It only reads.

`read_status` finds everything out once; `pipeline.status` prints it, and the report of a job draws it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from pipeline.command import ExitCode
from pipeline.commits import owner, status_file
from pipeline.commits.given_up import retries_of
from pipeline.commits.log import CommitLog, no_job
from pipeline.commits.round_state import FIRST_ROUND
from pipeline.commits.snapshot import JobState
from pipeline.commits.status_file import RunStatus
from pipeline.errors import NewerVersion
from pipeline.inputs.reviewed_videos import taken_back, with_other_corrections
from pipeline.output.saved_sessions import num_saved
from pipeline.records import BAD, NO_RETRIES, Ending, ObjectCounts, Retries, Status
from pipeline.reviews.reviewed import ReviewedVideo, read_reviews
from pipeline.reviews.verdicts import Verdict
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from pipeline.text import OBJECT, WARNING, Causes, counted, one_line

_GOES_ON = "the same command goes on from here"
_SILENT_SECONDS = 60.0
_NUM_EXAMPLES = 3
_ENDED: Mapping[Ending, ExitCode] = {
    Ending.DONE: ExitCode.DONE,
    Ending.BUDGET: ExitCode.DONE,
    Ending.STOPPED: ExitCode.STOPPED,
    Ending.FAILURES: ExitCode.FAILURES,
}


@dataclass(frozen=True)
class Standing:
    """The state of a job in one word, in a sentence, and as the exit code for `--fail-if-unfinished`.

    The words are `new`, `running`, `silent`, `interrupted`, and the names of `Ending` in lower case. `refused` is why
    what the last driver wrote of its run is not read.
    """

    name: str
    sentence: str
    exit_code: ExitCode
    refused: str = ""


@dataclass(frozen=True)
class Waiting:
    """Videos whose corrections no run has taken in. The next one does that of `num`.

    Those that no table of the last run had are `gone`: their corrections wait until a table has them.
    """

    num: int
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReviewStanding:
    """Where a job stands with reviews: its round, and the oldest one whose tables can be read.

    `num_verdicts` tracks have a verdict on their labels of now, of which `num_rejected` are rejected. `waiting` are
    videos that people have corrected since. `num_again` videos are labeled again in this round.
    `set_back` are those that could not be and have the rows that they had, by how that ended; where the corrections
    with which it failed were withdrawn, they are not among these, but `withdrawn`.
    """

    round: int
    oldest_round: int
    num_verdicts: int
    num_rejected: int
    waiting: Waiting
    num_again: int = 0
    set_back: Mapping[Status, int] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()

    @property
    def num_set_back(self) -> int:
        """How many videos could not be labeled again and have the rows that they had."""
        return sum(self.set_back.values())

    def counts(self) -> dict[str, int]:
        """All of it as fields of a document."""
        found = asdict(self)
        del found["set_back"], found["withdrawn"], found["waiting"]
        waiting = {"num_waiting": self.waiting.num, "num_gone": len(self.waiting.gone)}
        return found | waiting | {"num_set_back": self.num_set_back}

    def in_words(self) -> str:
        """All of it; empty where nobody has reviewed anything."""
        words = [f"round {self.round}"] if self.round > FIRST_ROUND or self.num_verdicts else []
        if self.num_verdicts:
            rejected = f" ({self.num_rejected} rejected)" if self.num_rejected else ""
            words.append(f"{counted(self.num_verdicts, 'track')} with a verdict{rejected}")
        if self.waiting.num:
            words.append(f"corrections of {counted(self.waiting.num, 'video')} wait for the next run")
        if self.waiting.gone:
            words.append(_gone_in_words(self.waiting.gone))
        if self.num_again:
            are, its = ("is", "its") if self.num_again == 1 else ("are", "their")
            words.append(f"{counted(self.num_again, 'video')} {are} labeled again, with {its} former masks until then")
        return "; ".join(words)


@dataclass(frozen=True)
class JobStatus:
    """All that is found out of a job. `run` is what the last driver wrote of its run."""

    storage: JobStorage
    standing: Standing
    state: JobState
    objects: ObjectCounts
    num_saved: int
    causes: Causes
    run: RunStatus | None
    reviews: ReviewStanding

    def retries(self, kind: str = "") -> Retries:
        """What `retry=` and `max_attempts=` of the last run mean for the bad videos, or those that a kind of cause hit.

        An earlier version did not write these keys down.
        """
        run = self.run
        statuses = () if run is None else run.retry
        max_attempts = NO_RETRIES.max_attempts if run is None or run.max_attempts is None else run.max_attempts
        return retries_of(statuses, max_attempts, self.state.finished, self.reviews.withdrawn, kind)


def read_status(storage: JobStorage) -> JobStatus:
    """How the job stands now.

    Raises:
        FileNotFoundError: there is no job.
        NewerVersion: a newer version of this program has written the log or drives the job.
        StorageError: the store does not answer.
        InputError: a file below `reviews/` is no table of reviews.
    """
    state = CommitLog(storage, "reader").load()
    driver = owner.look(storage)
    if state.next_entry == 0 and driver is None:
        raise no_job(storage)
    try:
        run, refused = status_file.read_status(storage), ""
    except NewerVersion as error:
        run, refused = None, str(error)
    causes, objects = Causes(), state.objects()
    job = JobTables(storage, state, reviews=True)
    reviewed = read_reviews(storage)
    withdrawn = taken_back(reviewed, state.finished, state.finished.setbacks)
    _add_videos(causes, job, withdrawn)
    objects = _add_objects(causes, objects, job)
    standing = replace(_standing(run, driver), refused=refused)
    gone = frozenset(() if run is None else run.gone)
    reviews = replace(_reviews(job, reviewed, state.num_set_back(withdrawn), gone), withdrawn=withdrawn)
    return JobStatus(storage, standing, state, objects, num_saved(storage), causes, run, reviews)


def _gone_in_words(video_ids: Sequence[str]) -> str:
    """Corrected videos of which the last run has found none in its tables, and what can be done."""
    names = ", ".join(repr(one_line(name)) for name in video_ids[:_NUM_EXAMPLES])
    more = ", …" if len(video_ids) > _NUM_EXAMPLES else ""
    are, them, their = ("is", "it", "its") if len(video_ids) == 1 else ("are", "them", "their")
    return (
        f"{counted(len(video_ids), 'corrected video')} {are} gone, in no table of the last run ({names}{more}): put "
        f"{them} back, withdraw the corrections, or let {their} masks and reviews go with prune=true"
    )


def _reviews(
    job: JobTables,
    reviewed: Mapping[str, ReviewedVideo],
    set_back: Mapping[Status, int],
    gone: Collection[str],
) -> ReviewStanding:
    opinions, state = job.opinions(), job.state
    num_rejected = sum(opinion.verdict is Verdict.REJECT for opinion in opinions.values())
    again = state.set_aside()
    waiting = set(with_other_corrections(reviewed, state.finished)) - again
    found = Waiting(len(waiting.difference(gone)), tuple(sorted(waiting.intersection(gone))))
    rounds = state.round, state.oldest_round
    return ReviewStanding(*rounds, len(opinions), num_rejected, found, len(again), set_back)


def _add_videos(causes: Causes, job: JobTables, withdrawn: Collection[str]) -> None:
    """Why videos failed or were quarantined, also those that keep their former rows. Reads few segments.

    Of `withdrawn` ones nobody wants the labels that failed.
    """
    set_back = ((name, one) for name, one in job.state.finished.setbacks.items() if name not in withdrawn)
    for video_id, setback in set_back:
        causes.add(setback.status, setback.error_class, setback.message, video_id)
    bad = [video_id for video_id, finished in job.state.finished.items() if finished.status in BAD]
    if bad:
        for row in job.videos(bad).select(["video_id", "status", "error_class", "message"]).to_pylist():
            causes.add(row["status"], row["error_class"], row["message"], row["video_id"])


def _add_objects(causes: Causes, objects: ObjectCounts, job: JobTables) -> ObjectCounts:
    """Why objects of `ok` videos failed, and of what they warn. Reads only the segments that hold such videos.

    Returns `objects` with the numbers of videos that an earlier version did not count.
    """
    finished = job.state.finished
    noted = [
        video_id
        for video_id, tally in finished.tallies.items()
        if (tally.num_tracks_failed != 0 or tally.num_tracks_warned) and finished[video_id].status is Status.OK
    ]
    if not noted:
        return objects
    tracks = job.noted_tracks(noted)
    for track in tracks:
        kind = WARNING if track["status"] == Status.OK else OBJECT
        causes.add(kind, "", track["message"], f"{track['video_id']} object {track['object_id']}")
    if not objects.num_videos_uncounted:
        return objects
    failed = [track["video_id"] for track in tracks if track["status"] != Status.OK]
    return ObjectCounts(objects.num, len(failed), len(tracks) - len(failed), len(set(failed)))


def _standing(run: RunStatus | None, driver: owner.OwnerSeen | None) -> Standing:
    """`_owner.json` counts more than `_status.json`, which a killed driver leaves behind as it was."""
    if driver is not None and driver.is_gone and run is not None and run.state == "done":
        driver = None  # killed after its last word, before it could take its own file away
    if driver is None:
        if run is None:
            return Standing("new", "no driver, nothing written yet", ExitCode.ENVIRONMENT)
        return _last_word(run.state)
    if driver.is_gone:
        sentence = f"interrupted: driver {driver.writer_id} was killed; {_GOES_ON}"
        return Standing("interrupted", sentence, ExitCode.ENVIRONMENT)
    if driver.silent_seconds > _SILENT_SECONDS:
        silence = f"no sign of driver {driver.writer_id} for {driver.silent_seconds:.0f} s"
        return Standing("silent", f"unclear: {silence}; if it is dead, {_GOES_ON}", ExitCode.OWNED)
    sentence = f"running: driver {driver.writer_id}, last sign {driver.silent_seconds:.0f} s ago"
    return Standing("running", sentence, ExitCode.OWNED)


def _last_word(state: str) -> Standing:
    """What the last driver wrote: `running` while it labels, at its end the name of an `Ending`."""
    if state == "running":
        return Standing("interrupted", f"interrupted: the last driver was killed; {_GOES_ON}", ExitCode.ENVIRONMENT)
    if state.upper() not in Ending.__members__:
        return Standing(state, f"no driver; the last run wrote: {state}", ExitCode.ENVIRONMENT)
    ending = Ending[state.upper()]
    code = _ENDED.get(ending, ExitCode.ENVIRONMENT)
    if ending is Ending.DONE:
        return Standing(state, f"finished: {ending.value}", code)
    return Standing(state, f"{'' if ending is Ending.STOPPED else 'stopped: '}{ending.value}; {_GOES_ON}", code)
