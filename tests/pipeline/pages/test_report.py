"""`python -m pipeline.report`: what the page says, that nothing of the data runs in it, how it looks in a browser."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from playwright.sync_api import Browser

from pipeline import report
from pipeline.commits.status_file import RunStatus, write_status
from pipeline.pages.job_page import MOST_CATEGORIES, MOST_NEVER_VISIBLE, PageOptions, job_page
from pipeline.records import Reason, Status
from pipeline.storage.job_storage import JobStorage
from tests.support.chromium import seen
from tests.support.drawn_job import DrawnVideo, drawn_mask, write_job
from tests.support.labeled import driver, labeled, publish
from tests.support.reported import HOSTILE, hostile_job
from tests.support.reviewed import say_of, verdict

PHONE, SMALL_PHONE, DESK = ({"width": width, "height": 844} for width in (390, 320, 1280))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return hostile_job(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def file(output: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the hostile job, by its command."""
    to = tmp_path_factory.mktemp("page") / "new folder" / "report.html"
    assert report.door([f"output={output}", f"to={to}", "price_per_hour=2"]) == 0
    return to


@pytest.fixture(scope="module")
def page(file: Path) -> html.HtmlElement:
    return html.fromstring(file.read_text())


def text_of(element: html.HtmlElement) -> str:
    return " ".join(element.text_content().split())


def section(page: html.HtmlElement, name: str) -> html.HtmlElement:
    return page.get_element_by_id(name)


# What it says


@pytest.mark.slow
def test_videos_objects_and_masks_are_counted(page: html.HtmlElement) -> None:
    figures = {text_of(one.find("dt")): text_of(one.find("dd")) for one in page.find_class("figures")[0]}
    assert figures["videos labeled"] == "3"
    assert figures["videos failed"] == "2"
    assert figures["objects labeled"] == "6"
    assert [text_of(row[0]) for row in section(page, "made").findall(".//tbody/tr")] == ["mini"]


@pytest.mark.slow
def test_objects_that_failed_are_not_counted_with_the_masks_of_the_others(tmp_path: Path) -> None:
    drawn = DrawnVideo("a", {1: "cat", 2: "dog"}, failed={7: "no such frame", 9: "no such frame"})
    uri, _ = write_job(tmp_path, (drawn,), broken=("b",))
    said = html.fromstring(job_page(JobStorage(uri), PageOptions(pictures=False)))
    assert "1 video labeled, 1 failed: 2 objects with 11 masks." in text_of(said)
    figures = {text_of(one.find("dt")): text_of(one) for one in said.find_class("figures")[0]}
    assert figures["objects labeled"] == "objects labeled20 never visible"
    assert "2 objects failed" in figures["videos failed"]


@pytest.mark.slow
def test_what_reviewers_rejected_is_counted_as_before_and_told(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("a", {1: "cat", 2: "dog"}),), broken=())
    say_of(uri, verdict("a", 1, "reject"))
    said = text_of(html.fromstring(job_page(JobStorage(uri), PageOptions(pictures=False))))
    assert "1 video labeled: 2 objects with 11 masks. Reviews: round 1; 1 track with a verdict (1 rejected)." in said


@pytest.mark.slow
def test_what_reviewers_rejected_is_in_no_distribution_as_it_is_not_in_the_tables(tmp_path: Path) -> None:
    """A page of a job with a rejected track says of masks what one says in whose job that track never was."""
    drawn = DrawnVideo("a", {1: "cat", 2: "dog", 3: "dog"}, never_visible=(1,))
    masks = {
        (object_id, place): mask
        for object_id in drawn.objects
        for place in range(6)
        if (mask := drawn_mask(drawn, object_id, place)) is not None
    }
    pages = []
    for name, objects in (("all", (1, 2, 3)), ("kept", (2,))):
        mine = {key: mask for key, mask in masks.items() if key[0] in objects}
        video = replace(drawn, objects={one: drawn.objects[one] for one in objects}, never_visible=(), masks=mine)
        uri, _ = write_job(tmp_path / name, (video,), broken=())
        if name == "all":
            say_of(uri, verdict("a", 1, "reject"), verdict("a", 3, "reject"))
        pages.append(html.fromstring(job_page(JobStorage(uri), PageOptions(pictures=False))))
    note = "Left out, here and in all that follows, as in the tables: 2 tracks that a reviewer has rejected."
    assert note in text_of(section(pages[0], "spread"))
    for name in ("spread", "best", "never", "categories"):
        said, of_kept = (text_of(section(one, name)) for one in pages)
        assert said.replace(f" {note}", "") == of_kept


@pytest.mark.slow
def test_failures_have_their_cause_and_the_command_that_retries_them(page: html.HtmlElement, output: str) -> None:
    told = section(page, "failures")
    assert "MediaError: no file" in text_of(told)
    for command in told.find_class("command"):
        words = shlex.split(command.text_content())
        assert words[:3] == ["python", "-m", "pipeline.run"]
        assert f"output={output}" in words
        assert any(word.endswith("it's <b>") for word in words)
        assert words[-1] == "retry=failed"


@pytest.mark.slow
def test_the_command_allows_one_more_attempt_where_videos_have_used_up_theirs(tmp_path: Path) -> None:
    storage = JobStorage(str(tmp_path / "out"))
    log, keeper = driver(storage, tmp_path)
    for _ in range(2):
        keeper.forget(list(log.state.finished), dict.fromkeys(log.state.finished, Reason.RETRY))
        keeper.commit(
            [publish(storage, tmp_path, labeled("a", status=Status.QUARANTINED), labeled("b", wrong={3: "nan"}))]
        )

    def told(max_attempts: int) -> list[tuple[str, str, str]]:
        write_status(storage, RunStatus(state="done", retry=("quarantined",), max_attempts=max_attempts))
        groups = section(html.fromstring(job_page(storage, PageOptions(pictures=False))), "failures").find_class("card")
        notes = [text_of(group.find_class("note")[0]) for group in groups]
        commands = [text_of(group.find_class("command")[0]).split("… ")[1] for group in groups]
        return [(text_of(group.find("h3"))[:6], *said) for group, *said in zip(groups, notes, commands, strict=True)]

    plain = "Fix the cause, then label them again:"
    assert told(3) == [("Videos", plain, "retry=quarantined"), ("Object", plain, "retry=failed")]
    assert told(5)[0] == ("Videos", plain, "max_attempts=5 retry=quarantined"), "the same command would have it"
    used_up = (
        "1 video of these has ended badly as often as max_attempts=1 allows. The command allows one more attempt; "
        "another file or other prompts let it be tried again as well."
    )
    assert told(1) == [
        ("Videos", used_up, "max_attempts=3 retry=quarantined"),
        ("Object", used_up, "max_attempts=3 retry=failed"),
    ]


def test_a_video_whose_file_is_gone_says_so_and_the_other_one_has_pictures(page: html.HtmlElement) -> None:
    cards = section(page, "doubt").findall(".//article")
    with_pictures = [card for card in cards if card.findall(".//img")]
    without = [card for card in cards if not card.findall(".//img")]
    assert with_pictures
    assert without
    for card in without:
        assert "No picture:" in text_of(card)
    for image in with_pictures[0].findall(".//img"):
        assert image.get("src").startswith("data:image/webp;base64,")
        assert "object" in image.get("alt")


def test_objects_that_were_never_visible_are_listed(page: html.HtmlElement) -> None:
    rows = section(page, "never").findall(".//tbody/tr")
    assert len(rows) == 1
    assert text_of(rows[0][1]) == "5"


def test_the_page_asks_for_nothing_and_has_no_script(file: Path, page: html.HtmlElement) -> None:
    assert not page.findall(".//script")
    assert not [element for element in page.iter() if any(str(name).startswith("on") for name in element.attrib)]
    for element in page.iter():
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            address = element.get(name, "#")
            assert address.startswith(("#", "data:")), address
    assert "url(" not in file.read_text()
    assert "default-src 'none'" in page.find(".//meta[@http-equiv]").get("content")


def test_what_is_shown_is_bounded(tmp_path: Path) -> None:
    many = MOST_NEVER_VISIBLE + 10
    kinds = {number: f"kind {number}" for number in range(many)}
    uri, _ = write_job(tmp_path, (DrawnVideo("v", kinds, num_frames=2, never_visible=tuple(kinds)),), broken=())
    shown = html.fromstring(job_page(JobStorage(uri), PageOptions(top=3, pictures=False)))
    assert len(section(shown, "never").findall(".//tbody/tr")) == MOST_NEVER_VISIBLE
    assert f"the first {MOST_NEVER_VISIBLE} of {many}" in text_of(section(shown, "never"))
    assert len(section(shown, "categories").findall(".//tbody/tr")) == MOST_CATEGORIES
    assert f"{MOST_CATEGORIES} of {many}" in text_of(section(shown, "categories"))


def test_the_output_of_an_earlier_commit_has_a_report(tmp_path: Path) -> None:
    old = Path(__file__).parents[2] / "fixtures" / "job_of_249c986" / "out"
    to = tmp_path / "report.html"
    assert report.door([f"output={old}", f"to={to}", "pictures=false"]) == 0
    shown = html.fromstring(to.read_text())
    assert "2 videos labeled, 1 failed" in text_of(shown)
    assert "is not a video or image that can be read" in text_of(section(shown, "failures"))
    assert len(section(shown, "spread").findall(".//svg")) == 4


def test_a_job_without_masks_has_a_report_of_its_failures(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (), broken=("x", "y"))
    shown = html.fromstring(job_page(JobStorage(uri), PageOptions(price_per_hour=1)))
    assert "0 videos labeled, 2 failed" in text_of(shown)
    assert "There are no masks yet." in text_of(section(shown, "spread"))


def test_a_sound_job_has_no_doubtful_track_and_its_best_ones_say_why_they_have_no_picture(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {4: "cat"}, num_frames=4),), broken=())
    shown = html.fromstring(job_page(JobStorage(uri), PageOptions()))
    assert "Nothing speaks against any track." in text_of(section(shown, "doubt"))
    (card,) = section(shown, "best").findall(".//article")
    assert "v · object 4 · cat" in text_of(card)
    assert "its bytes were in the table" in text_of(card)
    assert "Nothing failed" in text_of(section(shown, "failures"))


@pytest.mark.parametrize(
    "words", [["to=.", "top=3"], ["top=0"], ["price_per_hour=-1"], ["price_per_hour=nan"]], ids=str
)
def test_wrong_arguments_are_refused_and_write_nothing(
    words: list[str], output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report.door([f"output={output}", *words]) == 2
    assert words[0].partition("=")[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_no_job_nothing_is_written(tmp_path: Path) -> None:
    to = tmp_path / "report.html"
    assert report.door([f"output={tmp_path}/none", f"to={to}"]) == 2
    assert not to.exists()


def test_the_page_of_the_docs_names_every_key() -> None:
    docs = (Path(__file__).parents[3] / "docs" / "report.md").read_text()
    for name in report.ReportArguments.model_fields:
        assert re.search(rf"^\| .*`{name}`", docs, re.MULTILINE), name


# In a browser


@pytest.mark.slow
def test_nothing_of_the_data_runs(file: Path, browser: Browser) -> None:
    """Also without the page's own policy, which would hide that a text was not escaped."""
    with seen(browser, file, bypass_csp=True, viewport=DESK) as found:
        found.page.mouse.move(300, 300)
        assert found.page.evaluate("[window.pwned === undefined, document.scripts.length]") == [True, 0]
        assert found.complaints == []
        assert [url for url in found.requests if not url.startswith("data:")] == [file.as_uri()]
        shown = found.page.inner_text("body")
        assert HOSTILE[0][:50] in shown
        assert "{{ 7 * 7 }}" in shown
        assert "\\u202e" in shown
        assert "\u202e" not in shown


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_readable_in_light_and_dark(file: Path, browser: Browser, scheme: Any) -> None:
    with seen(browser, file, color_scheme=scheme, viewport=DESK) as found:
        assert found.complaints == []
        assert found.faint_texts() == {}
        (red, *_) = found.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (red < 60) == (scheme == "dark")


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [SMALL_PHONE, PHONE, DESK], ids=lambda one: one["width"])
def test_the_page_is_never_wider_than_its_window(file: Path, browser: Browser, viewport: Any) -> None:
    with seen(browser, file, viewport=viewport) as found:
        assert found.overflow_px <= 0
        assert found.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


@pytest.mark.slow
def test_the_keyboard_reaches_everything_in_the_order_of_the_page(file: Path, browser: Browser) -> None:
    with seen(browser, file, viewport=DESK) as found:
        order = found.focus_order()
        assert order == found.focusable()
        assert order[0] == "#content"
        sections = found.page.evaluate("[...document.querySelectorAll('main section')].map(one => '#' + one.id)")
        assert [name for name in order if name in sections][-len(sections) :] == sections
        assert order.count("PRE") == found.page.locator("pre.command").count() == 2
        found.page.locator(".skip").press("Enter")
        assert found.page.evaluate("document.activeElement.id") == "content"


@pytest.mark.slow
def test_it_prints_dark_on_white_without_its_navigation(file: Path, browser: Browser) -> None:
    with seen(browser, file, color_scheme="dark", viewport=DESK) as found:
        found.page.emulate_media(media="print", color_scheme="dark")
        assert not found.page.is_visible(".contents")
        assert found.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert found.faint_texts() == {}
        assert found.page.pdf().startswith(b"%PDF")
