"""`python -m pipeline.compare a=… b=…`: how the masks of two outputs differ, and which of the two is better.

Videos go through one group at a time, so that memory holds the masks of one group of both outputs.
"""

from __future__ import annotations

import contextlib
import posixpath
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.command import ExitCode, TargetArguments, describe_arguments, main
from pipeline.config.fields import Group
from pipeline.config.kinds import OptionalPlace, Place
from pipeline.errors import InputError
from pipeline.inputs.write import parquet_bytes
from pipeline.packages import leave_current_folder
from pipeline.pages.page import check_installed
from pipeline.pages.save import save_page
from pipeline.quality.arguments import ScoringArguments
from pipeline.quality.comparison import AS_GOOD, TRACKS, compare_video, sorted_worst_first
from pipeline.quality.conventions import SENTENCES
from pipeline.quality.masks import check_masks
from pipeline.quality.series import track_series
from pipeline.quality.sources import MaskSource, OutputMasks, named, open_masks
from pipeline.storage.destinations import check_folder, save_file
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


class CompareArguments(ScoringArguments, TargetArguments, _Sides):
    """The keys of a comparison."""


HELP = f"""Compares the masks of two jobs, track by track: which differ, by how much, and which job is better.

  python -m pipeline.compare a=before b=after
  python -m pipeline.compare a=before b=after truth=truth.parquet to=comparison

{describe_arguments(CompareArguments)}

Conventions for the truth:
{chr(10).join(f"  {name:<6} {sentence}" for name, sentence in SENTENCES.items())}

Exit codes:
  {ExitCode.DONE}   The differences are printed, or that there are none; and written if to= is given.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   Wrong arguments, no job, or jobs that have no video in common; nothing is written.
  {ExitCode.STOPPED} A signal stopped it.
"""


@dataclass
class _Found:
    """What is found so far."""

    parts: list[pa.Table] = field(default_factory=list)
    num_videos: int = 0
    num_unpaired: int = 0
    only_a: Sequence[str] = ()
    only_b: Sequence[str] = ()

    def tracks(self) -> pa.Table:
        """All rows, worst first."""
        return sorted_worst_first(pa.concat_tables([TRACKS.empty_table(), *self.parts]))


def run(arguments: CompareArguments) -> ExitCode:
    """Compare, write and tell."""
    if arguments.to:
        check_installed()
        check_folder(arguments.to, arguments.to_options)
    a = OutputMasks("a", arguments.a, arguments.storage_options)
    b = OutputMasks("b", arguments.b, arguments.options_of(arguments.b_storage_options))
    with tempfile.TemporaryDirectory(prefix="maskmill-truth-", dir=arguments.spool_dir) as folder:
        return _run(arguments, a, b, _truth(arguments, a, Path(folder)))


def _run(arguments: CompareArguments, a: OutputMasks, b: OutputMasks, truth: MaskSource | None) -> ExitCode:
    found = _compare(arguments, a, b, truth)
    tracks = found.tracks()
    notes = list(_notes(found))
    for line in _lines(found, tracks, notes):
        say(line)
    if arguments.to:
        # Pictures need torch, which takes 2 seconds: who wants figures alone has them at once.
        from pipeline.pages.comparison_page import ComparisonFigures, comparison_page

        alone = [("a", found.only_a), ("b", found.only_b)]
        cards = _cards(arguments, a, b, tracks)
        figures = ComparisonFigures(a.name, b.name, truth.name if truth else None, tracks, cards, alone, notes)
        page = comparison_page(figures)
        save_file(posixpath.join(arguments.to, "tracks.parquet"), parquet_bytes(tracks), arguments.to_options)
        save_page(posixpath.join(arguments.to, "comparison.html"), page, arguments.to_options)
        say(f"written  {', '.join(posixpath.join(arguments.to, name) for name in _WRITTEN)}")
    return ExitCode.DONE


def _cards(arguments: CompareArguments, a: OutputMasks, b: OutputMasks, tracks: pa.Table) -> list[PairCard]:
    """The tracks that differ, worst first."""
    from pipeline.pages.pair_cards import PairDealer

    dealer = PairDealer(a.job, ("a", "b"), arguments.videos_root, arguments.pictures)
    cards = []
    for row in tracks.filter(pc.field("difference") != "same").slice(0, arguments.top).to_pylist():
        video_id = row["video_id"]
        masks_a, masks_b = (side.read([video_id])[video_id] for side in (a, b))
        ids = None if row["difference"] == "only_b" else row["object_id"], row["object_id_b"]
        cards.append(dealer.card(row, track_series(masks_a, masks_b, ids, "index", "b=")))
    return cards


def _truth(arguments: CompareArguments, output: OutputMasks, folder: Path) -> MaskSource | None:
    if arguments.truth is None:
        return None
    truth = Truth(
        arguments.truth,
        arguments.format,
        arguments.images,
        arguments.first_frame,
        arguments.videos or (),
        arguments.options_of(arguments.truth_storage_options),
    )
    return open_masks("truth", truth.place(output.sizes(), folder), truth.storage_options, shown=arguments.truth)


def _compare(arguments: CompareArguments, a: OutputMasks, b: OutputMasks, truth: MaskSource | None) -> _Found:
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
    rules = arguments.rules()
    found = _Found(only_a=sorted(ids_a - ids_b), only_b=sorted(ids_b - ids_a))
    both = ids_a & ids_b
    with contextlib.closing(ProgressLine(len(both), "video")) as line:
        for group in a.groups():
            here = [video_id for video_id in group if video_id in both]
            if not here:
                continue
            masks_a, masks_b, true = a.read(here), b.read(here), truth.read(here) if truth is not None else {}
            for video_id in here:
                trio = masks_a[video_id], masks_b[video_id], true.get(video_id)
                try:
                    difference = compare_video(*trio, arguments.match, rules)
                except ValueError:
                    for masks, source in zip(trio, (a, b, truth), strict=True):
                        if masks is not None and source is not None:
                            check_masks(masks, source.side)
                    raise
                found.parts.append(pa.Table.from_pylist(difference.rows, TRACKS))
                found.num_videos += 1
                found.num_unpaired += difference.num_unpaired
                line.advance(1)
    return found


def _notes(found: _Found) -> Iterator[str]:
    if found.num_unpaired:
        yield f"{counted(found.num_unpaired, 'frame')} that one of the two has not labeled"


def _lines(found: _Found, tracks: pa.Table, notes: Sequence[str]) -> Iterator[str]:
    """What the terminal shows."""
    different = tracks.filter(pc.field("difference") != "same")
    yield (
        f"maskmill: {counted(tracks.num_rows, 'track')} of {counted(found.num_videos, 'video')} compared: "
        + (f"{different.num_rows} differ" if different.num_rows else "identical, every mask is the same")
    )
    for side, videos in (("a", found.only_a), ("b", found.only_b)):
        if videos:
            yield f"alone    {counted(len(videos), 'video')} with masks in {side} only: {named(videos)}"
    yield from (f"left out {note}" for note in notes)
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


def _words(row: dict[str, Any]) -> str:
    """How a track differs."""
    if row["difference"] != "masks":
        return "in a only" if row["difference"] == "only_a" else "in b only"
    words = (
        f"{row['num_different']} of {counted(row['num_frames'], 'mask')} differ, mean IoU {100 * row['iou_mean']:.1f}, "
        f"lowest {100 * row['iou_min']:.1f} on frame {row['worst_frame']}"
    )
    if row["gain"] is None:
        return words
    return f"J&F {100 * row['j_and_f_a']:.1f} -> {100 * row['j_and_f_b']:.1f} ({100 * row['gain']:+.1f}); {words}"


def door(words: Sequence[str] | None = None) -> int:
    """The command as a function of its words; returns the exit code."""
    return main(HELP, CompareArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
