"""`python -m pipeline.compare a=… b=…`: how the masks of two outputs differ, and which of the two is better.

Videos go through one group at a time, so that a process has the masks of one group of both outputs in memory.
`pipeline.quality` compares them; here the sides are opened, and the results are written and told.
"""

from __future__ import annotations

import contextlib
import posixpath
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.cluster.tasks import task_workers
from pipeline.command import ExitCode, TargetArguments, describe_arguments, main
from pipeline.config.cluster_config import ProcessesConfig
from pipeline.config.fields import Group
from pipeline.config.kinds import OptionalPlace, Place
from pipeline.errors import InputError
from pipeline.output.targets import check_folder
from pipeline.packages import leave_current_folder
from pipeline.pages.page import check_installed
from pipeline.pages.save import save_page
from pipeline.quality.arguments import ScoringArguments
from pipeline.quality.comparing import Compared, Comparer, ComparisonJob, Side, comparison_tasks
from pipeline.quality.comparison import AS_GOOD
from pipeline.quality.conventions import SENTENCES
from pipeline.quality.series import track_series
from pipeline.quality.sources import OutputMasks, named
from pipeline.storage.destinations import save_file
from pipeline.storage.parquet import parquet_bytes
from pipeline.text import ProgressLine, counted, one_line, say
from pipeline.truth import Truth

if TYPE_CHECKING:
    from pipeline.pages.pair_cards import PairCard

_SHOWN = 10
_WRITTEN = ("tracks.parquet", "comparison.html")


class _Sides(Group):
    """What is compared, and where the result goes."""

    a: Place = Field(description="The folder or URI of the first job, the one that was there before.")
    b: Place = Field(description="The folder or URI of the second job.")
    truth: OptionalPlace = Field(
        default=None, description="True masks, as for pipeline.evaluate: they say which of the two is better."
    )
    to: OptionalPlace = Field(
        default=None, description="A folder or URI for tracks.parquet and comparison.html; null writes nothing."
    )
    b_storage_options: dict[str, Any] | None = Field(
        default=None, description="Credentials and endpoints for b=; null: those of storage_options."
    )
    a_round: int | None = Field(
        default=None,
        ge=1,
        description="Take the masks of all tracks as a= had them at the end of this round of reviews; null: those of "
        "now, without rejected tracks.",
    )
    b_round: int | None = Field(default=None, ge=1, description="The same for b=, which may be the same job.")
    cluster: ProcessesConfig = Field(default_factory=ProcessesConfig)


class CompareArguments(ScoringArguments, TargetArguments, _Sides):
    """The keys of a comparison."""


HELP = f"""Compares the masks of two jobs, track by track: which differ, by how much, and which job is better.

  python -m pipeline.compare a=before b=after
  python -m pipeline.compare a=before b=after truth=truth.parquet to=comparison
  python -m pipeline.compare a=labels a_round=1 b=labels truth=truth.parquet

{describe_arguments(CompareArguments)}

Conventions for the truth:
{chr(10).join(f"  {name:<6} {sentence}" for name, sentence in SENTENCES.items())}

Exit codes:
  {ExitCode.DONE}   The differences are printed, or that there are none; and written if to= is given.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   Wrong arguments, no job, or jobs that have no video in common; nothing is written.
  {ExitCode.STOPPED} A signal stopped it.
"""


@dataclass(frozen=True)
class _Alone:
    """Videos that one of the two has."""

    a: Sequence[str]
    b: Sequence[str]


def run(arguments: CompareArguments) -> ExitCode:
    """Compare, write and tell."""
    if arguments.to:
        check_installed()
        check_folder(arguments.to, arguments.to_options)
    side_a = Side(arguments.a, arguments.storage_options, round=arguments.a_round)
    side_b = Side(arguments.b, arguments.options_of(arguments.b_storage_options), round=arguments.b_round)
    job = ComparisonJob(side_a, side_b, None, arguments.rules())
    a, b = job.outputs()
    with tempfile.TemporaryDirectory(prefix="maskmill-truth-", dir=arguments.spool_dir) as folder:
        return _run(arguments, replace(job, truth=_truth(arguments, a, Path(folder))), a, b)


def _run(arguments: CompareArguments, job: ComparisonJob, a: OutputMasks, b: OutputMasks) -> ExitCode:
    in_both, alone = _videos(arguments, a, b)
    found = _compare(arguments, job, a, in_both)
    found.common.check()
    tracks = found.tracks()
    notes = list(_notes(found, tracks))
    for line in _lines(found, alone, tracks, notes):
        say(line)
    if arguments.to:
        # Pictures need torch, which takes 2 seconds: who wants figures alone has them at once.
        from pipeline.pages.comparison_page import ComparisonFigures, comparison_page

        truth = job.true_masks()
        cards = _cards(arguments, a, b, tracks)
        on_one_side = [("a", alone.a), ("b", alone.b)]
        figures = ComparisonFigures(a.name, b.name, truth.name if truth else None, tracks, cards, on_one_side, notes)
        page = comparison_page(figures)
        save_file(posixpath.join(arguments.to, "tracks.parquet"), parquet_bytes(tracks), arguments.to_options)
        save_page(posixpath.join(arguments.to, "comparison.html"), page, arguments.to_options)
        say(f"written  {', '.join(posixpath.join(arguments.to, name) for name in _WRITTEN)}")
    return ExitCode.DONE


def _cards(arguments: CompareArguments, a: OutputMasks, b: OutputMasks, tracks: pa.Table) -> list[PairCard]:
    """The tracks that differ, worst first."""
    from pipeline.pages.pair_cards import PairDealer

    dealer = PairDealer(a.job, ("a", "b"), arguments.videos_root, arguments.pictures, are_jobs=True)
    cards = []
    for row in tracks.filter(pc.field("difference") != "same").slice(0, arguments.top).to_pylist():
        video_id = row["video_id"]
        masks_a, masks_b = (side.read([video_id])[video_id] for side in (a, b))
        ids = None if row["difference"] == "only_b" else row["object_id"], row["object_id_b"]
        cards.append(dealer.card(row, track_series(masks_a, masks_b, ids, "index", "b=")))
    return cards


def _truth(arguments: CompareArguments, output: OutputMasks, folder: Path) -> Side | None:
    if arguments.truth is None:
        return None
    truth = Truth.asked_for(arguments.truth, arguments, arguments.options_of(arguments.truth_storage_options))
    return Side(truth.place(output, arguments.storage_options, folder), truth.storage_options, arguments.truth)


def _videos(arguments: CompareArguments, a: OutputMasks, b: OutputMasks) -> tuple[Collection[str], _Alone]:
    """The chosen videos that both have, and those that one has. Raises `InputError` where there is none."""
    ids_a, ids_b = set(a.video_ids()), set(b.video_ids())
    lacking = sorted(set(arguments.videos or ()).difference(ids_a | ids_b))
    if lacking:
        raise InputError(f"videos={lacking[0]}: neither {a.side} nor {b.side} has masks of it")
    if arguments.videos is not None:
        ids_a, ids_b = ids_a & set(arguments.videos), ids_b & set(arguments.videos)
    if not ids_a & ids_b:
        raise InputError(
            f"no video has masks in both: {a.side} has {named(sorted(ids_a))}, {b.side} has {named(sorted(ids_b))}"
        )
    return ids_a & ids_b, _Alone(sorted(ids_a - ids_b), sorted(ids_b - ids_a))


def _compare(arguments: CompareArguments, job: ComparisonJob, a: OutputMasks, video_ids: Collection[str]) -> Compared:
    places = {"truth": job.truth.uri} if job.truth is not None else {}
    arguments.cluster.check_reaches(a=arguments.a, b=arguments.b, **places)
    found = Compared()
    make = partial(_make_comparer, job)
    with (
        task_workers(arguments.cluster, make, "comparer", lambda task: f"compares {len(task)} videos") as compare,
        contextlib.closing(ProgressLine(len(video_ids), "video")) as line,
    ):
        for part in compare(comparison_tasks(a, video_ids)):
            found.add(part)
            line.advance(part.num_videos)
    return found


def _make_comparer(job: ComparisonJob, worker_id: str) -> Comparer:
    """What compares, in the process in which it shall run."""
    return Comparer(job)


def _notes(found: Compared, tracks: pa.Table) -> Iterator[tuple[str, str]]:
    """What is not compared, or may not be meant so: a word and a sentence each."""
    if found.num_unpaired:
        yield "left out", f"{counted(found.num_unpaired, 'frame')} that one of the two has not labeled"
    if num_empty := _without_frames(tracks).num_rows:
        yield "left out", f"{counted(num_empty, 'track')} without a frame that both have labeled"
    if found.num_other_times:
        yield (
            "times",
            f"{counted(found.num_other_times, 'frame')} at other times of the film in b than in a: frames are compared "
            "by their numbers, which count from the start of the labeled range; was another range labeled, or another "
            "file?",
        )


def _without_frames(tracks: pa.Table) -> pa.Table:
    """The tracks of which nothing can be compared, because no frame is labeled in both."""
    return tracks.filter(pc.field("num_frames") == 0)


def _lines(found: Compared, alone: _Alone, tracks: pa.Table, notes: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What the terminal shows."""
    tracks = tracks.filter(pc.field("num_frames") > 0)
    different = tracks.filter(pc.field("difference") != "same")
    yield (
        f"maskmill: {counted(tracks.num_rows, 'track')} of {counted(found.num_videos, 'video')} compared: "
        + (
            f"{different.num_rows} {_differ(different.num_rows)}"
            if different.num_rows
            else "identical, every mask is the same"
            if tracks.num_rows
            else "there is nothing to compare"
        )
    )
    for side, videos in (("a", alone.a), ("b", alone.b)):
        if videos:
            yield f"alone    {counted(len(videos), 'video')} with masks in {side} only: {named(videos)}"
    yield from (f"{word:<8} {note}" for word, note in notes)
    yield from _gains(tracks)
    if different.num_rows:
        mean = pc.mean(tracks["iou_mean"]).as_py()
        yield f"overlap  mean IoU of a with b over all tracks {100 * mean:.1f} %"
        yield "worst first:"
        for row in different.slice(0, _SHOWN).to_pylist():
            yield f"  {one_line(row['video_id'])} object {one_line(row['object_id'])}: {_words(row)}"
        if different.num_rows > _SHOWN:
            yield f"  {different.num_rows - _SHOWN} more: see tracks.parquet (to=)"


def _gains(tracks: pa.Table) -> Iterator[str]:
    scored = tracks.filter(pc.is_valid(tracks["gain"]))
    if scored.num_rows:
        gains = scored["gain"].to_numpy()
        better, worse = int((gains > AS_GOOD).sum()), int((gains < -AS_GOOD).sum())
        means = [100 * pc.mean(scored[name]).as_py() for name in ("j_and_f_a", "j_and_f_b")]
        yield (
            f"truth    {better} better in b, {worse} worse, {scored.num_rows - better - worse} as good; "
            f"J&F {means[0]:.1f} in a, {means[1]:.1f} in b"
        )


def _differ(count: int) -> str:
    return "differs" if count == 1 else "differ"


def _words(row: dict[str, Any]) -> str:
    """How a track differs."""
    gain = ""
    if row["gain"] is not None:
        gain = f"J&F {100 * row['j_and_f_a']:.1f} -> {100 * row['j_and_f_b']:.1f} ({100 * row['gain']:+.1f})"
    if row["difference"] != "masks":
        words = "in a only" if row["difference"] == "only_a" else "in b only"
        return f"{words}, {gain}" if gain else words
    words = (
        f"{row['num_different']} of {counted(row['num_frames'], 'mask')} {_differ(row['num_different'])}, "
        f"mean IoU {100 * row['iou_mean']:.1f}, lowest {100 * row['iou_min']:.1f} on frame {row['worst_frame']}"
    )
    return f"{gain}; {words}" if gain else words


def door(words: Sequence[str] | None = None) -> int:
    """The command as a function of its words; returns the exit code."""
    return main(HELP, CompareArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
