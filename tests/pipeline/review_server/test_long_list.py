"""A list of more tracks than the page reads at once: what is shown has its place there, wherever that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo
from tests.support.review_page import reviewed
from tests.support.reviewed import say_of, verdict
from tests.support.reviewing import write_filmed_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NUM, LEFT = 230, 215


def test_a_review_that_goes_on_far_down_the_list_shows_that_row_and_goes_to_its_neighbors(
    browser: Browser, tmp_path: Path
) -> None:
    """A hundred rows are read at once. From a row of none of them, j led to the first track of the list."""
    mask_HW = np.zeros((48, 64), np.bool_)
    mask_HW[10:30, 10:30] = True
    ids = range(1, NUM + 1)
    many = DrawnVideo("many", dict.fromkeys(ids, "cat"), num_frames=1, masks={(one, 0): mask_HW for one in ids})
    output = write_filmed_job(tmp_path, (many,))
    say_of(output, *(verdict("many", one, "accept") for one in ids if one != LEFT))
    with reviewed(browser, JobStorage(output)) as review, review.open() as seen:
        page = seen.page
        page.select_option("#sort", "video")
        page.wait_for_function('Object.values(localStorage).some(kept => kept.includes(\'"sort":"video"\'))')
        page.reload()
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("#object")).to_contain_text(f"#{LEFT}")
        expect(page.locator(".row.current .object")).to_have_text(f"#{LEFT}")
        expect(page.locator("#facts")).not_to_be_empty()
        page.evaluate("document.getElementById('rows').scrollTop = 0")
        expect(page.locator(".row .object", has_text="#2").first).to_be_visible()
        for key, object_id in (("j", LEFT + 1), ("k", LEFT), ("k", LEFT - 1)):
            page.keyboard.press(key)
            expect(page.locator("#object")).to_contain_text(f"#{object_id}")
            expect(page.locator(".row.current .object")).to_have_text(f"#{object_id}")
        assert seen.complaints == []
