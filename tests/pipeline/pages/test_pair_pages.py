"""The pages of an evaluation and of a comparison, as a browser shows them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from pipeline import compare, evaluate
from tests.support.chromium import seen
from tests.support.clips import clip_mp4, moving_clip
from tests.support.masks import write_output, write_table

pytestmark = pytest.mark.slow

PHONE = {"width": 380, "height": 800}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An evaluation and a comparison: one clip with its file, one with a hostile name and without a file."""
    folder = tmp_path_factory.mktemp("pages")
    clip = moving_clip(num_frames=6)
    file = folder / "clip.mp4"
    file.write_bytes(clip_mp4(clip))
    true = {object_id: clip.masks_TBHW[:, object_id - 1] for object_id in clip.object_ids}
    moved = {object_id: np.roll(masks_THW, 7, axis=2) for object_id, masks_THW in true.items()}
    files = {"clip": file}
    a = write_output(folder / "a", {"clip": moved, HOSTILE: moved}, files=files)
    b = write_output(folder / "b", {"clip": true, HOSTILE: {1: moved[1], 2: true[2]}}, files=files)
    truth = write_table(folder / "truth.parquet", {"clip": true, HOSTILE: true}, category=HOSTILE)
    scores, difference = folder / "scores", folder / "difference"
    assert evaluate.door([f"output={a}", f"truth={truth}", f"to={scores}", "hota=true"]) == 0
    assert compare.door([f"a={a}", f"b={b}", f"truth={truth}", f"to={difference}"]) == 0
    return scores / "evaluation.html", difference / "comparison.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_pages_are_quiet_readable_and_fit_a_phone(pages: tuple[Path, Path], browser: Browser, scheme: str) -> None:
    for page in pages:
        with seen(browser, page, color_scheme=scheme, viewport=PHONE) as found:
            assert found.overflow_px == 0
            assert found.faint_texts() == {}
            assert found.focus_order() == found.focusable()
            assert found.complaints == []
            assert [one for one in found.requests if not one.startswith("data:")] == [page.as_uri()]


def test_a_name_from_a_table_is_text_and_the_scores_are_those_of_the_terminal(
    pages: tuple[Path, Path], browser: Browser
) -> None:
    with seen(browser, pages[0]) as found:
        names = found.page.locator("#worst h3").all_inner_texts()
        assert sum(HOSTILE in name for name in names) == 4, "as a video twice, as a category in all"
        assert found.page.locator("img[src=x]").count() == 0
        words, values = (found.page.locator(f".figures {tag}").all_inner_texts() for tag in ("dt", ".value"))
        figures = dict(zip(words, values, strict=True))
        assert figures["objects"] == "4"
        assert float(figures["J&F"]) == pytest.approx((float(figures["J"]) + float(figures["F"])) / 2, abs=0.11)
        assert float(figures["HOTA"]) > 0
        assert "its bytes were in the table of videos" in found.page.locator(".without").first.inner_text()
    with seen(browser, pages[1]) as found:
        assert found.page.locator("h1").inner_text() == "3 of 4 tracks differ"
        assert found.page.locator("#worst article").count() == 3
        assert "→" in found.page.locator("#worst .badge").first.inner_text()


def test_pictures_show_what_one_mask_has_alone_in_its_color(pages: tuple[Path, Path]) -> None:
    html = pages[0].read_text(encoding="utf-8")
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
        for data in re.findall(r"data:image/webp;base64,([\w+/=]+)", html)
    ]
    assert len(pictures) >= 2 * 3
    output, truth, difference = pictures[:3]
    orange, blue = (240, 130, 20), (40, 120, 245)

    def near(picture: np.ndarray, color: tuple[int, int, int]) -> int:
        return int((np.abs(picture - color).max(axis=2) < 60).sum())

    assert near(output, orange) > 50
    assert near(truth, blue) > 50
    assert near(difference, orange) > 50
    assert near(difference, blue) > 50
