"""`python -m pipeline.review output=…`: people look at the tracks of a job in a browser and say what they think.

The server is the room `review_server`. It writes below `reviews/` of the output and nowhere else.
"""

from __future__ import annotations

import re
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from pipeline.command import ExitCode, JobArguments, describe_arguments, main
from pipeline.config.kinds import OptionalPlace, OptionalRoot
from pipeline.data_engine.queue_file import read_queue
from pipeline.errors import ConfigError
from pipeline.packages import leave_current_folder
from pipeline.redact import redact_uri
from pipeline.reviews.reviewers import user_name
from pipeline.reviews.verdicts import Key, Verdict
from pipeline.storage.job_storage import JobStorage
from pipeline.text import counted, say

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,100}")
_QUEUE_COLUMNS = ("video_id", "object_id", "is_audit")


class ReviewArguments(JobArguments):
    """The keys of the command."""

    reviewer: str | None = Field(
        default=None, max_length=100, description="Who reviews; null is the user of this machine. A page can change it."
    )
    queue: OptionalPlace = Field(
        default=None, description="A queue that python -m pipeline.queue has written; null makes one at the start."
    )
    queue_storage_options: dict[str, Any] | None = Field(
        default=None, description="Credentials and endpoints for queue=; null: those of storage_options."
    )
    where: str | None = Field(default=None, description="Which tracks, as in 'where=category = \"cat\"'; null is all.")
    videos_root: OptionalRoot = Field(
        default=None, description="A folder or URI below which the files of the videos lie now; null: where they were."
    )
    host: str = Field(default="127.0.0.1", description="The address that the server listens on: this machine alone.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8765, description="Its port; 0 takes any that is free.")
    token: str | None = Field(
        default=None,
        description="What the link must hold, 16 letters or more; null makes a new one at each start.",
    )

    @field_validator("token")
    @classmethod
    def _check_token(cls, value: str | None) -> str | None:
        if value is not None and not _TOKEN.fullmatch(value):  # the error does not repeat it, because it is a secret
            raise ValueError(f"token= has {len(value)} letters: it needs 16 to 100 of a-z, A-Z, 0-9, - and _")
        return value


HELP = f"""Shows the tracks of a job in a browser, so that people accept, reject or fix them.

  python -m pipeline.review output=…
  python -m pipeline.review output=s3://bucket/labels queue=queue.parquet reviewer=ann port=8765

{describe_arguments(ReviewArguments)}

It prints a link: open it in a browser on this machine, or through ssh -L 8765:127.0.0.1:8765 from another one. Whoever
has the link may review. Ctrl-C ends the server; what the page called saved is in the output. It needs starlette and
uvicorn: pip install "maskmill[review]".

Exit codes:
  {ExitCode.DONE}   It was ended by Ctrl-C or SIGTERM.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   The arguments are wrong, there is no job, or the port is taken.
"""


def run(arguments: ReviewArguments) -> ExitCode:
    """Serve until a signal comes."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f'a review needs starlette and uvicorn ({error}): pip install "maskmill[review]"') from error
    from pipeline.review_server.guard import own_names
    from pipeline.review_server.options import ReviewOptions, new_token
    from pipeline.review_server.serving import listening, serve
    from pipeline.review_server.state import ReviewState

    listener = listening(arguments.host, arguments.port)
    with listener:
        options = ReviewOptions(
            reviewer=user_name() if arguments.reviewer is None else arguments.reviewer.strip(),
            where=arguments.where,
            queue=_queue(arguments),
            videos_root=arguments.videos_root,
            token=arguments.token or new_token(),
            hosts=own_names(arguments.host),
        )
        storage = JobStorage(arguments.output, arguments.storage_options)
        # A name of a review is random, so that a store without create-only writes takes it as well.
        storage.single_driver = not storage.supports_create
        state = ReviewState(storage, options)
        if options.queue and len(state.tracks) and not arguments.where and not state.tracks.num_queued:
            raise ConfigError(_of_another_job(arguments, options.queue, state.tracks.video_ids))
        fitting = "" if len(state.tracks) or not arguments.where else f"; none fits where={arguments.where}"
        queued = f"{state.tracks.num_queued} of them in the queue"
        say(f"review   {storage}: {counted(len(state.tracks), 'track')}, {queued}{fitting}")
        serve(state, listener, lambda link: say(f"open     {link}\n{how_to_open(link)}"))
    say(how_it_ended(storage, state.tracks.counts()))
    return ExitCode.DONE


def how_to_open(link: str) -> str:
    """One line about where a link works, and what ends its server."""
    address = urlsplit(link)
    is_only_here = address.hostname in ("127.0.0.1", "::1")
    tunnel = f", or in one elsewhere after ssh -L {address.port}:{address.netloc} {socket.gethostname()}"
    return f"         in a browser of this machine{tunnel if is_only_here else ''}; Ctrl-C here ends the review"


def how_it_ended(storage: JobStorage, counts: Mapping[str, int]) -> str:
    """What was said of the tracks until the end of a review, and what becomes of it. `counts` are those of verdicts."""
    said = {verdict.value: counts[verdict] for verdict in Verdict if counts.get(verdict)}
    num_said, total = sum(said.values()), counted(sum(counts.values()), "track")
    if not said:
        return f"review   ended: nobody has said anything of {total}"
    words = ", ".join(f"{count} {verdict}" for verdict, count in said.items())
    have = "has" if num_said == 1 else "have"
    lines = [f"review   ended: {num_said} of {total} {have} a verdict ({words}), below reviews/ of the output"]
    if counts.get(Verdict.REJECT):
        lines.append("reject   what is rejected has left the tables already")
    if counts.get(Verdict.FIX):
        lines.append("fix      the command that labels the job, once more, labels anew what was corrected")
    return "\n".join([*lines, f"rounds   python -m pipeline.rounds output={shlex.quote(str(storage))}"])


def _of_another_job(arguments: ReviewArguments, queue: Mapping[Key, bool], video_ids: Sequence[str]) -> str:
    video_id, object_id = next(iter(queue))
    return (
        f"queue={redact_uri(str(arguments.queue))}: none of its {counted(len(queue), 'track')} is in "
        f"output={redact_uri(arguments.output)}: the first is object {object_id} of {video_id!r}, and the output has "
        f"{', '.join(map(repr, video_ids[:3]))}{', …' if len(video_ids) > 3 else ''}; give the queue of this output"
    )


def _queue(arguments: ReviewArguments) -> dict[Key, bool] | None:
    """Keys of `queue=` in its order, with `is_audit`. Raises `ConfigError` for a file that is no queue."""
    if not arguments.queue:
        return None
    own = arguments.queue_storage_options
    rows = read_queue(arguments.queue, arguments.storage_options if own is None else own, *_QUEUE_COLUMNS)
    return {(row["video_id"], row["object_id"]): row["is_audit"] for row in rows}


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    return main(HELP, ReviewArguments, run, words)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())
