"""What all pages share: words of numbers, texts of strangers, and measured charts."""

from __future__ import annotations

import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from pipeline.pages.charts import histogram, parts, timeline
from pipeline.pages.page import compact, duration, name, number, percent, place


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", "\" onload='x", "<b>&amp;", "a\u202eb\x00\x1b[2J\n", "שלום", "]]>"]
)
def test_a_name_is_one_isolated_element_with_the_text_in_it(text: str) -> None:
    (element,) = ET.fromstring(f"<p>{name(text)}</p>")
    assert element.tag == "bdi"
    assert not len(element)
    shown = element.text or ""
    assert shown.isprintable()
    assert shown.encode().decode("unicode_escape" if shown.isascii() else "utf-8") == text


def test_a_long_name_is_cut_and_whole_in_its_tooltip() -> None:
    (element,) = ET.fromstring(f"<p>{name('x' * 200, 20)}</p>")
    assert element.text == "x" * 19 + "…"
    assert element.get("title") == "x" * 200


def test_a_place_is_named_so_that_a_reader_elsewhere_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert place("../labels") == f"<bdi>{tmp_path}/labels</bdi>"
    assert place("s3://bucket/labels") == "<bdi>s3://bucket/labels</bdi>"


def test_a_share_that_is_not_whole_does_not_look_whole() -> None:
    assert [percent(share) for share in (0, 0.0004, 0.5, 0.9996, 1)] == [
        "0\u202f%",
        "< 1\u202f%",
        "50\u202f%",
        "> 99\u202f%",
        "100\u202f%",
    ]
    assert percent(math.nan) == percent(None) == "–"


def test_a_large_count_is_short_where_little_room_is() -> None:
    shown = [compact(count) for count in (9_999_999, 12_345_678, 10**10)]
    assert shown == ["9\u202f999\u202f999", "12.3 M", "10.0 G"]


def test_numbers_are_for_people() -> None:
    assert number(1234567) == "1\u202f234\u202f567"
    assert [duration(s) for s in (0.25, 59.9, 61, 3661, 200_000)] == [
        "250 ms",
        "59.9 s",
        "1 min 1 s",
        "1 h 1 min",
        "2 d 7 h",
    ]


@pytest.mark.slow
def test_without_jinja2_the_extra_is_named_before_anything_is_read() -> None:
    code = "import sys; sys.modules['jinja2'] = None; from pipeline import report; sys.exit(report.door(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "output=none"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'maskmill: pages need jinja2: pip install "maskmill[report]"\n'


def test_bars_of_a_histogram_are_as_high_as_their_counts() -> None:
    chart = histogram("areas", [0, 1, 2, 3], [0, 5, 10], ["0", "1", "2", "3"])
    heights = [bar.height for bar in chart.bars]
    assert heights[0] == 0
    assert heights[2] == 2 * heights[1]
    assert all(bar.y + bar.height == pytest.approx(chart.base) for bar in chart.bars)
    assert chart.bars[1].words == "1 to 2: 5 masks, 33.3 %"
    with pytest.raises(ValueError, match="2 counts need 3 edges"):
        histogram("areas", [0, 1], [1, 2], ["0", "1"])


def test_parts_fill_the_whole_bar() -> None:
    found = parts([("fetch", 1.0), ("nothing", 0.0), ("propagate", 3.0)])
    assert [(part.name, part.x, part.share) for part in found] == [("fetch", 0, 0.25), ("propagate", 25, 0.75)]
    assert parts([]) == ()


def test_a_timeline_of_many_frames_keeps_a_short_loss() -> None:
    areas = np.full(100_000, 50.0)
    areas[77_777] = 0
    frames = np.arange(100_000, dtype=float)
    chart = timeline(frames, areas, np.full(100_000, np.nan), mark=50_000, prompts=[0])
    assert len(chart.area) < 10_000
    assert f"{round(77_777 / 99_999 * 600, 1):g} 64" in chart.area
    assert chart.score == ""
    assert chart.mark == pytest.approx(300, abs=0.1)
    assert chart.prompts == (0,)
