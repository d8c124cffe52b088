"""The page in a headless Chromium: a track is opened, judged by keys, undone; nothing that was said is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from pipeline.reviews.corrections import read_corrections, write_corrections
from pipeline.reviews.verdicts import read_verdict_files
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo
from tests.support.mendable import write_job_record
from tests.support.review_page import MadeUp, Reviewed, intercept, reviewed
from tests.support.reviewing import BROKEN, HOSTILE, write_filmed_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KEPT = "Object.keys(localStorage).filter(name => name.includes('.outbox.') || name.includes('.draft.')).length"


def pixel(page: Page, canvas: str, x: int, y: int) -> list[int]:
    found: list[int] = page.evaluate(
        "([id, x, y]) => [...document.getElementById(id).getContext('2d').getImageData(x, y, 1, 1).data]",
        [canvas, x, y],
    )
    return found


def test_tracks_are_judged_by_keys_and_what_was_said_is_taken_back(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        expect(page.locator("#total")).to_contain_text("7 tracks")
        first = page.locator("#video").text_content()
        assert first == page.locator(".row.current .id").get_attribute("title")
        page.keyboard.press("a")
        expect(page.locator("#saving")).to_have_text("saved")
        assert [(video, verdict) for video, verdict, _ in review.verdicts()] == [(first, "accept")]
        expect(page.locator("#video")).not_to_have_text(str(first))
        expect(page.locator("#facts")).not_to_be_empty()  # the next track is shown, and not named alone
        page.keyboard.press("c")
        page.keyboard.type("lost its tail, r a f")
        page.keyboard.press("Enter")
        page.keyboard.press("g")
        page.keyboard.type("tiger")
        page.keyboard.press("Enter")
        opened = page.evaluate("performance.now()")
        page.wait_for_function("opened => performance.now() - opened > 60", arg=opened)  # tenths of seconds are counted
        page.keyboard.press("r")
        expect(page.locator("#progress")).to_contain_text("1 reject")
        expect(page.locator("#saving")).to_have_text("saved")
        (row,) = [row for _, rows in read_verdict_files(review.storage) for row in rows if row["verdict"] == "reject"]
        assert row["comment"] == "lost its tail, r a f"
        assert row["seconds"] > 0
        assert row["labeled_at"] is not None
        page.keyboard.press("u")
        review.has_told(page, "Taken back")
        expect(page.locator("#comment")).to_have_value("lost its tail, r a f")
        expect(page.locator("#named")).to_have_value("tiger")
        page.keyboard.press("u")
        expect(page.locator("#progress")).to_contain_text("0 reviewed")
        expect(page.locator("#comment")).to_have_value("")
        expect(page.locator("#video")).to_have_text(str(first))
        assert [verdict for _, verdict, _ in review.verdicts()] == ["accept", "reject", "withdraw", "withdraw"]
        assert seen.complaints == []
        assert all(url.startswith((review.link, "data:", "blob:")) for url in seen.requests)


def test_frames_and_masks_are_drawn_and_stepped_through(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        page.fill("#text", "clip-1")
        expect(page.locator("#total")).to_contain_text("2 tracks")
        page.locator(".row", has_text="cat").click()
        expect(page.locator("#object")).to_have_text("#7 cat")
        expect(page.locator("#facts")).not_to_be_empty()  # keys go to this track from now on
        page.keyboard.press("End")
        expect(page.locator("#where")).to_contain_text("frame 5 · 6 of 6")
        page.keyboard.press("Home")
        expect(page.locator("#where")).to_contain_text("frame 0 · 1 of 6")
        dark = pixel(page, "frame", 32, 24)
        page.keyboard.press("End")
        expect(page.locator("#where")).to_contain_text("frame 5 · 6 of 6")
        assert pixel(page, "frame", 32, 24)[0] == pytest.approx(dark[0] + 50, abs=6), "ten levels a frame"
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#where")).to_contain_text("frame 4")
        assert pixel(page, "masks", 32, 20)[3] == 0, "hidden on this frame"
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#where")).to_contain_text("frame 3")
        # clip-1's second object: a box from row 30 on, from column 4 + 3 * 3 + 6 on, in the color of its id.
        assert pixel(page, "masks", 25, 36)[3] > 0
        assert pixel(page, "masks", 2, 36)[3] == 0
        page.keyboard.press("m")
        page.keyboard.press("m")
        page.keyboard.press("m")
        expect(page.locator("#shown")).to_have_text("masks: none")
        assert pixel(page, "masks", 25, 36)[3] == 0
        page.keyboard.press("Home")
        page.keyboard.press("Space")
        expect(page.locator("#where")).to_contain_text("frame 5")
        expect(page.locator("#play")).to_have_text("▶")
        assert seen.complaints == []


def test_a_track_that_is_chosen_while_the_next_one_is_asked_for_stays(review: Reviewed) -> None:
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        held.append(route)
        if len(held) > 1:
            route.continue_()

    with review.open() as seen:
        page = seen.page
        intercept(page, "**/api/next?*", hold_the_first)
        page.fill("#text", "clip-1")
        expect(page.locator("#total")).to_contain_text("2 tracks")
        while not held:
            page.wait_for_timeout(10)
        chosen = page.locator(".row").last
        chosen.click()
        expect(page.locator("#facts")).not_to_be_empty()
        held[0].continue_()
        page.wait_for_load_state("networkidle")
        expect(page.locator("#object")).to_contain_text(str(chosen.locator(".object").text_content()))


def test_hostile_texts_are_texts_and_a_file_that_is_gone_leaves_the_masks(review: Reviewed) -> None:
    with review.open("?reviewer=%3Cb%3Ebob", color_scheme="dark") as seen:
        page = seen.page
        page.fill("#text", "<script>")
        expect(page.locator("#total")).to_contain_text("2 tracks")
        page.locator(".row", has_text="#1").click()
        expect(page.locator("#video")).to_have_text(HOSTILE)
        expect(page.locator("#object")).to_contain_text("<img src=x onerror")
        expect(page.locator("#facts")).not_to_be_empty()
        page.keyboard.press("s")
        expect(page.locator("#saving")).to_have_text("saved")
        assert review.verdicts() == [(HOSTILE, "skip", "<b>bob")]
        assert page.title().startswith("review")
        assert seen.complaints == []
        page.fill("#text", "gone")
        expect(page.locator("#message")).to_contain_text("videos_root=")
        assert pixel(page, "masks", 20, 10)[3] > 0, "the upper edge of the ring, wherever it is"
        assert seen.overflow_px <= 0
        assert seen.faint_texts() == {}


def accept_what_is_not_saved(page: Page) -> None:
    """Accept a track on a page whose server cannot save anything."""
    fault = {"error": "the disk is full"}
    intercept(page, "**/api/verdicts", lambda route: route.fulfill(status=503, json=fault))
    page.keyboard.press("a")
    expect(page.locator("#saving")).to_have_text("1 not saved yet")


def test_what_the_server_did_not_take_is_told_kept_and_sent_by_the_next_page(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        accept_what_is_not_saved(page)
        expect(page.locator("#trouble")).to_contain_text("the disk is full")
        page.keyboard.press("c")
        page.keyboard.type("half a thought")
        assert page.evaluate(KEPT) == 2
        page.reload()
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("#saving")).to_have_text("1 not saved yet")
        assert review.verdicts() == []
        page.goto("about:blank")  # this page would send it, too
        page.unroute("**/api/verdicts")
        page.goto(review.link)
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("#saving")).to_have_text("saved")
        expect(page.locator("#comment")).to_have_value("half a thought")
        assert [verdict for _, verdict, _ in review.verdicts()] == ["accept"]
        assert page.evaluate(KEPT) == 1, "the thought is kept, until it is said"


def test_what_one_page_takes_back_before_it_is_saved_no_other_page_sends(review: Reviewed) -> None:
    """A second page of the browser takes up what the first one could not save yet."""
    with review.open() as seen:
        page = seen.page
        accept_what_is_not_saved(page)
        page.reload()
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("#saving")).to_have_text("1 not saved yet")
        other = page.context.new_page()
        other.goto(f"{review.link}style.css")  # of the same storage
        other.evaluate(
            "Object.keys(localStorage).forEach(one => one.includes('.outbox.') && localStorage.removeItem(one))"
        )
        page.unroute("**/api/verdicts")
        expect(page.locator("#saving")).to_have_text("")
        assert review.verdicts() == []
        assert seen.complaints == []


def test_every_key_is_listed_and_reaches_what_it_names(review: Reviewed) -> None:
    with review.open(viewport={"width": 2200, "height": 1200}) as seen:
        page = seen.page
        page.keyboard.press("?")
        expect(page.locator("#keys")).to_be_visible()
        assert page.locator("#keylist dt").count() == 25
        page.keyboard.press("Escape")
        expect(page.locator("#keys")).to_be_hidden()
        before = page.locator("#video").text_content()
        page.keyboard.press("j")
        expect(page.locator(".row.current .id")).not_to_have_attribute("title", str(before))
        page.keyboard.press("t")
        assert page.evaluate("document.documentElement.className") == "dark"
        for key, field in (("/", "text"), ("c", "comment"), ("g", "named")):
            page.keyboard.press(key)
            assert page.evaluate("document.activeElement.id") == field
            page.keyboard.press("Escape")
        assert seen.overflow_px <= 0
        assert seen.faint_texts() == {}
        assert seen.complaints == []


SPOKEN = "all => all.map(one => one.ariaLabel ?? one.textContent).filter(name => !/[a-z]{2}/i.test(name))"


def test_who_hears_the_page_hears_what_buttons_do_which_track_is_chosen_and_what_fix_mode_tells(
    review: Reviewed,
) -> None:
    with review.open() as seen:
        page = seen.page
        MadeUp(page)
        assert page.locator("button").evaluate_all(SPOKEN) == [], "a sign alone says nothing"
        for key in "jj":
            expect(page.locator("#facts")).not_to_be_empty()
            page.keyboard.press(key)
        expect(page.locator("#object")).to_contain_text("#")
        chosen = page.locator(".row.current")
        expect(page.locator("#rows")).to_have_attribute("aria-activedescendant", str(chosen.get_attribute("id")))
        expect(chosen).to_have_attribute("aria-posinset", "3")
        expect(chosen).to_have_attribute("aria-setsize", "7")
        expect(page.locator("#facts")).not_to_be_empty()
        page.keyboard.press("f")
        page.wait_for_selector("#panel[data-state=open]")
        note = page.get_by_role("status").and_(page.locator("#panel *")).element_handle()
        page.keyboard.press("Enter")
        page.wait_for_function("note => note.isConnected && note.textContent.startsWith('Saved')", arg=note)
        assert seen.complaints == []


def test_a_page_whose_server_was_started_again_is_told_to_open_the_new_link(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        refusal = "403: open the link that the command has printed, with its token.\n"
        intercept(page, "**/api/verdicts", lambda route: route.fulfill(status=403, body=refusal))
        expect(page.locator("#where")).to_contain_text("frame")
        page.keyboard.press("a")
        expect(page.locator("#trouble")).to_contain_text("open the one that the command has printed")
    assert review.verdicts() == []


def tab_to(page: Page, button: str) -> None:
    """Go on by the Tab key until a button has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == button:
            return
    raise AssertionError(f"the Tab key does not reach {button}")


def test_a_button_that_was_reached_by_tab_is_pressed_by_enter_and_space_in_fix_mode_too(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        made_up = MadeUp(page)
        expect(page.locator("#where")).to_contain_text("frame")
        page.keyboard.press("f")
        page.wait_for_selector("#panel[data-state=open]")
        for key, shown in (("Enter", "masks: this"), ("Space", "masks: outline")):
            tab_to(page, "shown")
            page.keyboard.press(key)
            expect(page.locator("#shown")).to_have_text(shown)
        assert made_up.saved == [], "enter has pressed the button, and saved nothing"
        expect(page.locator("#play")).to_have_text("▶")
        page.keyboard.press("Enter")  # the button has lost the focus by its press
        expect(page.locator(".fix-note")).to_contain_text("Saved")
        tab_to(page, "fix")
        page.keyboard.press("Enter")
        expect(page.locator("#panel")).to_be_hidden()
        tab_to(page, "skip")
        page.keyboard.press("Space")
        expect(page.locator("#progress")).to_contain_text("1 skip")
        assert seen.complaints == []


def test_a_button_that_was_clicked_leaves_space_to_the_player(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        expect(page.locator("#where")).to_contain_text("frame")
        page.locator("#speed").click()
        expect(page.locator("#speed")).to_have_text("2×")
        page.keyboard.press("End")
        page.keyboard.press("Space")
        expect(page.locator("#speed")).to_have_text("2×")
        expect(page.locator("#play")).not_to_have_text("▶")
        page.keyboard.press("Space")
        assert seen.complaints == []


SAME_BOX = """([name, box]) => {
  const now = document.querySelector(name).getBoundingClientRect();
  return ["x", "y", "width", "height"].every(side => now[side] === box[side]);
}"""


def box_of(page: Page, selector: str) -> dict[str, float]:
    found: dict[str, float] = page.evaluate(
        "name => document.querySelector(name).getBoundingClientRect().toJSON()", selector
    )
    return found


def test_a_small_window_shows_counters_and_fields_and_fix_mode_does_not_move_the_picture(review: Reviewed) -> None:
    for width, height in ((520, 900), (760, 900), (800, 560), (1280, 800)):
        with review.open(viewport={"width": width, "height": height}) as seen:
            page = seen.page
            page.fill("#text", "clip-1")
            page.keyboard.press("Enter")
            expect(page.locator("#video")).to_have_text("clip-1")
            expect(page.locator("#where")).to_contain_text("frame")
            page.wait_for_load_state("networkidle")  # the picture is here, which gives the player its size
            for selector in ("#progress", "#reasons", "#comment", "#named", "#fix", "#skip", "#undo"):
                expect(page.locator(selector)).to_be_in_viewport(ratio=1)
            assert box_of(page, "#stage")["width"] > 400, "the player has room beside the list, or below it"
            row = box_of(page, ".row .top")
            assert abs(box_of(page, ".row .object")["bottom"] - row["bottom"]) <= 2, "not below the name"
            before = box_of(page, "#overlay")
            page.keyboard.press("f")
            expect(page.locator("#panel")).to_be_in_viewport(ratio=1)
            page.wait_for_function(SAME_BOX, arg=["#overlay", before])
            page.keyboard.press("Escape")
            page.keyboard.press("?")
            expect(page.locator("#fixlist")).to_contain_text("not visible here")
            assert seen.complaints == []


def _hidden(video_id: str, object_id: int) -> dict[str, object]:
    """A correction of bob's."""
    names = {"video_id": video_id, "object_id": object_id, "frame_index": 3, "kind": "hidden", "mask_rle": None}
    return {**names, "reviewer": "bob", "reviewed_at": datetime(2026, 1, 3, tzinfo=UTC)}


def test_corrections_of_an_object_that_failed_are_taken_back_in_the_page(review: Reviewed) -> None:
    write_corrections(review.storage, [_hidden("gone", 9)])
    with review.open() as seen:
        page = seen.page
        hint = page.locator(".row", has=page.locator(".id[title=gone]")).locator(".warn")
        expect(hint).to_have_text("1 failed")
        page.keyboard.press("o")
        expect(page.locator("#brokenlist")).to_contain_text(BROKEN)
        expect(page.get_by_role("button", name="withdraw its corrections (1)")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#brokenlist")).to_contain_text("taken back (1)")
        page.keyboard.press("Escape")
        expect(page.locator("#broken")).to_be_hidden()
        page.get_by_role("button", name="1 failed or with a message").click()
        expect(page.locator("#broken")).to_be_visible()
        assert read_corrections(review.storage) == {}
        assert seen.complaints == []


def test_frames_before_the_first_mask_are_shown_where_somebody_goes_back_to_them(
    browser: Browser, tmp_path: Path
) -> None:
    late = DrawnVideo("late", {1: "cat"}, num_frames=6, missing={1: (0, 1, 2)}, prompt_frame=3)
    output = write_filmed_job(tmp_path, (late,))
    write_job_record(output, "mini")
    with reviewed(browser, JobStorage(output)) as review, review.open() as seen:
        page, where = seen.page, seen.page.locator("#where")
        made_up = MadeUp(page)
        page.keyboard.press("Home")
        expect(where).to_contain_text("frame 3 · 1 of 3")
        expect(page.locator("#before")).to_be_visible()
        page.keyboard.press("f")
        page.wait_for_selector("#panel[data-state=open]")
        page.keyboard.press("ArrowLeft")
        expect(where).to_contain_text("frame 2 · 3 of 6")
        expect(page.locator("#before")).to_be_hidden()
        page.wait_for_selector("#panel[data-state=open]")
        page.locator("#overlay").click()
        page.wait_for_selector('#panel[data-said="1"]')
        page.keyboard.press("Enter")
        expect(page.locator(".fix-note")).to_contain_text("frame 2")
        assert [one["frame_index"] for one in made_up.saved] == [2]
        bright = pixel(page, "frame", 32, 24)
        page.keyboard.press("Home")
        expect(where).to_contain_text("frame 0 · 1 of 6")
        assert pixel(page, "frame", 32, 24)[0] == pytest.approx(bright[0] - 20, abs=6), "ten levels a frame"
        assert seen.complaints == []


def test_an_object_that_keeps_its_masks_with_a_message_is_opened_from_the_list_of_messages(
    browser: Browser, tmp_path: Path
) -> None:
    kept = "keeps its masks, because its corrections do not fit"
    videos = (DrawnVideo("a", {1: "cat"}, failed={9: BROKEN}), DrawnVideo("b", {5: "dog"}, messages={5: kept}))
    storage = JobStorage(write_filmed_job(tmp_path, videos))
    write_corrections(storage, [_hidden("a", 9)])
    with reviewed(browser, storage) as review, review.open() as seen:
        page = seen.page
        page.locator(".row", has_text="#1").click()
        expect(page.locator("#video")).to_have_text("a")
        expect(page.locator(".row", has_text="#5").locator(".warn")).to_have_attribute("title", kept)
        page.keyboard.press("o")
        first = page.locator("#brokenlist li").first
        expect(first).to_contain_text("#9 of a · failed")
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("button", name="open it")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#broken")).to_be_hidden()
        expect(page.locator("#video")).to_have_text("b")
        assert seen.complaints == []
