"""A finished job whose every text is hostile, with a film that can be read, for the report of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline.commits.job_record import make_record, write_record
from pipeline.config.compose import job_config
from pipeline.records import Weights
from pipeline.storage.job_storage import JobStorage
from pipeline.video.encode import Mp4Writer
from tests.support.drawn_job import HEIGHT, WIDTH, DrawnVideo, write_job

PWNED = "<script>window.pwned = 1; alert('pwned')</script>"
HOSTILE = (
    f"</title></style></script>{PWNED}<img src=x onerror=alert(1)>",
    "\" onmouseover='alert(2)' x=\"{{ 7 * 7 }}{% raw %}",
    "a\u202egnp.exe\u2066 שלום \x00\x1b[31m\r\n\t\u200b&lt;b&gt;",
    "javascript:alert(3)//" + "w" * 300,
)
"""Markup, attributes, templates, letters from right to left, control characters, and a word that no line holds."""


def film(path: Path, num_frames: int = 6) -> None:
    """A film of the size of drawn jobs."""
    rng = np.random.default_rng(1)
    writer = Mp4Writer(str(path), Fraction(24))
    for _ in range(num_frames):
        writer.add(rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8))
    writer.close()


def hostile_job(folder: Path) -> str:
    """A job of hostile texts: one video with its film, two whose files are gone, and some that failed."""
    film(folder / "film.mp4")
    mark, attribute, control, word = HOSTILE
    videos = (
        DrawnVideo(mark, {7: attribute, 3: mark}, uri=str(folder / "film.mp4")),
        DrawnVideo(control, {1: word, 2: control, 5: None}, uri=f"/gone/{mark}.mp4", never_visible=(5,)),
        DrawnVideo("plain", {1: word}, uri="/gone/plain.mp4", failed={9: mark, 8: attribute}),
    )
    output, _ = write_job(folder, videos, broken=(word, attribute))
    config = job_config("label", [f"videos={folder}/it's <b>", "prompts=p.parquet", f"output={output}"])
    write_record(JobStorage(output), make_record(config, Weights(mark, None, attribute)))
    return output
