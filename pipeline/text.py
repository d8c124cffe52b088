"""Text for people: on the standard output, and counts in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from pipeline.records import Status


def say(text: str) -> None:
    """Print a text and the end of its line. It is no error when the reader has gone, as `| head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The interpreter complains at its end unless what is left in the buffer goes somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 video`, `2 videos`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def how_again(bad: Mapping[Status, int]) -> str:
    """One line that says which command labels bad videos again. `bad` counts them by status; no count is zero."""
    names = ",".join(status.value for status in bad)
    retry = f"retry={names}" if len(bad) == 1 else f"'retry=[{names}]'"
    which = " and ".join(f"{count} {status.value}" for status, count in bad.items())
    videos = "video" if sum(bad.values()) == 1 else "videos"
    return f"again    fix the cause, then run the same command with {retry} to label the {which} {videos} again"


def describe_former(num_former: int) -> list[str]:
    """One line about finished videos that no table names any more; none if there are none."""
    if not num_former:
        return []
    are, their = ("is", "its") if num_former == 1 else ("are", "their")
    return [f"former   {num_former} of them {are} in no table any more; {their} rows stay until a run with prune=true"]
