"""What fix mode tells, and what it asks before it leaves. The answers of the network are made up: none is loaded."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from pipeline.review_server.options import ReviewOptions
from pipeline.review_server.serving import link_of, listening, make_server
from pipeline.review_server.state import ReviewState
from pipeline.storage.job_storage import JobStorage
from tests.support.chromium import PATIENCE_MILLISECONDS, running_browser
from tests.support.reviewing import TOKEN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class MadeUp:
    """Answers as `fixing.py` does. Nothing is seen where somebody clicks."""

    def __init__(self) -> None:
        self.posted: list[str] = []
        self.told: dict[str, Any] = {}

    def __call__(self, route: Route) -> None:
        name, body = route.request.url.rsplit("/", 1)[1], route.request.post_data_json or {}
        self.posted.append(name)
        if name == "open":
            names = {"id": "one", "object_id": body["object_id"], "frame_index": body["frame_index"]}
            mask = {"counts": None, "area": 0, "is_hidden": False, "score": None, "size": [4, 4]}
            self.told = {**names, **mask, "is_added": False, "num_said": 0, "points": [], "box": None}
        elif name == "say":
            back = body["kind"] == "undo"
            num_said = self.told["num_said"] + (-1 if back else 1)
            self.told = {**self.told, "num_said": num_said, "is_hidden": not back}
        saved = {"path": "a", "verdict_path": None, "split_into": 8 if body.get("is_split") else None}
        answer = self.told if name in ("open", "say") else saved
        route.fulfill(status=200, content_type="application/json", body=json.dumps(answer))


def test_what_is_saved_refused_and_left_is_told_in_fitting_words(output: str) -> None:
    options = ReviewOptions(reviewer="ann", token=TOKEN, queue={("clip-1", 3): False})
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with listening("127.0.0.1", 0) as listener:
        server = make_server(ReviewState(JobStorage(output), options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with running_browser() as browser:
                _walk(browser.new_page(), link_of(listener, TOKEN))
        finally:
            server.stop()
            thread.join()


def _walk(page: Page, link: str) -> None:
    made_up, panel, note = MadeUp(), page.locator("#panel"), page.locator(".fix-note")
    page.set_default_timeout(PATIENCE_MILLISECONDS)
    page.route("**/api/fix/*", made_up)
    page.goto(link)
    page.wait_for_selector("#where:not(:empty)")
    page.keyboard.press("f")
    page.wait_for_selector("#panel[data-state=open]")

    page.locator("#overlay").click()
    expect(note).to_contain_text("The network sees nothing there: click again nearer to its middle")
    page.keyboard.press("Escape")
    expect(note).to_contain_text("Not saved: the mask of frame")
    expect(panel).to_be_visible()
    page.locator("#comment").fill("a wheel")
    page.keyboard.press("Enter")  # leaves the field
    page.keyboard.press("Enter")
    expect(note).to_contain_text("is not visible on frame")
    expect(page.locator("#comment")).to_have_value("")
    page.keyboard.press("Enter")
    expect(note).to_have_text("Nothing to save: this frame is saved.")
    assert made_up.posted.count("save") == 1

    page.keyboard.press("Control+z")
    expect(note).to_contain_text("Taken back")
    page.keyboard.press("x")
    expect(note).to_contain_text("object 8 begins at frame")
    page.keyboard.press("Enter")
    expect(note).to_contain_text("the track is split here, and object 8 has this mask")
    assert made_up.posted.count("save") == 2
    page.keyboard.press("Control+z")
    expect(note).to_contain_text("Taken back")
    page.keyboard.press("Escape")  # it was taken back on purpose: nobody asks
    expect(panel).to_be_hidden()
    expect(page.locator("#lines")).not_to_contain_text("Not saved")
