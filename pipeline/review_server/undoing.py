"""The key `u`: what a reviewer has said last of a track is taken back, in whichever visit it was said."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pipeline.errors import CannotMend, InputError, StorageError
from pipeline.mending.taking_back import LastCorrection, last_correction, take_back
from pipeline.review_server.answers import ReviewError
from pipeline.review_server.saying import Speaker, in_json, key_of, text_of
from pipeline.review_server.state import ReviewState
from pipeline.review_server.verdict_book import ChangedMeanwhile
from pipeline.reviews.history import Said, Standing
from pipeline.reviews.verdicts import Key, Verdict

_MOST_PATH = 1000
_TIED = timedelta(milliseconds=2)  # rows of one document are said that much after those which they take the place of


class Undoing:
    """The endpoint. What cannot be undone is a `ReviewError`, of status 409 if others have spoken since."""

    def __init__(self, state: ReviewState, speaker: Speaker) -> None:
        self._state = state
        self._speaker = speaker

    def undo(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Take back the verdict of the file `path`, or without one what the reviewer has said last of the track.

        That is a verdict, or a correction with the verdict `fix` that went with it; `of: "fix"` wants a correction.
        The answer has what counts now (`current`), what was taken back (`taken`, a verdict or null), and of a
        correction its file (`path`) and its `frames`.
        """
        key, reviewer, path = key_of(body), self._speaker.reviewer(body), text_of(body, "path", _MOST_PATH)
        state = self._state
        try:
            state.noted(state.book.look())
            standing = state.book.standing(key)
            if path:
                return self._taken(key, reviewer, next((one for one in standing if path in one.paths), None), path)
            last = last_correction(state.storage, *key, reviewer)
            if last is None and body.get("of") == "fix":
                raise ReviewError(f"nothing is taken back: you have corrected nothing of object {key[1]}", 409)
            return self._last(key, reviewer, standing, last, wants_fix=body.get("of") == "fix")
        except (ChangedMeanwhile, CannotMend) as error:
            raise ReviewError(str(error), 409) from error
        except (StorageError, InputError) as error:
            raise ReviewError(f"not undone: {error}", 503) from error

    def _last(
        self, key: Key, reviewer: str, standing: list[Standing], last: LastCorrection | None, *, wants_fix: bool
    ) -> dict[str, Any]:
        newest = standing[-1].said if standing else None
        if newest is not None and newest.row["reviewer"] != reviewer:
            has_spoken = last is not None or any(one.said.row["reviewer"] == reviewer for one in standing)
            who = f"{newest.row['reviewer']} has said {newest.verdict} of this track"
            raise ReviewError(
                f"nothing is taken back: {who} since" if has_spoken else f"nothing of this track is yours: {who}", 409
            )
        is_fix = last is not None and newest is not None and _goes_with(newest, last)
        if last is not None and (wants_fix or is_fix or newest is None or newest.row["reviewed_at"] <= last.at):
            return self._corrected(key, reviewer, standing, last)
        if newest is None:
            raise ReviewError("you have said nothing of this track", 409)
        return self._taken(key, reviewer, standing[-1], newest.path)

    def _taken(self, key: Key, reviewer: str, one: Standing | None, path: str) -> dict[str, Any]:
        now = self._state.book.undo(path, key, reviewer)
        self._state.noted({key})
        return _answer(now, one, None)

    def _corrected(self, key: Key, reviewer: str, standing: list[Standing], last: LastCorrection) -> dict[str, Any]:
        """Take a correction back, and the verdict that went with it where that counts still."""
        if last.since:
            raise CannotMend(
                f"nothing is taken back: {last.since} has spoken of object {key[1]} on frame "
                f"{', '.join(map(str, sorted(last.frame_indexes)))} since"
            )
        others = {other: last_correction(self._state.storage, *other, reviewer) for other in sorted(last.others)}
        take_back(self._state.storage, last.path, key, reviewer)
        for other, before in others.items():
            if before is not None and before.path == last.path:
                self._split_no_more(other, reviewer, before)
        newest = standing[-1] if standing else None
        if newest is not None and _goes_with(newest.said, last):
            with suppress(ChangedMeanwhile):  # what was said in this moment stays
                self._state.book.undo(newest.said.path, key, reviewer)
        else:
            newest = None
        self._state.noted({key})
        self._state.changed(key[0])
        return _answer(self._state.book.current(key), newest, last)

    def _split_no_more(self, track: Key, reviewer: str, before: LastCorrection) -> None:
        """Take back the verdict on the other side of a split as well, where nothing else of its file stands."""
        last = last_correction(self._state.storage, *track, reviewer)
        standing = self._state.book.standing(track)
        is_mine = bool(standing) and standing[-1].said.row["reviewer"] == reviewer
        if is_mine and _goes_with(standing[-1].said, before) and (last is None or last.path != before.path):
            with suppress(ChangedMeanwhile):
                self._state.book.undo(standing[-1].said.path, track, reviewer)


def _goes_with(verdict: Said, last: LastCorrection) -> bool:
    """Whether a verdict was saved with a correction, which took the same seconds.

    A document of another program says one verdict for all frames of a track, and a later one does not repeat it: that
    goes with the last correction that stands of this handout. What was said after the correction does not.
    """
    if verdict.row["handout"] is not None:
        is_later = verdict.row["reviewed_at"] > last.at + _TIED
        is_of_handout = verdict.row["handout"] == last.handout and last.is_last_of_handout
        return verdict.verdict is Verdict.FIX and is_of_handout and not is_later
    is_of_frame = verdict.row["frame_index"] in last.frame_indexes
    return verdict.verdict is Verdict.FIX and is_of_frame and verdict.row["seconds"] == last.seconds


def _answer(now: Said | None, taken: Standing | None, corrected: LastCorrection | None) -> dict[str, Any]:
    return {
        "current": None if now is None else in_json(now),
        "taken": None if taken is None else in_json(taken.said),
        "path": None if corrected is None else corrected.path,
        "frames": [] if corrected is None else sorted(corrected.frame_indexes),
    }
