"""What fix mode tells, and what it asks before it leaves. The answers of the network are made up: none is loaded."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from pipeline.reviews.corrections import read_corrections
from pipeline.storage.job_storage import JobStorage
from tests.pipeline.review_server.test_undoing import fixed
from tests.support.review_page import MadeUp, Reviewed, intercept, reviewed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LATER = 1_000_000  # minutes: after all that the test itself says


def begin_fix(page: Page) -> None:
    expect(page.locator("#facts")).not_to_be_empty()  # the player has the track that is named
    page.keyboard.press("f")
    page.wait_for_selector("#panel[data-state=open]")


def click_it(page: Page, num_said: int) -> None:
    page.locator("#overlay").click()
    page.wait_for_selector(f'#panel[data-said="{num_said}"]')


def test_what_is_saved_refused_and_left_is_told_in_fitting_words(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        made_up, panel, note = MadeUp(page), page.locator("#panel"), page.locator(".fix-note")
        begin_fix(page)
        click_it(page, 1)
        expect(note).to_contain_text("The network sees nothing there: click again nearer to its middle")
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
        assert seen.complaints == []


def test_whatever_leaves_marks_that_are_not_saved_asks_and_stays_throws_away_or_saves(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        made_up, asked, panel = MadeUp(page), page.locator("#ask"), page.locator("#panel")
        page.fill("#text", "clip-1")
        page.keyboard.press("Enter")
        expect(page.locator("#total")).to_contain_text("2 tracks")
        page.locator(".row", has_text="cat").click()
        expect(page.locator("#object")).to_contain_text("#7 cat")
        begin_fix(page)
        click_it(page, 1)
        leaving = {
            "another track of the list": lambda: page.locator(".row", has_text="dog").click(),
            "j": lambda: page.keyboard.press("j"),
            "escape": lambda: page.keyboard.press("Escape"),
            "f": lambda: page.keyboard.press("f"),
            "a verdict by mouse": lambda: page.locator("#accept").click(),
            "undo by mouse": lambda: page.locator("#undo").click(),
        }
        for leave in leaving.values():
            leave()
            expect(asked).to_be_visible()
            expect(asked).to_contain_text("Not saved: the mask of frame")
            expect(page.locator("#answers button").first).to_be_focused()
            page.keyboard.press("Escape")
            expect(asked).to_be_hidden()
            expect(panel).to_have_attribute("data-state", "open")
            expect(page.locator("#object")).to_contain_text("#7 cat")
        assert made_up.saved == []
        assert review.verdicts() == []

        page.keyboard.press("Escape")
        expect(asked).to_be_visible()
        page.keyboard.press("t")
        expect(panel).to_be_hidden()
        # The question has the focus until the page is drawn again, and a reviewer may be quicker.
        page.locator("#answers button").first.dispatch_event("keydown", {"key": "f"})
        page.wait_for_selector("#panel[data-state=open]")
        click_it(page, 2)
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#panel[data-state=open]")
        click_it(page, 3)
        page.locator(".row", has_text="dog").click()
        expect(asked).to_be_visible()
        page.keyboard.press("Enter")  # save is the first answer
        expect(page.locator("#object")).to_contain_text("#3 dog")
        expect(panel).to_be_hidden()
        first, second = (one["frame_index"] for one in made_up.saved)
        assert second == first + 1
        assert {one["object_id"] for one in made_up.saved} == {7}
        assert seen.complaints == []


def test_what_saving_refuses_and_closing_the_page_lose_nothing(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        made_up = MadeUp(page, refuses="the disk is full")
        begin_fix(page)
        click_it(page, 1)
        before = page.locator("#video").text_content()
        page.keyboard.press("j")
        expect(page.locator("#ask")).to_be_visible()
        page.keyboard.press("s")
        expect(page.locator(".fix-note")).to_have_text("the disk is full")
        expect(page.locator("#video")).to_have_text(str(before))
        page.close(run_before_unload=True)
        page.wait_for_function("true")  # the browser has asked, and the answer was to stay
        expect(page.locator("#panel")).to_be_visible()
        assert seen.complaints == ["a dialog"]
        made_up.refuses = ""
        page.keyboard.press("Enter")
        expect(page.locator(".fix-note")).to_contain_text("Saved")


def test_whoever_saves_a_mask_of_a_track_that_somebody_else_has_judged_is_told_so(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        made_up = MadeUp(page)
        begin_fix(page)
        for said, (who, told) in enumerate((("bob", True), (page.input_value("#reviewer"), False)), 1):
            made_up.replaced = {"reviewer": who, "verdict": "accept"}
            click_it(page, said)
            page.keyboard.press("Enter")
            page.wait_for_selector(f'#panel[data-saved="{said}"]')
            note = page.locator(".fix-note")
            expect(note).to_contain_text("Saved: ")
            words = f" {who} had said accept of this track: yours counts now; ctrl z takes it back."
            assert (words in str(note.text_content())) is told
        assert seen.complaints == []


def test_a_mask_that_the_server_has_closed_is_opened_again_and_saved(review: Reviewed) -> None:
    """Whoever looks at many frames, or several people, close what was said on a frame and not saved."""
    with review.open() as seen:
        page = seen.page
        made_up, note = MadeUp(page), page.locator(".fix-note")
        begin_fix(page)
        click_it(page, 1)
        made_up.close_all()
        click_it(page, 2)
        assert [one["kind"] for one in made_up.said] == ["click", "hide", "click"], (
            "the mask that was shown comes first"
        )
        made_up.close_all()
        page.keyboard.press("Control+z")
        expect(note).to_contain_text("once more takes all of them back")
        made_up.close_all()
        page.keyboard.press("Enter")
        expect(note).to_contain_text("Saved")
        (saved,) = made_up.saved
        assert saved["num_said"] == 1
        assert saved["is_hidden"]
        assert seen.complaints == []


def test_a_frame_that_is_clicked_while_it_is_opened_is_opened_once(review: Reviewed) -> None:
    """Of two corrections of one frame the later answer would take the place of the one with the click."""
    with review.open() as seen:
        page = seen.page
        made_up = MadeUp(page)
        held: list[Route] = []
        page.unroute("**/api/fix/*")
        intercept(
            page,
            "**/api/fix/*",
            lambda route: held.append(route) if route.request.url.endswith("open") else made_up(route),
        )
        expect(page.locator("#facts")).not_to_be_empty()
        page.keyboard.press("f")
        page.wait_for_selector("#panel[data-state=busy]")
        page.locator("#overlay").click()
        page.wait_for_function("fetch('is-heard')")  # whatever the click asks for is asked for by now
        assert len(held) == 1
        made_up(held[0])
        page.wait_for_selector('#panel[data-said="1"]')
        assert made_up.posted == ["open", "say"]
        assert seen.complaints == []


def test_pauses_count_half_a_minute_while_a_mask_is_corrected_as_well(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        made_up = MadeUp(page)
        begin_fix(page)
        click_it(page, 1)
        page.evaluate("const now = performance.now.bind(performance); performance.now = () => now() + 3e6")
        page.keyboard.press("Enter")
        expect(page.locator(".fix-note")).to_contain_text("Saved")
        (saved,) = made_up.saved
        assert 30 <= saved["seconds"] < 1000, "of 50 minutes and what the test takes"
        assert seen.complaints == []


def test_who_accepts_what_he_has_corrected_is_told_that_the_correction_does_not_count(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        MadeUp(page)
        page.keyboard.press("a")
        review.has_told(page, "accept: #")
        begin_fix(page)
        click_it(page, 1)
        page.keyboard.press("Enter")
        expect(page.locator(".fix-note")).to_contain_text("Saved")
        page.keyboard.press("Escape")
        expect(page.locator("#panel")).to_be_hidden()
        assert not page.evaluate("lines.some(line => line.includes('was corrected'))")
        page.keyboard.press("a")
        review.has_told(page, "the next run does not take in what was corrected. u takes this back.")
        assert seen.complaints == []


def test_what_is_said_and_saved_is_of_the_frame_that_was_shown_then(review: Reviewed) -> None:
    """A network may take seconds for a click, in which a reviewer clicks, saves, and goes on to the next frame."""
    with review.open() as seen:
        page = seen.page
        made_up = MadeUp(page)
        held: list[Route] = []
        begin_fix(page)
        page.keyboard.press("Home")
        expect(page.locator("#where")).to_contain_text("frame 0 ")
        click_it(page, 1)
        page.unroute("**/api/fix/*")
        intercept(page, "**/api/fix/*", lambda route: made_up(route) if held else held.append(route))
        page.keyboard.press("h")
        page.locator("#overlay").click()
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#where")).not_to_contain_text("frame 0 ")
        made_up(held[0])
        page.wait_for_selector('#panel[data-saved="1"]')
        assert [one["kind"] for one in made_up.said] == ["click", "hide", "click"]
        assert len({one["id"] for one in made_up.said}) == 1
        (saved,) = made_up.saved
        assert (saved["frame_index"], saved["num_said"]) == (0, 3)
        assert seen.complaints == []


def test_a_press_that_the_middle_button_makes_or_another_frame_ends_says_nothing(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        made_up = MadeUp(page)
        begin_fix(page)
        page.keyboard.press("Home")
        expect(page.locator("#where")).to_contain_text("frame 0 ")
        overlay, box = page.locator("#overlay"), page.locator("#overlay").bounding_box()
        assert box is not None
        overlay.click(button="middle")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for end in (
            lambda: page.keyboard.press("End"),
            lambda: page.locator("#stage").dispatch_event("pointercancel", {"pointerId": 1}),
        ):
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + 40, y + 40, steps=3)
            end()
            expect(page.locator("#where")).not_to_contain_text("frame 0 ")
            page.mouse.up()
        page.keyboard.press("h")
        page.wait_for_selector('#panel[data-said="1"]')
        assert [one["kind"] for one in made_up.said] == ["hide"]
        assert seen.complaints == []


def test_a_key_that_is_held_takes_back_one_thing(browser: Browser, output: str) -> None:
    for minute, frame in enumerate((2, 4, 5)):
        fixed(output, minute, frame)
    with reviewed(browser, JobStorage(output), queue={("clip-1", 7): False}) as review, review.open() as seen:
        page = seen.page
        MadeUp(page)
        begin_fix(page)
        page.keyboard.down("Control")
        for _ in range(4):  # the browser repeats it
            page.keyboard.down("z")
        page.keyboard.up("z")
        page.keyboard.up("Control")
        click_it(page, 1)  # comes after all that the keys have asked for
        assert {one.frame_index for one in read_corrections(review.storage)["clip-1"]} == {2, 4}
        assert seen.complaints == []


def test_keys_that_wait_until_fix_mode_is_left_wait_as_capitals_as_well(review: Reviewed) -> None:
    with review.open() as seen:
        page = seen.page
        made_up = MadeUp(page)
        begin_fix(page)
        shown = page.locator("#object").text_content()
        for key in "ARSUGO":
            page.keyboard.press(key)
        page.keyboard.press("H")
        page.wait_for_selector('#panel[data-said="1"]')
        assert made_up.said[0]["kind"] == "hide"
        expect(page.locator("#object")).to_have_text(str(shown))
        assert review.verdicts() == []
        assert seen.complaints == []


def test_u_takes_back_a_fix_of_an_earlier_visit_unless_others_spoke_since(browser: Browser, output: str) -> None:
    for minute, frame in enumerate((2, 4, 5)):
        fixed(output, minute, frame)
    with reviewed(browser, JobStorage(output), queue={("clip-1", 7): False}) as review, review.open() as seen:
        page = seen.page
        expect(page.locator("#object")).to_contain_text("#7")
        expect(page.locator("#where")).not_to_be_empty()
        expect(page.locator("#progress")).to_contain_text("1 of 1 in the queue")
        page.keyboard.press("u")
        review.has_told(page, "Taken back: what you had saved of frame 5")
        MadeUp(page)
        begin_fix(page)
        page.keyboard.press("Control+z")
        expect(page.locator(".fix-note")).to_have_text("Taken back: what you had saved of frame 4.")
        page.keyboard.press("Escape")
        expect(page.locator("#panel")).to_be_hidden()
        (left,) = read_corrections(review.storage)["clip-1"]
        assert left.frame_index == 2
        fixed(output, LATER, frame=3, reviewer="bob")
        page.keyboard.press("u")
        review.has_told(page, "bob has said fix of this track since")
        assert {one.frame_index for one in read_corrections(review.storage)["clip-1"]} == {2, 3}
        assert seen.complaints == []
