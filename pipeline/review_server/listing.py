"""What the list of the page asks for: who reviews what, pages of tracks, what comes next, what is new."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pipeline.arrays import Int64Array
from pipeline.quality.reasons import Reason
from pipeline.review_server.answers import ReviewError, answer, number_of, rounded, track_of
from pipeline.review_server.reasons_in_words import in_words
from pipeline.review_server.snapshot import in_text
from pipeline.review_server.state import ReviewState
from pipeline.review_server.track_list import VERDICTS, Chosen, TrackList

_MOST_ROWS = 500


class Listing:
    """Endpoints. Each is a plain function, which runs in a thread of a pool."""

    def __init__(self, state: ReviewState, is_fixing: bool) -> None:
        self._state = state
        self._is_fixing = is_fixing

    def session(self, request: Request) -> Response:
        """What a page needs to begin."""
        self._state.look()  # a page that is opened after hours must not begin with the labels of then
        state, tracks = self._state, self._state.tracks
        output = str(state.storage)
        return answer(
            {
                "output": output,
                # By which a browser keeps drafts of this output apart from those of others.
                "output_key": hashlib.sha256(output.encode()).hexdigest()[:16],
                "reviewer": state.options.reviewer,
                "where": state.options.where,
                "fixing": self._is_fixing,
                "has_queue": state.options.queue is not None,
                "all_reasons": [reason.value for reason in Reason],
                "verdicts": list(VERDICTS),
                "categories": [{"name": name, "num": num} for name, num in tracks.categories()],
                "reasons": tracks.reasons(),
                **self._counts(),
            }
        )

    def page(self, request: Request) -> Response:
        """Rows `offset` to before `offset + limit` of the tracks that are chosen."""
        self._state.look()
        tracks = self._state.tracks
        places = _places(tracks, request)
        offset = max(0, number_of(request, "offset", 0))
        limit = min(max(0, number_of(request, "limit", 100)), _MOST_ROWS)
        rows = self._rows(tracks, places[offset : offset + limit].tolist()) if len(tracks) else []
        return answer({"total": len(places), "offset": offset, "rows": rows, "version": self._state.version})

    def next_open(self, request: Request) -> Response:
        """Of those that are chosen the next tracks without a verdict, behind one track; at the end skipped ones."""
        tracks = self._state.tracks
        after = tracks.place_of(track_of(request)) if "video" in request.query_params else None
        count = min(max(1, number_of(request, "count", 2)), 20)
        try:
            places = tracks.next_open(_chosen(request), after, count)
        except ValueError as error:
            raise ReviewError(str(error)) from error
        return answer({"rows": self._rows(tracks, places)})

    def rank(self, request: Request) -> Response:
        """Where a track stands among those that are chosen, counted from 0; null if it is none of them."""
        tracks = self._state.tracks
        place = tracks.place_of(track_of(request))
        found = (_places(tracks, request) == place).nonzero()[0] if place is not None else []
        return answer({"rank": int(found[0]) if len(found) else None})

    def news(self, request: Request) -> Response:
        """What has changed since a version of the list: rows of tracks, or `rows: null` if all must be read again."""
        state = self._state
        since, reading = number_of(request, "since", 0), number_of(request, "reading", 0)
        state.look()
        version, tracks = state.version, state.tracks
        keys = state.changes_since(since) if reading == state.snapshot.number else None
        places = None if keys is None else [place for key in keys if (place := tracks.place_of(key)) is not None]
        is_too_much = places is None or len(places) > _MOST_ROWS
        rows = None if is_too_much else self._rows(tracks, places or [])
        return answer({"version": version, "rows": rows, "trouble": state.trouble, **self._counts()})

    def _counts(self) -> dict[str, Any]:
        state = self._state
        return {
            "version": state.version,
            "reading": state.snapshot.number,
            "num_tracks": len(state.tracks),
            "num_broken": state.snapshot.broken.num_rows,
            "num_queued": state.tracks.num_queued,
            "num_queued_said": state.tracks.num_queued_said,
            "counts": state.tracks.counts(),
        }

    def _rows(self, tracks: TrackList, places: Sequence[int]) -> list[dict[str, Any]]:
        return [track_row(self._state, row) for row in tracks.rows_at(places)]


def _places(tracks: TrackList, request: Request) -> Int64Array:
    """Places of one list alone: whoever asks holds on to it, because a running job may give another one meanwhile."""
    try:
        return tracks.places(_chosen(request))
    except ValueError as error:
        raise ReviewError(str(error)) from error


def track_row(state: ReviewState, row: dict[str, Any]) -> dict[str, Any]:
    """A track as the list shows it."""
    key = row["video_id"], row["object_id"]
    said, is_of_now = state.current(key)
    told = None
    if said is not None:
        told = {
            "verdict": said.verdict.value,
            "reviewer": said.row["reviewer"],
            "is_stale": not is_of_now,
            "comment": said.row["comment"],
            "category": said.row["category"],
        }
    return {
        "video_id": key[0],
        "object_id": key[1],
        "category": row["category"],
        "doubt": rounded(row["doubt"], 3),
        "reasons": in_words(row),
        "doubt_frame": row["doubt_frame"],
        "num_masks": row["num_masks"],
        "num_visible": row["num_visible"],
        "is_audit": state.tracks.is_audit(key),
        "labeled_at": in_text(state.labeled_at(key)),
        "video_at": state.clip_key(key[0])[1],  # when any of its tracks was made last
        "message": row["message"] or "",
        "num_failed": state.snapshot.num_failed.get(key[0], 0),
        "said": told,
    }


def _chosen(request: Request) -> Chosen:
    query = request.query_params
    return Chosen(
        sort=query.get("sort", Chosen.sort),  # type: ignore[arg-type]  # the list refuses any other
        verdict=query.get("verdict", ""),
        reason=query.get("reason", ""),
        category=query.get("category"),
        text=query.get("text", ""),
    )
