"""Text for people: on the standard output, and counts in words."""

from __future__ import annotations

import os
import sys


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
