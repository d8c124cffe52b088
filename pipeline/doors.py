"""`maskmill NAME key=value …`: all commands by one name. `maskmill conf=…`, without a name, runs a job.

Each door is a module of `pipeline` with a function `door(words) -> exit code`, and is also `python -m pipeline.NAME`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from pipeline.command import ExitCode, set_up_logging
from pipeline.text import complain, say

DOORS = {
    "run": "label the videos of a table (the default: maskmill conf=… is maskmill run conf=…)",
    "status": "how a job stands, running or not",
    "plan": "what a run would label, take and cost, before it runs",
    "changes": "which videos came, were labeled again, failed or left since a time or an entry of the log",
    "compact": "merge the small files of a job",
    "overlay": "draw the masks onto the videos: a video each, or pictures",
    "evaluate": "how good the masks are, against true ones",
    "compare": "how the masks of two jobs differ, and which are better",
    "prompts": "make a table of prompts of labels in other formats: COCO, CVAT, YOLO, …",
    "report": "a job as one HTML page: figures, failures, cost, doubtful tracks with pictures",
    "queue": "which tracks people should check next, why, on which frame, and how long it takes",
    "review": "look at tracks in a browser: accept, reject, fix",
    "rounds": "what each round of reviews brought, and whether another one is worth it",
    "export": "write the masks in a format that others read: COCO, YouTube-VIS, …",
}
"""The commands, a line each. Whoever adds a door adds its line here."""

HELP = """maskmill labels a dataset of videos with SAM 2, and puts the masks to use.

{doors}

maskmill NAME --help explains a command. python -m pipeline.NAME is the same as maskmill NAME.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Go through the door that the first word names and return its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    name = words[0] if words else "run"
    if name in ("--help", "-h"):
        set_up_logging()
        say(help_text())
        return ExitCode.DONE
    if name in DOORS:
        return _through(name, words[1:])
    if "=" in name or name.startswith(("-", "~")) or not words:
        return _through("run", words)
    set_up_logging()
    complain(_no_door(name))
    return ExitCode.REFUSED


def _no_door(name: str) -> str:
    """What is said of a first word that names no command, with what was probably meant."""
    from pipeline.config.compose import meant_job

    if told := meant_job(name):
        return told
    near = get_close_matches(name, DOORS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no command {name!r}: there are {', '.join(DOORS)}{hint}"


def help_text() -> str:
    """All doors with a line each."""
    return HELP.format(doors="\n".join(f"  maskmill {name:<10} {line}" for name, line in DOORS.items())).rstrip()


def _through(name: str, words: list[str]) -> int:
    code: int = import_module(f"pipeline.{name}").door(words)
    return code
