"""A served review in a browser, and fix mode whose network is made up."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Route

from pipeline.review_server.options import ReviewOptions
from pipeline.review_server.serving import link_of, listening, make_server
from pipeline.review_server.state import ReviewState
from pipeline.reviews.verdicts import read_verdict_files
from pipeline.storage.job_storage import JobStorage
from tests.support.chromium import PATIENCE_MILLISECONDS, Seen
from tests.support.reviewing import TOKEN

_LINES = """addEventListener("DOMContentLoaded", () => {
  window.lines = [];
  const note = changes => lines.push(...changes.flatMap(one => [...one.addedNodes]).map(line => line.textContent));
  new MutationObserver(note).observe(document.getElementById("lines"), { childList: true });
});"""


class Reviewed:
    """A served review in a browser. `open` gives a page of a person who has never been here."""

    def __init__(self, browser: Browser, link: str, storage: JobStorage) -> None:
        self.browser = browser
        self.link = link
        self.storage = storage

    @contextlib.contextmanager
    def open(self, query: str = "", **context: object) -> Iterator[Seen]:
        options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **context}
        with contextlib.closing(self.browser.new_context(**options)) as opened:  # type: ignore[arg-type]
            opened.set_default_timeout(PATIENCE_MILLISECONDS)
            page = opened.new_page()
            page.add_init_script(_LINES)
            seen = Seen(page)
            page.on("pageerror", lambda error: seen.complaints.append(str(error)))
            page.on("dialog", lambda dialog: (seen.complaints.append("a dialog"), dialog.dismiss()))
            page.on("request", lambda request: seen.requests.append(request.url))
            page.on("console", lambda told: seen.complaints.append(told.text) if _is_fault(told) else None)
            page.goto(self.link + query)
            page.wait_for_selector("body[data-ready]")
            yield seen

    def has_told(self, page: Page, text: str) -> None:
        """Wait for a line with this text. The page shows each for a moment only, so it may have gone again."""
        page.wait_for_function("text => lines.some(line => line.includes(text))", arg=text)

    def verdicts(self) -> list[tuple[str, str, str]]:
        """Video, verdict and reviewer of each row that is written, in order."""
        rows = [row for _, rows in read_verdict_files(self.storage) for row in rows]
        return [(row["video_id"], row["verdict"], row["reviewer"]) for row in rows]


def _is_fault(told: ConsoleMessage) -> bool:
    """A browser notes each answer of 4xx, as that of the video whose file is gone."""
    return told.type == "error" and not told.text.startswith("Failed to load resource")


def intercept(page: Page, pattern: str, answer: Callable[[Route], object]) -> None:
    """Have a test answer requests of an open page from now on.

    The browser tells the page's process a moment later, and what that asks for meanwhile goes to the server. Therefore
    the page asks until the test has answered.
    """
    page.route("**/is-heard", lambda route: route.fulfill(status=204))
    page.route(pattern, answer)
    page.wait_for_function("fetch('is-heard').then(told => told.status === 204)")


@contextlib.contextmanager
def reviewed(browser: Browser, storage: JobStorage, **options: Any) -> Iterator[Reviewed]:
    """Serve a review of an output to a browser. `options` are those of `ReviewOptions`."""
    with listening("127.0.0.1", 0) as listener:
        chosen = ReviewOptions(**{"reviewer": "ann", "token": TOKEN, **options})
        server = make_server(ReviewState(storage, chosen))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Reviewed(browser, link_of(listener, TOKEN), storage)
        finally:
            server.stop()
            thread.join()


class MadeUp:
    """Answers of `api/fix/` without a network: whatever is said, the object is not visible where somebody clicks.

    What the server alone knows is asked of it: `posted` are the names of requests, `said` and `saved` their bodies.
    """

    def __init__(self, page: Page, refuses: str = "") -> None:
        self.posted: list[str] = []
        self.said: list[dict[str, Any]] = []
        self.saved: list[dict[str, Any]] = []
        self.refuses = refuses  # what saving is answered by, if not empty
        self.replaced: dict[str, str] | None = None  # the verdict that counted before what is saved
        self._told: dict[str, dict[str, Any]] = {}
        intercept(page, "**/api/fix/*", self)

    def __call__(self, route: Route) -> None:
        name, body = route.request.url.rsplit("/", 1)[1], route.request.post_data_json or {}
        self.posted.append(name)
        status = 200
        answer: dict[str, Any] = {"path": f"file-{len(self.saved)}", "verdict_path": None, "split_into": None}
        if name == "open":
            answer = self._opened(body)
        elif body["id"] not in self._told and name != "withdraw":
            status, answer = 410, {"error": "this correction was closed meanwhile: open the frame again"}
        elif name == "say":
            self.said.append(body)
            told = self._told[body["id"]]
            is_back = body["kind"] == "undo"
            told |= {"num_said": told["num_said"] + (-1 if is_back else 1), "is_hidden": not is_back}
            answer = told
        elif name == "save" and self.refuses:
            status, answer = 400, {"error": self.refuses}
        elif name == "save":
            self.saved.append(self._told[body["id"]] | body)
            answer |= {"split_into": 8 if body["is_split"] else None, "replaced": self.replaced}
        route.fulfill(status=status, content_type="application/json", body=json.dumps(answer))

    def close_all(self) -> None:
        """Forget what is under way, as a server does of which much was asked since."""
        self._told.clear()

    def _opened(self, body: dict[str, Any]) -> dict[str, Any]:
        is_added = body["object_id"] is None
        names = {
            "id": f"{self.posted.count('open')}",
            "object_id": 90 if is_added else body["object_id"],
            "frame_index": body["frame_index"],
        }
        mask = {"counts": None, "area": 0, "is_hidden": False, "score": None, "size": [4, 4]}
        told = {**names, **mask, "is_added": is_added, "num_said": 0, "points": [], "box": None}
        self._told[told["id"]] = told
        return told
