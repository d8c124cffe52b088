"""`python -m pipeline.evaluate output=… truth=…`: how good the masks of a job are, against true masks.

Videos go through one group at a time, so that memory holds the masks of one group. `pipeline.quality` scores them; here
both sides are opened, what one side lacks is settled, and the results are written and told.
"""

from __future__ import annotations

import contextlib
import posixpath
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.cluster.tasks import task_workers
from pipeline.command import ExitCode, JobArguments, TargetArguments, describe_arguments, main
from pipeline.config.cluster_config import ProcessesConfig
from pipeline.config.kinds import OptionalPlace, Place
from pipeline.errors import InputError
from pipeline.output.targets import check_folder
from pipeline.packages import leave_current_folder
from pipeline.pages.page import check_installed
from pipeline.pages.save import save_page
from pipeline.quality.arguments import ScoringArguments
from pipeline.quality.conventions import SENTENCES
from pipeline.quality.evaluation import unseen
from pipeline.quality.hota import Hota
from pipeline.quality.scoring import Scored, Scorer, ScoringJob, scoring_tasks
from pipeline.quality.series import track_series
from pipeline.quality.sources import MaskSource, OutputMasks, named, open_masks
from pipeline.quality.summary import summarize, summary_lines
from pipeline.storage.destinations import save_file
from pipeline.storage.parquet import parquet_bytes
from pipeline.text import ProgressLine, counted, meant_several, say
from pipeline.truth import Truth

if TYPE_CHECKING:
    from pipeline.pages.pair_cards import PairCard

_WRITTEN = ("objects.parquet", "summary.parquet", "evaluation.html")


class _Sides(TargetArguments, JobArguments):
    """What is scored, against what, and where the scores go."""

    truth: Place = Field(
        description="The true masks: the output of another job, a table of masks in Parquet, or labels of a format."
    )
    to: OptionalPlace = Field(
        default=None,
        description="A folder or URI for objects.parquet, summary.parquet and evaluation.html; null writes nothing.",
    )
    missing: Literal["refuse", "skip", "empty"] = Field(
        default="refuse",
        description="What is done with videos of the truth without masks in the output: refuse them, leave them out, "
        "or count their objects as never found.",
    )
    round: int | None = Field(
        default=None,
        ge=1,
        description="Score the masks of all tracks as they were at the end of this round of reviews; null: those of "
        "now, without rejected tracks.",
    )
    hota: bool = Field(default=False, description="Compute HOTA too, by trackeval.")
    cluster: ProcessesConfig = Field(default_factory=ProcessesConfig)


class EvaluateArguments(ScoringArguments, _Sides):
    """The keys of an evaluation."""


HELP = f"""Scores masks of a job against true ones: J (overlap), F (boundary) and their mean, by object and by group.

  python -m pipeline.evaluate output=… truth=…
  python -m pipeline.evaluate output=… truth=truth.parquet convention=davis to=evaluation

{describe_arguments(EvaluateArguments)}

Conventions:
{chr(10).join(f"  {name:<6} {sentence}" for name, sentence in SENTENCES.items())}

Exit codes:
  {ExitCode.DONE}   The scores are printed, and written if to= is given.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   Wrong arguments, no job, or a truth that does not fit; nothing is written.
  {ExitCode.STOPPED} A signal stopped it.
"""


def run(arguments: EvaluateArguments) -> ExitCode:
    """Score, write and tell."""
    if arguments.to:
        check_installed()
        check_folder(arguments.to, arguments.to_options)
    output = OutputMasks("output", arguments.output, arguments.storage_options, round=arguments.round)
    with tempfile.TemporaryDirectory(prefix="maskmill-truth-", dir=arguments.spool_dir) as folder:
        truth = Truth.asked_for(arguments.truth, arguments, arguments.options_of(arguments.truth_storage_options))
        job = ScoringJob(
            arguments.output,
            truth.place(output, arguments.storage_options, Path(folder)),
            arguments.truth,
            arguments.storage_options,
            truth.storage_options,
            arguments.rules(),
            arguments.hota,
            arguments.round,
        )
        return _run(arguments, job, output)


def _run(arguments: EvaluateArguments, job: ScoringJob, output: OutputMasks) -> ExitCode:
    truth = open_masks("truth", job.truth, job.truth_options, shown=job.shown_truth)
    wanted, missing = _wanted(arguments, output, truth)
    counts = missing if arguments.missing == "empty" else ()
    found = Scored(hota=Hota() if arguments.hota else None)
    total = len(wanted) - len(missing) + len(counts)
    arguments.cluster.check_reaches(output=job.output, truth=job.truth)
    make = partial(_make_scorer, job)
    with (
        task_workers(arguments.cluster, make, "scorer", lambda task: f"scores {len(task.video_ids)} videos") as score,
        contextlib.closing(ProgressLine(total, "video")) as progress,
    ):
        for part in score(scoring_tasks(output, wanted, counts)):
            found.add(part)
            progress.advance(part.num_videos)
    found.common.check()
    objects = found.objects()
    if not objects.num_rows:
        raise InputError(
            f"{truth.side}: none of its objects shows on a frame that counts by convention={arguments.convention}, so "
            f"that nothing can be scored; {_how_more_counts(arguments)}a table of prompts with boxes or clicks has no "
            "masks: give one with true masks"
        )
    summary = summarize(objects, found.hota.result() if found.hota else None)
    notes = list(_notes(found, objects, missing if arguments.missing == "skip" else ()))
    for line in _lines(arguments, found, objects, summary, notes):
        say(line)
    if arguments.to:
        # Pictures need torch, which takes 2 seconds: who wants scores alone has them at once.
        from pipeline.pages.evaluation_page import EvaluationFigures, evaluation_page

        cards = _cards(arguments, output, truth, objects)
        figures = EvaluationFigures(output.name, truth.name, arguments.convention, objects, summary, cards, notes)
        page = evaluation_page(figures)
        tables = {"objects": objects, "summary": summary}
        for name, table in tables.items():
            save_file(posixpath.join(arguments.to, f"{name}.parquet"), parquet_bytes(table), arguments.to_options)
        save_page(posixpath.join(arguments.to, "evaluation.html"), page, arguments.to_options)
        say(f"written  {', '.join(posixpath.join(arguments.to, name) for name in _WRITTEN)}")
    return ExitCode.DONE


def _how_more_counts(arguments: EvaluateArguments) -> str:
    """What to give where the convention leaves out too much, as of a video of one frame."""
    return "" if arguments.convention == "all" else "convention=all counts the first and the last frame as well; "


def _make_scorer(job: ScoringJob, worker_id: str) -> Scorer:
    """What scores, in the process in which it shall run."""
    return Scorer(job)


def _wanted(
    arguments: EvaluateArguments, output: OutputMasks, truth: MaskSource
) -> tuple[Sequence[str], Sequence[str]]:
    """The videos of the truth to score, and those of them without masks in the output."""
    known = truth.video_ids()
    if not known:
        raise InputError(f"{truth.side} has no masks")
    lacking = sorted(set(arguments.videos or ()).difference(known))
    if lacking:
        hint = meant_several(lacking[0], known)
        raise InputError(f"videos={lacking[0]}: {truth.side} has no masks of it; it has {named(known)}{hint}")
    wanted = known if arguments.videos is None else arguments.videos
    missing = sorted(set(wanted).difference(output.video_ids()))
    if missing and (arguments.missing == "refuse" or len(missing) == len(wanted)):
        raise InputError(_no_masks(missing, len(wanted), output, truth))
    return wanted, missing


def _no_masks(missing: Sequence[str], num_wanted: int, output: MaskSource, truth: MaskSource) -> str:
    if len(missing) == num_wanted:
        return (
            f"{truth.side}: none of its videos ({named(missing)}) has masks in {output.side}, which has "
            f"{named(output.video_ids())}; the ids must be the same"
        )
    return (
        f"{truth.side}: {counted(len(missing), 'video')} of {num_wanted} without masks in {output.side}: "
        f"{named(missing)}; label them, or give missing=skip to leave them out, or missing=empty to count their "
        "objects as never found"
    )


def _cards(arguments: EvaluateArguments, output: OutputMasks, truth: MaskSource, objects: pa.Table) -> list[PairCard]:
    """The worst objects, the worst first."""
    from pipeline.pages.pair_cards import PairDealer

    dealer = PairDealer(output.job, ("output", "truth"), arguments.videos_root, arguments.pictures)
    scored = objects.filter(pc.field("num_frames") > 0)
    keys = [("j_and_f", "ascending"), ("video_id", "ascending"), ("true_object_id", "ascending")]
    cards = []
    for row in scored.take(pc.sort_indices(scored, sort_keys=keys)[: arguments.top]).to_pylist():
        video_id = row["video_id"]
        true = truth.read([video_id])[video_id]
        predicted = output.read([video_id]).get(video_id) or unseen(true)
        ids = row["object_id"], row["true_object_id"]
        cards.append(dealer.card(row, track_series(predicted, true, ids, arguments.frames, truth.side)))
    return cards


def _notes(found: Scored, objects: pa.Table, skipped: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What did not count: a word for the terminal, and a sentence."""
    num_prompted = pc.sum(objects["num_prompted"]).as_py()
    if num_prompted:
        yield "left out", f"{counted(num_prompted, 'mask')} on prompted frames (prompted=include counts them)"
    if found.num_unpaired:
        yield "left out", f"{counted(found.num_unpaired, 'annotated frame')} that the output has not labeled"
    if num_empty := objects.filter(pc.field("num_frames") == 0).num_rows:
        yield "left out", f"{counted(num_empty, 'object')} of which no frame counts"
    if skipped:
        videos = counted(len(skipped), "video")
        yield "left out", f"{videos} without masks in the output: {named(skipped)}"
    if found.num_lost:
        yield "lost", f"{counted(found.num_lost, 'object')} of the truth that the output lacks: counted as never found"
    if found.num_extra:
        yield "extra", f"{counted(found.num_extra, 'object')} of the output without a true one: they do not count"


def _lines(
    arguments: EvaluateArguments,
    found: Scored,
    objects: pa.Table,
    summary: pa.Table,
    notes: Sequence[tuple[str, str]],
) -> Iterator[str]:
    """What the terminal shows."""
    yield f"maskmill: {counted(objects.num_rows, 'object')} of {counted(found.num_videos, 'video')}, in percent"
    yield f"counted  convention {arguments.convention}: {SENTENCES[arguments.convention]}"
    yield from (f"{word:<8} {note}" for word, note in notes)
    yield from summary_lines(summary)


def door(words: Sequence[str] | None = None) -> int:
    """The command as a function of its words; returns the exit code."""
    return main(HELP, EvaluateArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
