"""The ASGI app of a review. What its page, its endpoints and fix mode promise each other stands here.

Addresses. All are below `/TOKEN/`, so that relative ones of the page (`api/tracks`) carry the token. A track is named
by the query `?video=…&object=…`, because ids hold slashes and any letters. Answers are JSON; an error is
`{"error": "a sentence for people"}` with a status of 4xx or 5xx.

Fix mode is `fixing.py` here, and in the browser `page/fix.js` with the files `page/fix_*.js` that it loads.

* `fixing.fix_routes(state)` returns Starlette routes below `/api/fix/`, or none if no model can be loaded. Then
  `api/session` says `fixing: false`, and the page never loads `fix.js`. `state` is a `ReviewState`: `state.storage`,
  `state.job` (`JobTables` without what reviewers say), `state.clip(video_id)` (a `Clip`, kept for a few videos),
  `state.claim_object_id(video_id, reviewer)` for an added object or a split, `state.changed(video_id)` after
  corrections were written. An endpoint that computes is a plain `def`: Starlette runs it in a thread of a pool.
  `ReviewError(message, status)` of `answers.py` is an error for people; `json_body(request)` there reads a body.
* `fix.js` exports `install(app)`. `app` has
  `app.player`   an `EventTarget`, see `page/player.js`:
      `current`  `{video_id, object_id, frame_index, size: [width, height], labeled_at, pixel_aspect}` or null
      `overlay`  a canvas above frame and masks, of `size` pixels (CSS scales it): fix mode draws what it likes there
      `event`    `"track"` after another track was opened, `"frame"` after a frame and its masks were drawn
      `pause()`, `seek(frame_index)` → a promise, fulfilled when the frame is drawn, `frames` (indexes with masks)
      `at(pointer event)` → `[x, y]` in pixels of the video, which may lie outside of it
      `showMask(object_id, frame_index, counts)` shows this RLE (COCO's compressed counts) in the place of the stored
                 one, also on frames without one; `null` in the place of counts hides it
      `forgetMasks(object_id?, frame_index?)` shows the stored ones again, of one frame, one object or of all
      `enterMode({name, keydown(event), pointerdown(event, xy), …, leave()})`: from now on pointer and keys go to the
                 mode, also `pointermove`, `pointerup` and `pointercancel`; a key for which `keydown` returns true goes
                 no further. Escape,
                 another track and `leaveMode()` end it and call `leave()`. Before another track is opened or judged,
                 the page asks `await mayLeave()`, where the mode has one: false stays.
  `app.api`      `get(path, query)`, `post(path, body)` → JSON; both throw `Error` with the server's sentence
  `app.saved(correction, told)` notes a correction that was saved, for the key u, with the answer of the server;
                 `app.takenBack(told)` that it was taken back
  `app.watch.seconds` grows while the track is shown, and by half a minute at the most while nothing is done
  `app.tell(text, kind)` shows a line
  `app.panel`    an element under the buttons that fix mode fills while it is on
  `app.drawMask(context, counts, size, color, alpha)` draws an RLE
  The key `f` calls the function that `install` returns, `toggle()`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.review_server.answers import answer, failed, json_body
from pipeline.review_server.broken import Broken
from pipeline.review_server.fixing import fix_routes
from pipeline.review_server.guard import Guard
from pipeline.review_server.listing import Listing
from pipeline.review_server.saying import Speaker
from pipeline.review_server.state import ReviewState
from pipeline.review_server.undoing import Undoing
from pipeline.review_server.viewing import Viewing

_PAGE = Path(__file__).parent / "page"


def make_app(state: ReviewState) -> Starlette:
    """The app that serves one review. It closes the state when the server ends."""
    fixing = fix_routes(state)
    listing, viewing, speaker = Listing(state, bool(fixing)), Viewing(state), Speaker(state)
    broken = Broken(state, speaker)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        warming = asyncio.create_task(asyncio.to_thread(state.warm_up))
        yield
        await warming
        await asyncio.to_thread(state.close)

    return Starlette(
        routes=[
            Route("/api/session", listing.session),
            Route("/api/tracks", listing.page),
            Route("/api/next", listing.next_open),
            Route("/api/rank", listing.rank),
            Route("/api/news", listing.news),
            Route("/api/track", viewing.track),
            Route("/api/frames", _posted(viewing.all_frames), methods=["POST"]),
            Route("/api/masks", viewing.masks),
            Route("/api/frame", viewing.frame),
            Route("/api/filmstrip", viewing.strip),
            Route("/api/verdicts", _posted(speaker.say), methods=["POST"]),
            Route("/api/undo", _posted(Undoing(state, speaker).undo), methods=["POST"]),
            Route("/api/broken", broken.page),
            Route("/api/withdraw", _posted(broken.withdraw), methods=["POST"]),
            *fixing,
            Mount("/", StaticFiles(directory=_PAGE, html=True)),
        ],
        middleware=[Middleware(Guard, token=state.options.token, hosts=state.options.hosts)],
        exception_handlers={HTTPException: failed, Exception: failed},
        lifespan=lifespan,
    )


def _posted(take: Callable[[dict[str, Any]], Any]) -> Callable[[Request], Any]:
    """An endpoint that reads a JSON object, and answers what `take` makes of it in a thread of a pool."""

    async def endpoint(request: Request) -> Response:
        return answer(await run_in_threadpool(take, await json_body(request)))

    return endpoint
