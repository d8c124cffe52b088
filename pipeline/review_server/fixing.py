"""Endpoints below `api/fix/`: correcting a mask by clicks, a box or a brush, from the job's own weights.

A page opens a correction and names it by its id from then on. What it says is answered by the mask that follows. Status
410 says that the server knows it no more: the page opens it again, and draws the mask that it shows.

POST open      `{video_id, object_id | null, frame_index, reviewer}`: null adds an object, with an id that is claimed
POST say       `{id, kind: click | box | draw | hide | clear | undo | restart, xy, label, box, counts}`
POST preview   `{id, num_frames, direction: 1 | -1}`: one line of JSON for each frame, as soon as it is there, and a
               line `{end}` if it ends earlier or is not what the job will do, with the reason
POST save      `{id, once, reviewer, labeled_at, seconds, category, comment, is_split}`: a page that has heard no answer
               sends it again with the same `once`, to this server or to the one that takes its place
POST withdraw  `{id, video_id, object_id, path, reviewer, verdict_path}`: takes back what `save` has answered
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from pipeline.errors import CannotMend, ConfigError, InputError, NotInJob, StorageError, WasClosed
from pipeline.review_server.answers import ReviewError, answer, json_body, rounded
from pipeline.review_server.once import Once
from pipeline.review_server.saved_fixes import SavedFix, SavedFixes
from pipeline.review_server.saying import MOST_LETTERS, Speaker, in_json, seconds_of, text_of
from pipeline.review_server.snapshot import from_text
from pipeline.review_server.verdict_book import ChangedMeanwhile
from pipeline.reviews.history import Said

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from pipeline.mending.correction import Correction, Seen
    from pipeline.mending.mender import Mender
    from pipeline.mending.saving import SavedBy
    from pipeline.review_server.state import ReviewState
    from pipeline.reviews.verdicts import Key

Body = Mapping[str, Any]
_PLAIN = ("hide", "clear", "undo", "restart")
_FORWARD = "This job walks forward only (propagate.direction): its next run makes no masks backward from here."
_EXPECTED = (NotInJob, StorageError, ConfigError, InputError, ValueError)  # `CannotMend` is a `ValueError`


def fix_routes(state: ReviewState) -> list[BaseRoute]:
    """Routes of fix mode, with paths below `/api/fix/`. The weights are loaded when the first frame is opened."""
    fixing = Fixing(state)
    routes: list[BaseRoute] = [
        Route(f"/api/fix/{name}", _posted(take), methods=["POST"])
        for name, take in (
            ("open", fixing.open),
            ("say", fixing.say),
            ("save", fixing.save),
            ("withdraw", fixing.withdraw),
        )
    ]
    return [*routes, Route("/api/fix/preview", fixing.preview, methods=["POST"])]


class Fixing:
    """What the endpoints do, each in a thread of a pool. Raises `ReviewError` for what cannot be done."""

    def __init__(self, state: ReviewState, mender: Mender | None = None) -> None:
        """Without a `mender` the first frame that is opened makes one."""
        self._state = state
        self._speaker = Speaker(state)
        self._made = mender
        self._making = threading.Lock()
        self._once = Once()
        self._saved = SavedFixes(state.storage)

    @property
    def _mender(self) -> Mender:
        with self._making:  # a second one would load the network again, and know no correction of the first
            if self._made is None:
                # torch takes 2 seconds to import, and a review without fixes needs none of it.
                from pipeline.mending.mender import Mender

                state = self._state
                self._made = Mender(state.storage, lambda: state.job, state.clip)
                state.at_end.append(self._made.close)  # or Ctrl-C would wait for all frames that it encodes ahead
            return self._made

    def open(self, body: Body) -> dict[str, Any]:
        """Begin to correct an object on a frame, or to add one."""
        video_id, frame_index = _video(body), _whole(body, "frame_index")
        if body.get("object_id") is None:
            self._mender.network()  # nobody claims an id for an object that cannot be drawn
            object_id = self._state.claim_object_id(video_id, self._speaker.reviewer(body))
        else:
            object_id = _whole(body, "object_id")
        correction = self._mender.open(video_id, object_id, frame_index)
        return _shown(correction, correction.seen) | {"device": self._mender.network().device}

    def say(self, body: Body) -> dict[str, Any]:
        """One click, box or mask, or one step back."""
        correction, kind = self._correction(body), body.get("kind")
        if kind == "click":
            seen = correction.click(_numbers(body, "xy", 2), _whole(body, "label"))
        elif kind == "box":
            seen = correction.box(_numbers(body, "box", 4))
        elif kind == "draw":
            seen = correction.draw(str(body.get("counts") or ""))
        elif kind in _PLAIN:
            seen = getattr(correction, kind)()
        else:
            raise ReviewError(f"kind={kind!r}: there are click, box, draw, {', '.join(_PLAIN)}")
        return _shown(correction, seen)

    def save(self, body: Body) -> dict[str, Any]:
        """Write what is seen, and the verdict `fix`, once. A split gets an id for the track that begins here."""
        once = text_of(body, "once", 100)
        return self._once.answer(once, lambda: self._save(body, once))

    def _save(self, body: Body, once: str) -> dict[str, Any]:
        from pipeline.mending.saving import SavedBy, save_correction

        correction, state, said = self._correction(body), self._state, []
        key = correction.video_id, correction.object_id
        by = SavedBy(
            reviewer=self._speaker.reviewer(body),
            labeled_at=from_text(body.get("labeled_at")),
            seconds=seconds_of(body),
            category=text_of(body, "category", MOST_LETTERS) or None,
            comment=text_of(body, "comment", MOST_LETTERS) or None,
            is_audit=state.is_audit(key),
            said_id=once or None,
        )
        saved = self._saved.find(once)
        if saved is not None:
            return self._finish(correction, by, saved)
        split_into = state.claim_object_id(correction.video_id, by.reviewer) if body.get("is_split") else None
        path = save_correction(
            state.storage, correction, by, split_into, say=lambda row: said.append(state.book.write(row))
        )
        return self._answer(key, SavedFix(path, split_into), *(said[0] if said else (None, None)))

    def _finish(self, correction: Correction, by: SavedBy, saved: SavedFix) -> dict[str, Any]:
        """The mask is written already: its verdict follows, if that is not."""
        from pipeline.mending.saving import note_saved

        verdict = note_saved(correction, by, saved.split_into)
        key, book = (correction.video_id, correction.object_id), self._state.book
        if verdict is None:
            return self._answer(key, saved)
        self._state.noted(book.look())
        return self._answer(key, saved, *(book.said_as(str(by.said_id), key) or book.write(verdict)))

    def _answer(
        self, key: Key, saved: SavedFix, said: Said | None = None, before: Said | None = None
    ) -> dict[str, Any]:
        """What the page hears of a mask that is saved, of its verdict, and of the one that counted before."""
        self._state.noted({key})
        self._state.changed(key[0])
        return {
            "path": saved.path,
            "split_into": saved.split_into,
            "verdict_path": None if said is None else said.path,
            "replaced": None if before is None else in_json(before),
        }

    def withdraw(self, body: Body) -> dict[str, Any]:
        """Take back what one file says, and the verdict if nobody has spoken since: what counted before counts again.

        `verdict_path` of the answer is that of the reviewer's own verdict of before, which stands in another file now.
        """
        from pipeline.mending.taking_back import take_back

        state, reviewer = self._state, self._speaker.reviewer(body)
        key, again = (_video(body), _whole(body, "object_id")), None
        path = take_back(state.storage, str(body.get("path")), key, reviewer)
        if body.get("verdict_path"):
            state.noted(state.book.look())
            with suppress(ChangedMeanwhile):  # what was said later stays
                again = state.book.undo(str(body["verdict_path"]), key, reviewer)
        with suppress(CannotMend):  # one that is closed meanwhile is opened again without it
            if self._made is not None:
                self._correction(body).split_into = None
        state.noted({key})
        state.changed(key[0])
        is_mine = again is not None and again.row["reviewer"] == reviewer
        return {"path": path, "verdict_path": again.path if again is not None and is_mine else None}

    async def preview(self, request: Request) -> Response:
        """The next frames with the correction as a prompt, line by line; it stops when the page hangs up."""
        # In a thread, because it waits for the network, and nobody's frames and verdicts shall.
        lines = await run_in_threadpool(self._preview, await json_body(request))
        return StreamingResponse(lines, media_type="application/x-ndjson", headers={"cache-control": "no-store"})

    def _preview(self, body: Body) -> Iterator[str]:
        try:
            correction = self._correction(body)
            direction = -1 if body.get("direction") == -1 else 1
            found = correction.propagate(_whole(body, "num_frames"), direction)
            is_made = direction == 1 or self._mender.network().direction != "forward"
        except _EXPECTED as error:
            raise _told(error) from error
        return _lines(found, "" if is_made else _FORWARD)

    def _correction(self, body: Body) -> Correction:
        return self._mender.correction(str(body.get("id")))


def _lines(found: Generator[Seen, None, str], remark: str) -> Iterator[str]:
    """A line of JSON for each frame. The status is sent before the first one, so that an error is a line too."""
    try:
        if remark:
            yield json.dumps({"end": remark}) + "\n"
        while True:
            try:
                seen = next(found)
            except StopIteration as stopped:
                if end := " ".join(filter(None, (stopped.value, remark))):
                    yield json.dumps({"end": end}) + "\n"
                return
            yield json.dumps(_mask(seen), separators=(",", ":")) + "\n"
    except _EXPECTED as error:
        yield json.dumps({"error": _told(error).detail}) + "\n"


def _posted(take: Callable[[Body], dict[str, Any]]) -> Callable[[Request], Any]:
    def call(body: Body) -> dict[str, Any]:
        try:
            return take(body)
        except _EXPECTED as error:
            raise _told(error) from error

    async def endpoint(request: Request) -> Response:
        return answer(await run_in_threadpool(call, await json_body(request)))

    return endpoint


def _told(error: Exception) -> ReviewError:
    """One of these errors as a person is told of it, with its status."""
    if isinstance(error, NotInJob):
        return ReviewError(str(error), 404)
    if isinstance(error, WasClosed):
        return ReviewError(str(error), 410)
    return ReviewError(str(error), 503 if isinstance(error, StorageError) else 400)


def _shown(correction: Correction, seen: Seen) -> dict[str, Any]:
    said = correction.said
    return _mask(seen) | {
        "id": correction.id,
        "object_id": correction.object_id,
        "is_added": not correction.is_of_a_track,
        "num_said": correction.num_said,
        "points": [[*xy, label] for xy, label in zip(said.points_xy, said.labels, strict=True)],
        "box": said.box_xyxy,
    }


def _mask(seen: Seen) -> dict[str, Any]:
    return {
        "frame_index": seen.frame_index,
        "size": list(seen.size_hw),
        "counts": seen.counts,
        "area": seen.area,
        "is_hidden": seen.is_hidden,
        "score": rounded(seen.score),
    }


def _video(body: Body) -> str:
    value = body.get("video_id")
    if not isinstance(value, str):
        raise ReviewError("video_id needs a text")
    return value


def _whole(body: Body, name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ReviewError(f"{name} needs a whole number")
    return value


def _numbers(body: Body, name: str, count: int) -> Any:
    value = body.get(name)
    if not isinstance(value, list) or len(value) != count or not all(isinstance(one, int | float) for one in value):
        raise ReviewError(f"{name} needs {count} numbers")
    return tuple(float(one) for one in value)
