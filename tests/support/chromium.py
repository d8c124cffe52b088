"""A headless Chromium for the tests of pages: playwright steers the one that the system has.

Where none is installed, tests that need it are left out, and pytest's summary names them.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE_MILLISECONDS = 200_000  # of a busy machine: a page that never comes would fail anyway


def executable() -> str | None:
    """The path of a Chromium that starts. Some systems have a script in its place that only asks for a snap."""
    for path in filter(None, map(shutil.which, NAMES)):
        if subprocess.run([path, "--version"], capture_output=True, timeout=200, check=False).returncode == 0:
            return path
    return None


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser without a window, for several pages. Leaves the test out if there is none to start."""
    path = executable()
    if path is None:
        pytest.skip("no Chromium is installed: pages were not looked at in a browser (apt-get install chromium)")
    with sync_playwright() as playwright:
        # Root has no sandbox in a container, and a container's /dev/shm is small.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments, timeout=PATIENCE_MILLISECONDS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Seen:
    """A page in a browser, and everything that it said or asked for meanwhile."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def overflow_px(self) -> int:
        """By how much the page is wider than its window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return width

    def focus_order(self, most: int = 60) -> list[str]:
        """What the Tab key reaches one after the other: an id, an address or a tag each."""
        found: list[str] = []
        for _ in range(most):
            self.page.keyboard.press("Tab")
            name = self.page.evaluate(f"({_NAME})(document.activeElement)")
            if not name:
                break
            found.append(name)
        return found

    def focusable(self) -> list[str]:
        """What the Tab key should reach, in the order of the page, by the same names."""
        selector = "a[href], button, input, summary, [tabindex='0']"
        found: list[str] = self.page.evaluate(f"[...document.querySelectorAll({selector!r})].map({_NAME})")
        return found

    def faint_texts(self) -> dict[str, float]:
        """Texts whose contrast with what lies behind them is below what WCAG's level AA asks for, with the contrast."""
        found: dict[str, float] = self.page.evaluate(_FAINT)
        return found


@contextlib.contextmanager
def seen(browser: Browser, file: Path, **context: Any) -> Iterator[Seen]:
    """Open a file of this disk. `context` are options of playwright, as `color_scheme="dark"` and `viewport`."""
    with contextlib.closing(browser.new_context(**context)) as opened:
        opened.set_default_timeout(PATIENCE_MILLISECONDS)
        page = opened.new_page()
        found = Seen(page)
        page.on("console", lambda message: found.complaints.append(message.text))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (found.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: found.requests.append(request.url))
        page.goto(file.as_uri())
        yield found


_NAME = "e => e && e !== document.body ? (e.getAttribute('href') || e.id || e.tagName) : ''"
_FAINT = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = color => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = color => color.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = rgb(getComputedStyle(element).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const faint = {};
  for (const element of document.body.querySelectorAll('*')) {
    const text = [...element.childNodes].filter(node => node.nodeType === 3 && node.data.trim());
    if (!text.length || element.tagName === 'title' || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const color = rgb(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [luminance(color), luminance(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (isLarge ? 3 : 4.5)) faint[`${element.tagName}.${element.className} ${text[0].data}`] = contrast;
  }
  return faint;
}"""
