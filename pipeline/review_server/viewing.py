"""What the player of the page asks for: one track with its course, frames, masks and small pictures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from model import MediaError
from pipeline.errors import ConfigError, NotInJob, OtherFile, StorageError
from pipeline.masks.overlay import color_of
from pipeline.review_server.answers import ReviewError, answer, number_of, picture, rounded, track_of, video_of
from pipeline.review_server.bounded import Bounded
from pipeline.review_server.filmstrips import filmstrip
from pipeline.review_server.frame_store import ClipKey
from pipeline.review_server.listing import track_row
from pipeline.review_server.mask_store import series
from pipeline.review_server.saying import in_json
from pipeline.review_server.state import ReviewState, unknown_track
from pipeline.reviews.verdicts import Key

if TYPE_CHECKING:
    from pipeline.notebook.clip import Clip

T = TypeVar("T")
_MOST_STRIP_BYTES = 64 << 20
_MOST_FRAMES = 512  # of masks in one answer
_STRIPS_AT_ONCE = 2  # so that threads and cores are left for the player


class Viewing:
    """Endpoints. Each is a plain function, which runs in a thread of a pool."""

    def __init__(self, state: ReviewState) -> None:
        self._state = state
        self._strips: Bounded[tuple[ClipKey, int], bytes] = Bounded(_MOST_STRIP_BYTES, len)
        self._strips_turn = threading.Semaphore(_STRIPS_AT_ONCE)

    def track(self, request: Request) -> Response:
        """One track: its row, its video, its course over time, and what was said of it."""
        state, key = self._state, track_of(request)
        row = self._row(key)
        clip = self._told(lambda: state.clip(key[0]))
        return answer(
            {
                **track_row(state, row),
                "prompt_frames": row["prompt_frames"],
                "video": _video_facts(clip),
                **self._told(lambda: _frames(clip)),
                "series": self._told(lambda: series(state.job, *key)),
                "objects": [
                    {"object_id": one["object_id"], "category": one["category"], "color": color_of(one["object_id"])}
                    for one in clip.tracks.select(["object_id", "category"]).to_pylist()
                ],
                "history": [in_json(one) for one in state.book.history(key)],
            }
        )

    def all_frames(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """All frames of a video and their times, from now on also those on which nothing is labeled."""
        video_id = body.get("video_id")
        if not isinstance(video_id, str):
            raise ReviewError("video_id needs a text")
        clip = self._told(lambda: self._state.clip_with_all_frames(video_id))
        return _frames(clip)

    def masks(self, request: Request) -> Response:
        """The masks of a video from one frame index to before another, as COCO's counts by frame and object."""
        state, video_id = self._state, video_of(request)
        start, stop = number_of(request, "start"), number_of(request, "stop")
        labeled_at = state.clip_key(video_id)[1]
        found = self._told(lambda: state.masks.masks(state.job, video_id, labeled_at, start, stop))
        size = self._told(lambda: state.clip(video_id).size_hw)
        return answer({"size": [size[1], size[0]], "frames": found}, cached_seconds=600)

    def frame(self, request: Request) -> Response:
        """One frame of a video as a JPEG."""
        state, video_id, frame_index = self._state, video_of(request), number_of(request, "frame")
        ahead = number_of(request, "ahead", 48)
        key = state.clip_key(video_id)
        jpeg = self._told(
            lambda: state.frames.jpeg(key, lambda: state.clip(video_id), frame_index, min(max(0, ahead), 64))
        )
        return picture(jpeg)

    def strip(self, request: Request) -> Response:
        """Small pictures of a track, side by side in one JPEG."""
        state, key = self._state, track_of(request)
        row = self._row(key)
        kept = (state.clip_key(key[0]), key[1])
        found = self._strips.get(kept)
        if found is None:
            with self._strips_turn:
                found = self._told(lambda: filmstrip(state.job, state.clip(key[0]), row))
            self._strips.put(kept, found)
        return picture(found)

    def _row(self, key: Key) -> dict[str, Any]:
        """The row of a track. Raises `ReviewError` for one that the list does not have."""
        tracks = self._state.tracks  # one list, of which places are: a running job may give another one meanwhile
        place = tracks.place_of(key)
        if place is None:
            raise ReviewError(unknown_track(key).args[0], 404)
        return tracks.row(place)

    def _told(self, make: Callable[[], T]) -> T:
        """What `make` makes. Raises `ReviewError` where a video or a store is at fault, which is for people to read."""
        try:
            return make()
        except NotInJob as error:
            raise ReviewError(str(error.args[0]), 404) from error
        except (MediaError, OtherFile, ConfigError, ValueError) as error:
            raise ReviewError(str(error), 409) from error
        except (StorageError, FileNotFoundError) as error:
            raise ReviewError(str(error), 503) from error


def _frames(clip: Clip) -> dict[str, Any]:
    return {
        "frames": clip.frame_indexes.tolist(),
        "times": [rounded(value, 3) for value in clip.frame_times.tolist()],
    }


def _video_facts(clip: Clip) -> dict[str, Any]:
    row = clip.row
    return {
        "width": row["width"],
        "height": row["height"],
        "fps": rounded(row["fps"], 4),
        "pixel_aspect": rounded(row["pixel_aspect"], 4),
        "num_frames": row["num_frames"],
        "num_tracks": row["num_tracks"],
        "uri": row["uri"],
        "message": row["message"],
    }
