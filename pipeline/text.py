"""Text for people: on the standard output, counts in words, and failures grouped by their cause."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from pipeline.records import NO_RETRIES, ObjectCounts, Reason, Retries, Status

OBJECT = "object"
WARNING = "warned"
"""Kinds of causes besides those of bad videos: objects of `ok` videos that failed, and warnings of either."""

MAX_NAMED = 3
_MAX_CAUSES = 12
_MAX_GROUPS = 1000
_OTHERS = "other causes"
_PARTICULARS = re.compile(r"'[^']*'|\"[^\"]*\"|(?<!\S)[^\s/]*/\S+|-?\d+(?:\.\d+)?")
_PLAIN_SIGNS = str.maketrans({"×": "x", "·": "|", "…": "...", "–": "-", "→": "->", "’": "'", "\ufffd": "?"})


def say(text: str) -> None:
    """Print a text and the end of its line. It is no error when the reader has gone, as `| head` does.

    Control characters are escaped. Whoever puts a text of others into one of several lines asks `escaped` for it,
    because a line feed in it is no end of a line.
    """
    try:
        print(printable("\n".join(map(escaped, text.split("\n"))), sys.stdout), flush=True)
    except BrokenPipeError:
        _leave(sys.stdout)


def mention(text: str) -> None:
    """Say what files tell as well: where the disk of the standard output is full, that is no reason to fail."""
    try:
        say(text)
    except OSError as error:
        _leave(sys.stdout)
        complain(f"the standard output takes no more: {error.strerror}")


def complain(message: str) -> None:
    """Print on the standard error why a command ends, in one line or with further lines that are set in."""
    try:
        print(printable(set_in(f"maskmill: {message}"), sys.stderr), file=sys.stderr, flush=True)
    except OSError:
        _leave(sys.stderr)


def _leave(stream: TextIO) -> None:
    """Send what is left in the buffer of a stream nowhere, because the interpreter would complain of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say_at_once(line: str) -> None:
    """Write a line to the standard error, past its buffer: for handlers of signals, which may interrupt a `print`.

    Nothing is written to a full pipe, because a handler must not wait until somebody reads.
    """
    above = "\n" if os.isatty(2) else ""  # the progress line on a terminal has no end yet
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, f"{above}{line}\n".encode())


class ProgressLine:
    """How far a command is: `12 of 50 videos · 0:31 left`. On a terminal one line is rewritten each second.

    Elsewhere a line is written every 10 seconds. `num_done` were done before the command began. Without a total, as
    for a file that is read to its end, the line says how many are done.
    """

    def __init__(
        self,
        total: int | None,
        noun: str,
        num_done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._noun = total, noun
        self._num_before = self._num_done = num_done
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._began = clock()
        self._next_line = self._began + (1.0 if self._is_terminal else 10.0)

    def advance(self, count: int) -> None:
        """So many more are done; a line is written if it is time for one."""
        self._num_done += count
        now = self._clock()
        if now >= self._next_line:
            self._next_line = now + (1.0 if self._is_terminal else 10.0)
            self._write(now)

    def clear(self) -> None:
        """Take the line off a terminal, so that a message can stand in its place."""
        if self._is_terminal:
            print("\r\x1b[K", end="", file=self._stream, flush=True)

    def close(self) -> None:
        """End the line on a terminal."""
        if self._is_terminal and self._clock() - self._began >= 1.0:
            print(file=self._stream)

    def _words(self, now: float) -> str:
        if self._total is None:
            return counted(self._num_done, self._noun)
        new = self._num_done - self._num_before
        left = int((now - self._began) / new * (self._total - self._num_done)) if new else None
        time_left = "" if left is None else f" · {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        return f"{self._num_done} of {counted(self._total, self._noun)}{time_left}"

    def _write(self, now: float) -> None:
        line = printable(self._words(now), self._stream)
        with contextlib.suppress(OSError):
            if self._is_terminal:
                print(f"\r\x1b[K{line}", end="", file=self._stream, flush=True)
            else:
                print(line, file=self._stream, flush=True)


def printable(text: str, stream: TextIO) -> str:
    """A text as a stream can take it. Letters that its encoding lacks are written as escapes, our own signs plainly.

    Ids and messages come from other people's files, and a letter that a log cannot show must not end a job.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for shown in (text, text.translate(_PLAIN_SIGNS)):
        try:
            shown.encode(encoding)
        except UnicodeEncodeError:
            continue
        return shown
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can write a text. It cannot write a name on disk that has letters of an older encoding.

    Python reads each byte of such a name that is no UTF-8 as a letter that no encoding has (PEP 383).
    """
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def why_no_utf8() -> str:
    """What is wrong with a name that `is_utf8` refuses, and what to do: it has other bytes, or Python misread it."""
    if sys.getfilesystemencoding() == "utf-8":
        return "has bytes that are no UTF-8, and tables take no others: rename the file or folder"
    return f"is read as {sys.getfilesystemencoding()} here, and has letters beyond it: set PYTHONUTF8=1"


def escaped(text: str) -> str:
    """A text in one printable line: line feeds, escapes of terminals and other control characters are written out.

    Ids and addresses come from tables. They must not be able to move the cursor, or to look like lines of ours.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def set_in(text: str) -> str:
    """A text for a log: control characters are escaped, and each further line is set in, so that it looks like none."""
    first, *others = text.split("\n")
    return "\n".join([escaped(first), *(f"  {escaped(line)}" for line in others)])


def one_line(text: str, most: int = 80) -> str:
    """One printable line of a text that is not ours, cut off after so many letters."""
    line = escaped(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def reason_in_line(error: BaseException, clean: Callable[[str], str] = str) -> str:
    """What an error says, as a part of a sentence of ours: in one line, without its full stop, of 200 letters at most.

    `clean` takes out what must not be shown.
    """
    return one_line(clean(" ".join(str(error).split())).rstrip("."), 200)


def meant_several(name: str, known: Container[str]) -> str:
    """What is said beside a name that is unknown because it is several known ones with commas between; else nothing.

    A comma does not part names by itself, because it may stand in one.
    """
    parts = [part.strip() for part in name.split(",")]
    is_several = len(parts) > 1 and all(part in known for part in parts)
    return f"; several are written as a list, in brackets: '[{','.join(parts)}]'" if is_several else ""


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 video`, `2 videos`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


BAD_VIDEOS: Mapping[Status, str] = {
    Status.FAILED: "videos that failed",
    Status.QUARANTINED: "videos that are quarantined",
    Status.NO_PROMPTS: "videos without prompts",
}
"""Videos that have no masks, by how they ended, as the reason why something leaves them out."""

NO_VIDEOS_YET = "the job has no videos yet: none of them is finished"


def no_row(*, are_detections: bool) -> str:
    """What is said of a video that has no prompts."""
    return f"the {'table of detections' if are_detections else 'prompts table'} has no row for this video"


_REASONS: Mapping[str, str] = {
    Reason.PROMPTS: "prompts changed",
    Reason.FILE: "file replaced",
    Reason.RETRY: "tried again",
    Reason.RELABEL: "model or options changed",
    Reason.PRUNE: "in no table any more",
    Reason.REVIEW: "corrected by reviewers",
    Reason.UNKNOWN: "reason not in the log",
}


def reason_in_words(why: str) -> str:
    """Why videos are labeled again or leave, behind their number: a `Reason`, or a word of a later version."""
    return _REASONS.get(why, one_line(why))


def bytes_in_words(num_bytes: int) -> str:
    """A size as people read it: `312 B`, `312 kB`, `8.1 MB`, `2.4 GB`."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes / 1e3:.0f} kB" if num_bytes >= 1000 else f"{num_bytes} B"


def objects_line(objects: ObjectCounts) -> str:
    """How the objects of `ok` videos ended, in one line."""
    parts = [f"{objects.num_failed} failed"] if objects.num_failed else []
    parts += [f"{objects.num_warned} with a warning"] if objects.num_warned else []
    if objects.num_videos_uncounted:
        videos = counted(objects.num_videos_uncounted, "video")
        parts.append(f"not counted in {videos} of an earlier version")
    else:
        parts.insert(0, f"{objects.num - objects.num_failed} of {objects.num} labeled")
    return f"objects  {', '.join(parts)} (in ok videos)"


def how_again(bad: Mapping[Status, int], num_partly: int = 0, retries: Retries = NO_RETRIES) -> str:
    """One line that says which command labels bad videos again. `bad` counts them by status; no count is zero.

    `num_partly` are `ok` videos with objects that failed, which `retry=failed` takes as well. `retries` are those of
    the last run, which the same command repeats.
    """
    statuses = [status for status in Status if status in bad or (status is Status.FAILED and num_partly)]
    which = [f"{count} {status.value}" for status, count in bad.items()]
    which += [f"{num_partly} partly labeled"] if num_partly else []
    num = sum(bad.values()) + num_partly
    label = f"to label the {' and '.join(which)} {'video' if num == 1 else 'videos'} again"
    has_retry = retries.names(statuses)
    helps = f"{_higher(retries)}, another file or other prompts"
    if has_retry and retries.num_given_up == num:
        they = "they were" if num > 1 else "it was"
        return f"again    give {helps} {label}: retry= is set, and {they} tried as often as max_attempts= allows"
    command = (
        "run the same command, which has retry= already,"
        if has_retry
        else f"run the same command with {_retry(statuses)}"
    )
    few = f"; {retries.num_given_up} of them {'needs' if retries.num_given_up == 1 else 'need'} also {helps}"
    return f"again    fix the cause, then {command} {label}{few if retries.num_given_up else ''}"


def _higher(retries: Retries) -> str:
    """The key with which videos are tried again that have ended badly as often as they may."""
    return f"a max_attempts= above {max(retries.max_attempts, retries.most_failures)}"


def _retry(statuses: Sequence[Status]) -> str:
    """The key that names these statuses, as a shell takes it."""
    names = ",".join(status.value for status in statuses)
    return f"retry={names}" if len(statuses) == 1 else f"'retry=[{names}]'"


def describe_former(num_former: int) -> list[str]:
    """One line about finished videos that no table names any more; none if there are none."""
    if not num_former:
        return []
    are, their = ("is", "its") if num_former == 1 else ("are", "their")
    return [f"former   {num_former} of them {are} in no table any more; {their} rows stay until a run with prune=true"]


def describe_setbacks(counts: Mapping[Status, int], retries: Retries = NO_RETRIES) -> list[str]:
    """One line about videos that could not be labeled again in part, counted by how that ended; none if none are."""
    statuses = [status for status in Status if counts.get(status)]
    if not statuses:
        return []
    num, num_given_up = sum(counts.values()), retries.num_set_back_given_up
    retry, few = _retry(statuses), ""
    has_retry = retries.names(statuses)
    if num_given_up == num:
        retry = f"{_higher(retries)} ({retry} is set)" if has_retry else f"{retry} with {_higher(retries)}"
    else:
        retry = f"the next run ({retry} is set, max_attempts={retries.max_attempts})" if has_retry else retry
        needs = "needs" if num_given_up == 1 else "need"
        few = f"; {num_given_up} of them {needs} also {_higher(retries)}" if num_given_up else ""
    keep, them = ("keeps its former masks", "it") if num == 1 else ("keep their former masks", "them")
    return [
        f"kept     {counted(num, 'video')} could not be labeled again and {keep}; other corrections, "
        f"or {retry}, let {them} be tried again{few}"
    ]


def describe_left(num_left: int) -> list[str]:
    """One line about videos whose files are still being written; none if there are none."""
    are, them = ("is", "it") if num_left == 1 else ("are", "them")
    return (
        [f"left     {counted(num_left, 'video')} {are} still being written; the next run takes {them}"]
        if num_left
        else []
    )


@dataclass(frozen=True)
class Cause:
    """Videos or objects that ended badly for the same reason.

    `kind` says what they are (`failed` and `quarantined` videos, `object`, `warned`), `message` is that of one of
    them (the first of `named`, which are a few), and `is_of_all` says whether all have the same, letter for letter.
    """

    kind: str
    error_class: str
    message: str
    count: int
    named: tuple[str, ...]
    is_of_all: bool = True


@dataclass
class _Group:
    message: str
    is_of_all: bool = True
    count: int = 0
    named: list[str] = field(default_factory=list)


class Causes:
    """Failures put together where kind, class and message agree, but for names, paths and numbers in it."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], _Group] = {}

    def add(self, kind: str, error_class: str, message: str, name: str) -> None:
        """Count one of this kind. After 1000 causes all others are one, because memory must not grow with the job."""
        key = (kind, error_class, _PARTICULARS.sub("…", message))
        if key not in self._groups and len(self._groups) >= _MAX_GROUPS:
            key, message = (kind, error_class, _OTHERS), _OTHERS
        group = self._groups.setdefault(key, _Group(message))
        group.count += 1
        group.is_of_all &= message == group.message
        if len(group.named) < MAX_NAMED:
            group.named.append(name)

    def most_frequent(self, *kinds: str) -> list[Cause]:
        """The causes of these kinds, or of all, most frequent first."""
        causes = [
            Cause(kind, error_class, group.message, group.count, tuple(group.named), group.is_of_all)
            for (kind, error_class, _), group in self._groups.items()
            if not kinds or kind in kinds
        ]
        return sorted(causes, key=lambda cause: (-cause.count, cause.kind, cause.error_class, cause.message))

    def num_by_class(self) -> dict[str, int]:
        """How many failed, by class of error; those without one (objects) are not among them."""
        counts: Counter[str] = Counter()
        for (_, error_class, _), group in self._groups.items():
            if error_class:
                counts[error_class] += group.count
        return dict(counts)


def describe_causes(causes: Sequence[Cause], table: str = "videos") -> list[str]:
    """Lines for people: how many, why and which. `table` is the one that has the rest."""
    lines = []
    for cause in causes[:_MAX_CAUSES]:
        named = ", ".join(one_line(name) for name in cause.named)
        why = f"{cause.error_class}: {cause.message}" if cause.error_class else cause.message
        times = " ×" if cause.is_of_all else ", such as"
        lines.append(f"{cause.kind:<11} {cause.count}{times} {one_line(why, 300)}")
        lines.append(f"            {named}{', …' if cause.count > len(cause.named) else ''}")
    if len(causes) > _MAX_CAUSES:
        left = sum(cause.count for cause in causes[_MAX_CAUSES:])
        lines.append(f"            {left} more of other causes: see column message of the table {table}")
    return lines
