"""The page of a check, for what was looked at and measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from pipeline.check.again import Again
from pipeline.check.estimate import Decoded, Experience, Volume
from pipeline.check.forecast import forecast
from pipeline.check.page import Findings, page
from pipeline.check.rates import Rates, Work
from pipeline.config.compose import job_config
from pipeline.driver.progress import duration
from pipeline.inputs.plan import Plan

NOTHING_LEFT = SimpleNamespace(
    num_videos=2, num_to_label=2, num_done=0, num_no_prompts=0, num_refused=0, num_left=0, warnings=()
)
TWO = Volume(
    num_videos=2,
    num_objects=2,
    num_counted=2,
    counted=Work(10_000, 10_000),
    longest=Work(9_000, 9_000),
    decoded=Decoded(2, 100, 1.0),
)
MEASURED = Experience(100, 1000, 100.0, 200.0, Rates(0.1, 0.0, 0.0), "CPU", "100 videos")


def page_of(experience: Experience, *words: str) -> str:
    config = job_config("label", ["prompts=p", "output=o", *words])
    return page(config, cast(Plan, NOTHING_LEFT), TWO, experience, Findings(), (), (), Again({}, "", is_refused=False))


@pytest.mark.parametrize(
    ("words", "workers", "seconds"),
    [
        (("cluster.actors=8",), "8 workers", 900),
        (("cluster.max_actors=8",), "8 workers", 900),
        (("cluster.min_actors=2", "cluster.max_actors=8"), "8 workers", 900),
        ((), "1 worker", 1000),
    ],
)
def test_the_time_is_that_of_a_plan_and_at_least_that_of_the_longest_video(
    words: tuple[str, ...], workers: str, seconds: float
) -> None:
    assert f"time     about {duration(seconds)} with {workers}, " in page_of(MEASURED, *words)
    config = job_config("label", ["prompts=p", "output=o", *words])
    assert forecast(config, TWO, MEASURED).seconds == pytest.approx(seconds)


def test_the_longest_video_is_decoded_by_one_worker() -> None:
    assert f"takes {duration(90)} with 8 workers, at the 100 frames/s" in page_of(Experience(), "cluster.actors=8")
