"""What the page sends when somebody says something of a track, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import InputError, StorageError
from pipeline.review_server.answers import ReviewError
from pipeline.review_server.bounded import Bounded
from pipeline.review_server.once import Answer, Once
from pipeline.review_server.snapshot import from_text
from pipeline.review_server.state import ReviewState, unknown_track
from pipeline.review_server.track_list import VERDICTS
from pipeline.reviews.history import Said
from pipeline.reviews.verdicts import Key

_MOST_SECONDS = 3600.0
MOST_LETTERS = 4000
_MOST_NAME = 100
_REMEMBERED = 10_000
_FRESH_SECONDS = 1.0  # between two looks for other labels while verdicts are said


class Speaker:
    """Writes verdicts of the page, each once: the page sends one again where it has not heard that it was saved.

    The id by which it is known is written with it, because a server that was killed before it answered is another one
    when the verdict comes again.
    """

    def __init__(self, state: ReviewState) -> None:
        self._state = state
        self._once = Once()
        self._doubted: Bounded[str, bool] = Bounded(_REMEMBERED)  # the store gave no answer, and may have taken them

    def say(self, body: Mapping[str, Any]) -> Answer:
        """Write a verdict, and say what it replaced and whether it is of earlier labels.

        Raises `ReviewError`: of status 400 for a body that says nonsense, 503 where the store did not take it.
        """
        once = text_of(body, "id", 100)
        return self._once.answer(once, lambda: self._said_before(body, once) or self._said(body, once))

    def _said_before(self, body: Mapping[str, Any], once: str) -> Answer | None:
        """The answer for a verdict that is written already; None if it is not, or has no id."""
        if not once:
            return None
        key = key_of(body)
        if self._doubted.get(once):
            try:
                self._state.noted(self._state.book.look())
            except (StorageError, InputError) as error:
                raise ReviewError(f"not saved: {error}", 503) from error
        found = self._state.book.said_as(once, key)
        return None if found is None else self._answer(key, *found)

    def _said(self, body: Mapping[str, Any], once: str) -> Answer:
        key, reviewer = key_of(body), self.reviewer(body)
        verdict = body.get("verdict")
        if verdict not in VERDICTS[1:]:
            raise ReviewError(f"verdict={verdict!r}: there are {', '.join(VERDICTS[1:])}")
        try:
            labeled_at = from_text(body.get("labeled_at"))
        except ValueError as error:
            raise ReviewError(f"labeled_at is no time: {error}") from error
        if self._state.tracks.place_of(key) is None:
            raise ReviewError(f"not saved: {unknown_track(key).args[0]}", 404)
        row = {
            "video_id": key[0],
            "object_id": key[1],
            "verdict": verdict,
            "reviewer": reviewer,
            "reviewed_at": datetime.now(UTC),
            "labeled_at": labeled_at,
            "is_audit": self._state.is_audit(key),
            "seconds": seconds_of(body),
            "frame_index": _frame(body),
            "comment": text_of(body, "comment", MOST_LETTERS) or None,
            "category": text_of(body, "category", MOST_LETTERS) or None,
            "said_id": once or None,
        }
        try:
            said, before = self._state.book.write(row)
        except StorageError as error:
            self._doubted.put(once, True)
            raise ReviewError(f"not saved: {error}", 503) from error
        self._state.noted({key})
        # The verdict is safe now. The page hears at once where the job has labeled the video again meanwhile.
        self._state.look(_FRESH_SECONDS)
        return self._answer(key, said, before)

    def _answer(self, key: Key, said: Said, before: Said | None) -> Answer:
        """What the page hears of a verdict that is written, and of the one that counted before."""
        return {
            "path": said.path,
            "replaced": None if before is None else in_json(before),
            "is_stale": not said.is_of(self._state.labeled_at(key)),
        }

    def reviewer(self, body: Mapping[str, Any]) -> str:
        """Who speaks: the name in the page, or that of `reviewer=`. Raises `ReviewError` if there is neither."""
        name = text_of(body, "reviewer", _MOST_NAME).strip() or self._state.options.reviewer
        if not name:
            raise ReviewError("who are you? Give a name in the page, or reviewer= to the command")
        return name


def in_json(said: Said) -> dict[str, Any]:
    """A verdict as the page shows it."""
    row = said.row
    return {
        "path": said.path,
        "verdict": said.verdict.value,
        "reviewer": row["reviewer"],
        "reviewed_at": row["reviewed_at"].isoformat(timespec="seconds"),
        "frame_index": row["frame_index"],
        "comment": row["comment"],
        "category": row["category"],
    }


def key_of(body: Mapping[str, Any]) -> Key:
    """The track that a body names. Raises `ReviewError`."""
    video_id, object_id = body.get("video_id"), body.get("object_id")
    if not isinstance(video_id, str) or not isinstance(object_id, int) or isinstance(object_id, bool):
        raise ReviewError("video_id needs a text and object_id a whole number")
    if not -(2**63) <= object_id < 2**63:
        raise ReviewError("object_id is too large")
    return video_id, object_id


def text_of(body: Mapping[str, Any], name: str, most: int) -> str:
    """A text of what the page sends, empty if there is none. Raises `ReviewError` for one that is too long or none."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ReviewError(f"{name} needs a text")
    if len(value) > most:
        raise ReviewError(f"{name} has {len(value)} letters: {most} are the most")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ReviewError(f"{name} holds half of a letter (a lone surrogate)") from error
    return value


def seconds_of(body: Mapping[str, Any]) -> float | None:
    """How long somebody has looked, an hour at the most; None if it is not told. Raises `ReviewError` for nonsense."""
    value = body.get("seconds")
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        raise ReviewError("seconds needs a number from 0 on")
    return min(float(value), _MOST_SECONDS)


def _frame(body: Mapping[str, Any]) -> int | None:
    value = body.get("frame_index")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise ReviewError("frame_index needs a whole number from 0 on")
    return value
