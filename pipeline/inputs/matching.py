"""Rows of `prompts=` that name no video of `videos=`: told with both sides, and with the video that was meant."""

from __future__ import annotations

import difflib
import posixpath
import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from itertools import islice

from pipeline.errors import InputError
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.prompt_index import PromptIndex
from pipeline.inputs.shards import ParquetShards
from pipeline.inputs.video_files import VideoFiles
from pipeline.inputs.videos import VideoRows

_NUMBER = re.compile(r"\d+")
_NUM_SHOWN = 3
_MOST_INDEXED = 100_000  # ids that are looked at: some 20 MB for a moment
_MOST_COMPARED = 10_000  # ids that are compared letter by letter: a second for all examples


def check_some_match(tables: InputTables, videos: VideoRows, prompts: PromptIndex, done: Container[str]) -> None:
    """Raises `InputError` if there are videos and prompts, and no row of the prompts names one of the videos.

    `done` are the finished videos of the output.
    """
    if not tables.has_videos_table or tables.is_partial or not videos.ids or not prompts.num_rows:
        return
    if prompts.num_unknown_rows < prompts.num_rows:
        return
    key, unknown = tables.prompts.key, prompts.unknown_examples
    raise InputError(
        f"{key}: no row names a video of videos=: the {key} name {_some(unknown)}, the videos are "
        f"{_some(videos.ids)} ({tables.videos.id_rule()}){who_they_are(unknown, videos.ids, done)}; "
        f"make column video_id of the {key} the same{_or_by_a_rule(tables.videos, unknown, videos.ids)}"
    )


def _or_by_a_rule(videos: ParquetShards | VideoFiles, unknown: Sequence[str], ids: Sequence[str]) -> str:
    """That ids may leave out folders, where prompts name the file of a video that lies in one and not its path."""
    if not isinstance(videos, VideoFiles) or videos.has_id_pattern:
        return ""
    files = {posixpath.basename(video_id) for video_id in islice(ids, _MOST_INDEXED) if "/" in video_id}
    if not any(name in files or posixpath.splitext(name)[0] in files for name in unknown):
        return ""
    return r", or leave folders out of the ids by input.video_id_from='([^/]+)\.\w+$' (docs/watching.md)"


def who_they_are(unknown: Sequence[str], ids: Sequence[str], done: Container[str]) -> str:
    """What is known of ids that are not among `ids`: finished videos are former ones, others may be misspelled."""
    former = [name for name in unknown if name in done]
    misspelled = did_you_mean((name for name in unknown if name not in done), ids)
    if not former:
        return misspelled
    named = ", ".join(map(repr, former))
    return f"; finished before and not in videos= now (masks stay, but for a run with prune=true): {named}{misspelled}"


def did_you_mean(unknown: Iterable[str], ids: Sequence[str]) -> str:
    """`; did you mean 'cup' by 'Cup.mp4'?` for the first unknown id that is almost one of `ids`; else empty."""
    first = list(islice(ids, _MOST_INDEXED))
    alike = {_core(video_id): video_id for video_id in sorted(first, key=len, reverse=True)}
    for name in unknown:
        meant = alike.get(_core(name))
        if meant is None:
            close = difflib.get_close_matches(name, list(islice(ids, _MOST_COMPARED)), n=3, cutoff=0.8)
            meant = next((one for one in close if not _are_of_a_series(one, name)), None)
        if meant is not None:
            return f"; did you mean {meant!r} by {name!r}?{_how_they_differ(meant, name)}"
    return ""


def _are_of_a_series(one: str, other: str) -> bool:
    """Whether two names differ by their numbers alone: `arm 01` is another video than `arm 02`."""
    return _NUMBER.sub("0", one) == _NUMBER.sub("0", other)


def _how_they_differ(meant: str, name: str) -> str:
    """What is said of two names that look the same: macOS writes é in the name of a file as e and an accent."""
    if _composed(meant) != _composed(name):
        return ""
    form, are = ("NFC", "one with their letters") if _composed(meant) == meant else ("NFD", "characters of their own")
    return f" In the former, accents are {are}: change yours by unicodedata.normalize('{form}', …) of Python"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _core(name: str) -> str:
    """A name without its folder and its suffix, in lower case, its accents in one with their letters."""
    return _composed(posixpath.splitext(posixpath.basename(name.replace("\\", "/")))[0].casefold())


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(map(repr, ids[:_NUM_SHOWN])) or "nothing"
    return f"{shown} …" if len(ids) > _NUM_SHOWN else shown
