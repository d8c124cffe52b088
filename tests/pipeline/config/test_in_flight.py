"""How many videos a worker labels at the same time."""

from __future__ import annotations

import pytest

from pipeline.config.compose import job_config


@pytest.mark.parametrize(
    ("words", "on_gpu", "number"),
    [
        ([], False, 1),
        ([], True, 4),
        (["worker.videos_in_flight=auto"], True, 4),
        (["worker.videos_in_flight=2"], True, 2),
    ],
)
def test_a_gpu_is_fed_by_four_videos_unless_a_number_is_given(words: list[str], on_gpu: bool, number: int) -> None:
    job = job_config("label", ["prompts=p.parquet", "output=out", *words])
    assert job.worker.in_flight(on_gpu) == number
