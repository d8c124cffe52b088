"""Fix mode: clicks and keys of a real browser become masks, and rows below `reviews/`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.requests import Request

from pipeline.errors import CannotMend, WasClosed
from pipeline.masks.rle import decode_rle
from pipeline.mending.correction import Correction as UnderWay
from pipeline.mending.known_masks import overlap
from pipeline.review_server.answers import ReviewError
from pipeline.review_server.fixing import Fixing
from pipeline.review_server.options import ReviewOptions
from pipeline.review_server.serving import link_of, listening, make_server
from pipeline.review_server.state import ReviewState
from pipeline.reviews.corrections import Correction, read_corrections
from pipeline.reviews.verdicts import Verdict, read_verdicts
from tests.support.chromium import PATIENCE_MILLISECONDS
from tests.support.clips import moving_clip
from tests.support.mendable import Mendable, box_of, worst_click, write_mendable_job
from tests.support.reviewing import Client

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mendable(tmp_path_factory: pytest.TempPathFactory) -> Mendable:
    return write_mendable_job(tmp_path_factory.mktemp("fixed"), moving_clip("a/b.mp4", num_frames=8))


@pytest.fixture
def state(mendable: Mendable) -> Iterator[ReviewState]:
    state = ReviewState(mendable.storage, ReviewOptions(reviewer="ann"))
    yield state
    state.close()
    mendable.storage.delete_tree("reviews")


@pytest.fixture
def link(state: ReviewState) -> Iterator[str]:
    listener = listening("127.0.0.1", 0)
    server = make_server(state)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    yield link_of(listener, state.options.token)
    server.stop()
    thread.join()


class FixMode:
    """What a reviewer does with mouse and keys, and what the panel says then. Places are pixels of the video."""

    def __init__(self, page: Page, link: str) -> None:
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.goto(link)
        self.page = page
        self.num_said = 0
        page.wait_for_selector("#where:not(:empty)")
        page.keyboard.press("f")
        self.wait("[data-state=open]")

    def wait(self, panel: str) -> None:
        self.page.wait_for_selector(f"#panel{panel}")

    def heard(self) -> None:
        self.num_said += 1
        self.wait(f'[data-said="{self.num_said}"]')

    def place(self, xy: tuple[float, float], size_hw: tuple[int, int]) -> tuple[float, float]:
        box = self.page.locator("#overlay").bounding_box()
        assert box is not None
        return box["x"] + xy[0] / size_hw[1] * box["width"], box["y"] + xy[1] / size_hw[0] * box["height"]

    def click(self, xy: tuple[float, float], size_hw: tuple[int, int], button: Any = "left") -> None:
        self.page.mouse.click(*self.place(xy, size_hw), button=button)
        self.heard()

    def drag(self, start: tuple[float, float], end: tuple[float, float], size_hw: tuple[int, int]) -> None:
        self.page.mouse.move(*self.place(start, size_hw))
        self.page.mouse.down()
        self.page.mouse.move(*self.place(end, size_hw), steps=4)
        self.page.mouse.up()
        self.heard()


def test_a_reviewer_fixes_adds_and_splits_with_mouse_and_keys(browser: Browser, link: str, mendable: Mendable) -> None:
    clip, storage, size_hw = mendable.clip, mendable.storage, (96, 128)
    with closing(browser.new_page()) as page:
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        fix = FixMode(page, link)
        page.keyboard.press("Home")
        expect(page.locator("#where")).to_contain_text("frame 0 ")
        for frame in (1, 2):  # the first one alone has a prompt, and no track is split there
            page.keyboard.press("ArrowRight")
            expect(page.locator("#where")).to_contain_text(f"frame {frame} ")
        fix.wait("[data-state=open]")
        track, frame = _shown(page)
        other = 3 - track
        x0, y0, x1, y1 = box_of(clip.mask(other, frame)).box_xyxy
        fix.drag((x0, y0), (x1, y1), size_hw)
        page.keyboard.press("d")
        fix.drag((4.0, 4.0), (20.0, 4.0), size_hw)  # a stroke of the brush in a corner …
        page.keyboard.press("Control+z")  # … that is taken back
        fix.heard()
        page.keyboard.press("d")
        fix.click((3.0, 3.0), size_hw, "right")
        page.keyboard.press("Enter")
        fix.wait('[data-saved="1"]')

        page.keyboard.press("Shift+P")
        fix.wait("[data-state=preview]")
        fix.wait(f'[data-previewed="{frame}"]')
        page.keyboard.press("Escape")  # ends the preview, not the mode
        fix.wait("[data-state=open]")
        page.keyboard.press("x")
        fix.wait('[data-saved="2"]')

        page.keyboard.press("n")
        page.wait_for_selector("text=(new)")
        fix.click(worst_click(np.zeros(size_hw, bool), clip.mask(track, frame))[0], size_hw)
        page.keyboard.press("Enter")
        fix.wait('[data-saved="3"]')
        page.keyboard.press("Escape")  # ends adding
        page.keyboard.press("Escape")
        page.wait_for_selector("#panel", state="hidden")
        assert errors == []
    said = {one.object_id: one for one in read_corrections(storage)["a/b.mp4"]}
    assert sorted(said) == [track, 100, 101]  # 99 is an object of the job that failed
    old, split, added = said[track], said[100], said[101]
    assert old.rle is None  # from the frame of the split on it is another object
    assert split.split_from == track
    assert overlap(_pixels(split), clip.mask(other, frame)) > 0.75
    assert overlap(_pixels(added), clip.mask(track, frame)) > 0.6
    assert {one.frame_index for one in said.values()} == {frame}
    assert {key: one.verdict for key, one in read_verdicts(storage).items()} == {("a/b.mp4", track): Verdict.FIX}


def _shown(page: Page) -> tuple[int, int]:
    """Object and frame that the page shows."""
    track = page.locator("#object").inner_text().strip().removeprefix("#").split()[0]
    return int(track), int(page.locator("#where").inner_text().split()[1])


def _pixels(one: Correction) -> np.ndarray:
    assert one.rle is not None
    return decode_rle((96, 128), one.rle["counts"])


def test_requests_that_say_nonsense_are_told_so(state: ReviewState) -> None:
    fixing = Fixing(state)
    for body, told in (
        ({"video_id": 3, "frame_index": 0}, "video_id needs a text"),
        ({"video_id": "a/b.mp4", "object_id": 1}, "frame_index needs a whole number"),
        ({"video_id": "a/b.mp4", "object_id": True, "frame_index": 0}, "object_id needs a whole number"),
    ):
        with pytest.raises(ReviewError, match=told):
            fixing.open(body)
    shown = fixing.open({"video_id": "a/b.mp4", "object_id": 1, "frame_index": 0})
    for body, told in (
        ({"kind": "clock"}, "there are click, box, draw, hide, clear, undo, restart"),
        ({"kind": "click", "xy": [1], "label": 1}, "xy needs 2 numbers"),
        ({"kind": "click", "xy": [1, 2], "label": "1"}, "label needs a whole number"),
        ({"kind": "box", "box": [1, 2, 3, "4"]}, "box needs 4 numbers"),
    ):
        with pytest.raises(ReviewError, match=told):
            fixing.say({"id": shown["id"], **body})
    for seconds in (-1, float("nan"), [3]):
        with pytest.raises(ReviewError, match="seconds needs a number from 0 on"):
            fixing.save({"id": shown["id"], "seconds": seconds})
    assert fixing.say({"id": shown["id"], "kind": "undo"})["num_said"] == 0


def test_a_correction_that_the_server_does_not_know_is_told_by_a_status_of_its_own(client: Client) -> None:
    """By 410 the page knows that it must open the frame again."""
    told = client.post("api/fix/say", {"id": "of a server of before", "kind": "hide"}, 410)
    assert "open the frame again" in told["error"]


def test_a_preview_that_waits_for_the_network_lets_the_server_answer_others(state: ReviewState) -> None:
    goes_on = threading.Event()
    waited: list[bool] = []

    class BusyMender:
        def correction(self, _: str) -> UnderWay:
            waited.append(goes_on.wait(2))
            raise CannotMend("enough")

    async def asked() -> None:
        async def body() -> dict[str, Any]:
            return {"type": "http.request", "body": b'{"id": "1", "num_frames": 2}'}

        scope = {"type": "http", "method": "POST", "headers": [(b"content-length", b"28")]}
        preview = asyncio.create_task(Fixing(state, BusyMender()).preview(Request(scope, body)))  # type: ignore[arg-type]
        while not preview.done() and not waited:
            await asyncio.sleep(0)  # the others
            goes_on.set()
        with pytest.raises(ReviewError, match="enough"):
            await preview

    with ThreadPoolExecutor(1) as apart:  # the browser of other tests has a loop in this thread
        apart.submit(lambda: asyncio.run(asked())).result()
    assert waited == [True]


def test_two_reviewers_who_begin_at_once_share_one_network(state: ReviewState, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    fixing = Fixing(state)
    found: list[object] = []
    second = threading.Thread(target=lambda: found.append(fixing._mender))

    class SlowMender:
        def __init__(self, *_: object) -> None:
            made.append(self)
            self.is_closed = False
            if len(made) == 1:
                second.start()
                second.join(0.3)  # it must wait for this one

        def close(self) -> None:
            self.is_closed = True

    monkeypatch.setattr("pipeline.mending.mender.Mender", SlowMender)
    first = fixing._mender
    second.join()
    assert made == [first] == found
    state.close()
    assert first.is_closed, "or the server would not end before all frames are encoded that it encodes ahead"  # type: ignore[attr-defined]


def test_two_reviewers_who_add_an_object_get_ids_of_their_own(state: ReviewState, mendable: Mendable) -> None:
    servers = [Fixing(state), Fixing(ReviewState(mendable.storage, ReviewOptions(reviewer="bob")))]
    body = {"video_id": "a/b.mp4", "object_id": None, "frame_index": 2}
    ids = [server.open(body)["object_id"] for server in servers for _ in range(2)]
    assert len(set(ids)) == 4
    assert not set(ids) & {1, 2, 99}


@pytest.mark.parametrize("kind", ["fix", "split", "added object"])
def test_what_a_killed_server_has_saved_is_known_to_the_next_one_when_the_page_has_opened_it_again(
    kind: str, state: ReviewState, mendable: Mendable
) -> None:
    """As the page does after status 410: it opens the frame, draws what it shows, and sends the same again."""
    killed, storage = Fixing(state), mendable.storage
    place = {"video_id": "a/b.mp4", "object_id": None if kind == "added object" else 1, "frame_index": 3}
    told = killed.open(place)
    mask = {"kind": "draw", "counts": killed.open(place | {"object_id": 1})["counts"]}
    killed.say({"id": told["id"], **mask})
    body = {"once": "a-1", "is_split": kind == "split"}
    lost = killed.save({"id": told["id"], **body})
    saved = read_corrections(storage)
    with closing(ReviewState(storage, ReviewOptions(reviewer="ann"))) as other:
        server = Fixing(other)
        with pytest.raises(WasClosed):
            server.save({"id": told["id"], **body})
        again = server.open(place | {"object_id": told["object_id"]})
        server.say({"id": again["id"], **mask})
        assert server.save({"id": again["id"], **body}) == lost
        assert read_corrections(storage) == saved
        assert (lost["verdict_path"] is None) == (kind == "added object")
