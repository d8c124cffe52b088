"""What is odd about input tables: columns that nobody reads, rows that are left out, videos with wrong rows."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.matching import who_they_are
from pipeline.inputs.prompt_index import PromptIndex
from pipeline.inputs.video_files import VideoFiles
from pipeline.inputs.videos import VideoRows
from pipeline.text import counted

_NUM_EXAMPLES = 3

OF_WRONG_ROWS = "cannot be labeled, because of wrong rows"
"""What the warning about these videos says. Whoever lists their messages one by one leaves it out."""


def oddities(tables: InputTables, videos: VideoRows, prompts: PromptIndex, done: Container[str]) -> Iterator[str]:
    """What is odd about the tables, a sentence each. `done` are the finished videos of the log."""
    for table in {table.key: table for table in (*tables.tables_of_prompts, tables.videos)}.values():
        for name, meant in table.misspelled():
            yield f"column {name} of the {table.key} table is not read: did you mean {meant}?"
    for table in tables.tables_of_prompts:
        if (looks_like := table.unread_category()) is not None:
            yield (
                f"column {looks_like} of the {table.key} table is not read: columns.category={looks_like} makes it the "
                "category of the objects. Objects that are labeled without one get none later without relabel=true"
            )
    told = [*(tables.prompts.warnings if tables.has_prompts else ()), *tables.videos.warnings]
    yield from dict.fromkeys(told)
    if not len(videos.ids) and not tables.is_partial:
        yield _nothing_to_label(tables)
    elif not prompts.num_rows and not tables.is_partial:
        yield f"the {tables.key_of_prompts} table has no rows: every video will be recorded as no_prompts"
    if videos.num_without_id:
        rows = counted(videos.num_without_id, "row")
        yield f"{rows} of the {tables.videos.key} table without a video_id: left out"
    yield from prompts.oddities
    if prompts.num_without_object:
        rows = counted(prompts.num_without_object, "row")
        yield f"{rows} of the {tables.key_of_prompts} table without an object_id: left out"
    if prompts.num_unknown_rows and not tables.is_partial and (tables.has_videos_table or tables.corrections):
        examples = ", ".join(map(repr, prompts.unknown_examples)) or "rows without a video_id"
        are, they = ("is", "its video is") if prompts.num_unknown_rows == 1 else ("are", "their videos are")
        yield (
            f"{prompts.num_unknown_rows} of {prompts.num_rows} rows of the {_prompts_in_words(tables)} {are} left out, "
            f"because {they} not in {tables.videos.key}=; examples: {examples}"
            f"{who_they_are(prompts.unknown_examples, videos.ids, done)}"
        )
    if videos.problems:
        examples = "; ".join(f"{videos.ids[number]!r}: {problem}" for number, problem in _first(videos.problems))
        count = counted(len(videos.problems), "video")
        yield f"{count} {OF_WRONG_ROWS}; examples: {examples}"


def _nothing_to_label(tables: InputTables) -> str:
    if isinstance(tables.videos, VideoFiles):
        return f"{tables.videos.key} has no video yet that is whole and has an id: nothing to label"
    return f"the {tables.videos.key} table has no rows with a video_id: nothing to label"


def _prompts_in_words(tables: InputTables) -> str:
    key = tables.key_of_prompts
    return f"tables of {key} and corrections" if tables.corrections else f"{key} table"


def _first(problems: Mapping[int, str]) -> list[tuple[int, str]]:
    return sorted(problems.items())[:_NUM_EXAMPLES]
