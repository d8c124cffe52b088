"""The page of reviews names every key of fix mode, in the words of its panel."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_names_the_keys_of_fix_mode_in_the_words_of_the_panel() -> None:
    code = (ROOT / "pipeline/review_server/page/fix_panel.js").read_text(encoding="utf-8")
    page = (ROOT / "docs/review.md").read_text(encoding="utf-8")
    listed = re.findall(r'^  \["(.+?)", "(.+)"\],$', code.split("const HINTS = [\n")[1].split("];")[0], re.MULTILINE)
    section = page.split("## Correct a mask\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(.+)` \| (.+) \|$", section, re.MULTILINE) == listed
    assert len(listed) > 10
