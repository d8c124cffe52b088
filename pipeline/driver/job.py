"""A job before anything is labeled: opened, planned, and brought up to date."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.job_record import JobRecord, make_record, read_record, write_record
from pipeline.commits.log import CommitLog
from pipeline.commits.owner import new_writer_id
from pipeline.config.job_config import JobConfig
from pipeline.driver.detections import as_parquet
from pipeline.driver.limits import FailureBudget
from pipeline.driver.log_file import log_video
from pipeline.driver.losses import check_losses
from pipeline.driver.number_format import with_numbers
from pipeline.driver.places import check_free, check_place
from pipeline.driver.prune import is_pruned, prune
from pipeline.driver.replaced_files import with_replaced_files
from pipeline.driver.retries import to_try_again, with_other_files
from pipeline.driver.rounds import end_round, left_the_round, take_in
from pipeline.driver.weights import resolve_weights
from pipeline.errors import ConfigError
from pipeline.inputs.address_rules import address_rules
from pipeline.inputs.file_rules import FileRules
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.naming import InputNaming
from pipeline.inputs.plan import Plan, make_plan
from pipeline.inputs.reviewed_videos import with_other_corrections
from pipeline.output.saved_sessions import delete_all
from pipeline.output.segments import list_segments
from pipeline.records import BAD, Ending, Reason, Status, Weights
from pipeline.redact import HIDDEN, redact_uri
from pipeline.reviews.reviewed import ReviewedVideo, read_reviews
from pipeline.reviews.verdicts import digest_verdicts
from pipeline.seeds.cuts import check_installed
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.uris import absolute_place, is_local, local_path
from pipeline.text import counted

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A job as the driver found it: where it lies, what its log says, what this run is and what earlier runs were.

    `num_entries` is the length of the log at that time. If it has grown by more than this driver's claim, another
    driver was at work in between. `numbers_are_resolved`: the config was given `model.dtype=auto` and says now what
    that is.
    """

    config: JobConfig
    storage: JobStorage
    log: CommitLog
    weights: Weights
    record: JobRecord
    record_before: JobRecord | None
    num_entries: int
    numbers_are_resolved: bool = False

    @property
    def relabels_all(self) -> bool:
        """Whether all masks are made again, because earlier ones are of another model or of other options."""
        return self.record_before is not None and self.record_before.fingerprint != self.record.fingerprint


def open_job(config: JobConfig, *, may_differ: bool = False) -> Job:
    """The job at `output`, with its log.

    Raises `ConfigError` if another model or other options made its masks, unless it `may_differ`: for whoever asks what
    would be labeled again.
    """
    # A worker may run in another folder than this process.
    places = {key: getattr(config, key) for key in ("videos", "prompts", "detections", "output")}
    corrections = None if config.corrections is None else tuple(map(absolute_place, config.corrections))
    config = config.model_copy(
        update={"corrections": corrections, **{key: place and absolute_place(place) for key, place in places.items()}}
    )
    assert config.output is not None
    options = {} if is_local(config.output) else config.storage_options
    storage = JobStorage(config.output, options, config.single_driver)
    before = read_record(storage)
    if before is None:
        check_free(storage)
    if not config.prompts and config.discover is None:
        config = _with_tables_of(before, config)
    _check_apart(config)
    check_place("output", config.output)
    if config.shots == "detect":
        check_installed()
    weights = resolve_weights(config, before)
    given, config = config.model.dtype, with_numbers(config, before)
    record = make_record(config, weights)
    log = CommitLog(storage, new_writer_id())
    state = log.load()
    num_entries = state.next_entry
    if not config.relabel and not may_differ:
        _check_same(before, record, storage, num_finished=len(state.finished))
    return Job(config, storage, log, weights, record, before, num_entries, given != config.model.dtype)


def plan_job(job: Job) -> Plan:
    """What the input tables ask for and the log does not have.

    Raises `ConfigError` if the plan would take masks away that nobody has asked to remove.
    """
    config = job.config
    retry = to_try_again(config, job.log.state, job.storage)
    reviews = _reviews(job, retry)
    if job.log.state.finished.setbacks:  # perhaps of corrections that were withdrawn
        retry = to_try_again(config, job.log.state, job.storage, reviews)
    boxes = None if config.prompts else as_parquet(config, job.storage)
    if boxes is None:
        return _planned(job, config.prompts, reviews, retry)
    with boxes.named_as_given():
        plan = _planned(job, boxes.read_from, reviews, retry)
    return boxes.publish(job.storage, plan)


def _planned(job: Job, prompts: str | None, reviews: Mapping[str, ReviewedVideo], retry: Collection[str]) -> Plan:
    config, state = job.config, job.log.state
    needs = {
        "prune=true": config.prune,
        "all is labeled again": job.relabels_all,
        "corrections= may be of any video": bool(config.corrections) and config.input.listing == "auto",
    }
    tables = InputTables(
        config.videos,
        prompts,
        config.storage_options,
        naming=InputNaming.of(config),
        corrections=config.corrections or (),
        rules=address_rules(config),
        files=FileRules.of(
            config,
            job.storage,
            next((why for why, is_so in needs.items() if is_so), ""),
            # A listing that begins in the middle would leave out videos that people have corrected.
            corrected=with_other_corrections(reviews, state.finished),
        ),
    )
    plan = make_plan(tables, state.finished, retry, reviews)
    _check_nothing_vanishes(job, plan)
    if job.relabels_all:
        return plan.again({})
    return with_other_files(with_replaced_files(plan, config, state, retry), config, state, retry)


def _reviews(job: Job, retry: Collection[str]) -> Mapping[str, ReviewedVideo]:
    """What people said, by video.

    With `reviews=false` that is what earlier rounds took in: whatever a video is labeled again for, that is not lost.
    Videos that are tried again or in the middle of a round are labeled with all that was said.
    """
    state = job.log.state
    if not state.next_entry:
        return {}
    begun = {*retry, *state.formers, *state.tried}

    def taken_in(video_id: str) -> Collection[str] | None:
        if video_id in begun:
            return None
        before = state.finished.get(video_id)
        return ("",) if before is None else before.review_hashes

    return read_reviews(job.storage, None if job.config.reviews else taken_in)


def _check_nothing_vanishes(job: Job, plan: Plan) -> None:
    """`plan` is made for what the log has now, whether or not all of that is to be labeled again."""
    if job.config.discover is None:  # objects that are found may be others when they are found anew
        check_losses(plan, job.storage, job.log.state, are_meant=job.config.prune)
    if job.relabels_all and plan.num_former and not job.config.prune:
        raise ConfigError(
            f"relabel=true would remove the masks of {counted(plan.num_former, 'video')} that no table has any more, "
            "because they are of another model or of other options. Put the videos into the tables, or let their masks "
            "go with prune=true."
        )


def _with_tables_of(before: JobRecord | None, config: JobConfig) -> JobConfig:
    """`corrections=` without `prompts=`: they add to the tables of the last run, which `job.json` names."""
    last = before.tables if before else {}
    if not last.get("prompts"):
        raise ConfigError(
            f"corrections= adds to the prompts of a job, and {redact_uri(str(config.output))} does not say where they "
            "are: give prompts= as well"
        )
    corrections = tuple(dict.fromkeys((*(last["corrections"] or ()), *(config.corrections or ()))))
    hidden = [key for key, place in last.items() if place and HIDDEN in str(place)]
    if hidden:
        raise ConfigError(
            f"corrections= adds to the tables of the last run, whose {hidden[0]}= has a secret, which the job does not "
            "keep: give prompts=, and what else the last run was given"
        )
    found = {"prompts": last["prompts"], "videos": config.videos or last["videos"], "corrections": corrections}
    named = " ".join(f"{key}={value}" for key, value in found.items() if value and key != "corrections")
    _log.info("corrections= adds to the tables of the last run: %s, %s", named, counted(len(corrections), "correction"))
    return config.model_copy(update=found)


def _check_apart(config: JobConfig) -> None:
    """Raises `ConfigError` if the output lies in a folder of input tables: the next run would read it as input."""
    places = [("videos", config.videos), ("prompts", config.prompts), ("detections", config.detections)]
    for key, folder in (*places, *(("corrections", place) for place in config.corrections or ())):
        if folder and _lies_in(str(config.output), folder):
            raise ConfigError(
                f"output={redact_uri(str(config.output))} lies in {key}={redact_uri(folder)}, and the tables of a job "
                f"there would be input of the next run: name another output, or name files or a glob in {key}="
            )


def _lies_in(place: str, folder: str) -> bool:
    """Whether a place is a folder or lies below it, however both are written: local ones without links and `..`."""
    if is_local(place) != is_local(folder):
        return False
    if is_local(place):
        return Path(local_path(place)).resolve().is_relative_to(Path(local_path(folder)).resolve())
    return f"{place.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def is_finished(job: Job, plan: Plan) -> bool:
    """Whether nothing is left to do. Then the driver does not start Ray and writes nothing."""
    if job.record_before is None or job.relabels_all or plan.num_done < plan.num_videos:
        return False
    if (job.config.prune and not is_pruned(plan, job.log.state)) or left_the_round(plan, job.log.state):
        return False
    return list_segments(job.storage).keys() <= job.log.state.segments.keys()


def reconcile(job: Job, plan: Plan, keeper: SegmentKeeper) -> Plan:
    """Bring output and log up to date before anything is labeled, and return the plan of what remains.

    The driver adopts segments that a killed run published and did not commit, and removes rows that will be replaced.
    """
    state = job.log.state
    if state.next_entry > job.num_entries + 1:  # another driver was at work since the plan was made
        job = replace(job, record_before=read_record(job.storage))
        if not job.config.relabel:
            _check_same(job.record_before, job.record, job.storage, num_finished=len(state.finished))
        plan = _planned_again(job, plan)
        _check_nothing_vanishes(job, plan)
    if job.relabels_all:
        _log.warning("relabel=true: the rows of %s are removed first", counted(len(state.finished), "video"))
        settled = [] if job.config.relabel == "all" else [v for v, review in plan.reviews.items() if review.settled]
        keeper.forget(state.finished, dict.fromkeys(state.finished, Reason.RELABEL), settled)
        failed = sorted(state.failed_before())  # by another model, or with other options, which says nothing now
        job.log.append(forget=failed, why=dict.fromkeys(failed, Reason.RELABEL))
        delete_all(job.storage)  # sessions that were saved with other options are of no use, and `status` counts them
        plan = _planned_again(job, plan)
    before = job.record_before
    if job.relabels_all or before is None or before.has_single_driver != job.record.has_single_driver:
        write_record(job.storage, job.record)
    elif before.tables != job.record.tables:
        write_record(job.storage, before.with_tables_of(job.record))
    num_entries = state.next_entry
    adopted = keeper.adopt(job.record.config_hash)
    if adopted:
        _log.info("adopted %s that a killed run had published and not committed", counted(len(adopted), "video"))
        for outcome in adopted:
            log_video(outcome, outcome.details.attempts)
    if state.next_entry > num_entries:  # perhaps only that a video could not be labeled again
        plan = _planned_again(job, plan)
        _check_nothing_vanishes(job, plan)
    if plan.changed:
        _log.info("prompts have changed since the last run: %s to label again", counted(len(plan.changed), "video"))
    reasons = plan.reasons()
    if job.config.prune:
        keeper.forget(plan.replaced - plan.in_part, reasons)
        prune(plan, job.storage, state, keeper)
        plan = _planned_again(job, plan)
    # After a prune, which leaves no rows of earlier rounds.
    if plan.in_part:
        take_in(plan, job.log, keeper, job.config.keep_rounds)
    # After the next round has begun, because what goes now counted at the end of the one before.
    keeper.forget(plan.replaced - plan.in_part, reasons)
    return plan


def _planned_again(job: Job, plan: Plan) -> Plan:
    """The plan after the log has changed."""
    state = job.log.state
    return plan.again(state.finished, to_try_again(job.config, state, job.storage, plan.reviews))


def clean_up(job: Job, plan: Plan, keeper: SegmentKeeper) -> None:
    """End the round of reviews and delete what a job has no use for, when all of its videos are finished."""
    end_round(plan, job.log)
    keeper.sweep()
    delete_all(job.storage)
    digest_verdicts(job.storage)
    if job.config.prune:
        job.log.erase_history()


def judged(job: Job, budget: FailureBudget | None = None) -> tuple[Ending, str]:
    """Whether a job that has come to its end has too many failures, and how many: in this run, or in all its runs.

    This run is judged by itself, because a night in which all is wrong would be lost among many good ones before it.
    """
    state, most = job.log.state, job.config.max_failed_fraction
    bad = sum(state.finished.num_by_status[status] for status in BAD)
    ended = bad + state.finished.num_by_status[Status.OK]
    objects = state.objects()
    reason = ""
    if bad > most * ended:
        reason = f"{bad} of {counted(ended, 'video')}"
    elif not objects.num_videos_uncounted and objects.num_failed > most * objects.num:
        reason = f"{objects.num_failed} of {counted(objects.num, 'object')}"
    elif budget is not None:
        reason = budget.exceeded_at_end()
    return (Ending.FAILURES, reason) if reason else (Ending.DONE, "")


def _check_same(before: JobRecord | None, now: JobRecord, storage: JobStorage, *, num_finished: int) -> None:
    """Raises `ConfigError` if another model or other options than those asked for now made the masks of a job.

    So it does where no video is finished, because middles of long videos may be saved, and says that little is lost.
    """
    changes = before.differences(now) if before else ""
    if before and changes:
        if source := before.other_source(now):
            raise ConfigError(
                f"output={storage} was {source}. To keep both, name another output. "
                "relabel=true would label everything there again in the new way."
            )
        if not num_finished:
            raise ConfigError(
                f"output={storage} was begun with another model or with other options, and no video is finished yet:\n"
                f"{changes}\nrelabel=true begins it anew; or name another output."
            )
        raise ConfigError(
            f"output={storage} holds masks of another model or of other options:\n{changes}\n"
            "Name another output, or label everything there again with relabel=true."
        )


def check_device(config: JobConfig) -> None:
    """Raises `ConfigError` if the workers are asked to use a GPU and run on this machine, which has none.

    Nothing is checked for workers on a cluster, because their machines may have GPUs that this one lacks.
    """
    if config.model.device != "cuda" or config.cluster.kind == "existing":
        return
    from pipeline.worker.devices import choose_device

    try:
        choose_device(config.model)
    except RuntimeError as error:
        raise ConfigError(str(error)) from error
