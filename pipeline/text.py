"""Text for people: on the standard output, and counts in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from pipeline.records import Status


def say(text: str) -> None:
    """Print a text, and the end of its last line. A reader that has gone, as `| head` does, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is left in the buffer must go somewhere, or the interpreter complains at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def counted(count: int, noun: str) -> str:
    """`1 video`, `2 videos`: a number with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def how_again(bad: Mapping[Status, int]) -> str:
    """Which command labels again what ended badly: how many videos of which status, none of them zero."""
    names = ",".join(status.value for status in bad)
    retry = f"retry={names}" if len(bad) == 1 else f"'retry=[{names}]'"
    which = " and ".join(f"{count} {status.value}" for status, count in bad.items())
    return f"again    once the cause is mended, the same command with {retry} labels the {which} again"
