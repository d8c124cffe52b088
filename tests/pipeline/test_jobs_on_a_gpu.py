"""Whole jobs on a GPU, decoding to tables: the masks of a CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco

from tests.support.clips import iou
from tests.support.gpus import Gpu
from tests.support.jobs import JobFolder, Tables
from tests.support.pretended_gpu import PretendedGpu

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The tables of a CPU, in float32."""
    job = make_job(tmp_path_factory.mktemp("cpu"))
    assert job.run("model.device=cpu") == 0
    return job.tables()


def make_job(folder: Path) -> JobFolder:
    return JobFolder(folder).write(["a", "b"], num_frames=4, num_objects=2)


def masks_of(job: Tables) -> list[npt.NDArray[np.bool_]]:
    """The masks of a job in the order of its rows."""
    return [coco.decode(row["rle"]).astype(bool) for row in job.masks.to_pylist()]


@pytest.mark.parametrize(
    ("overrides", "least"),
    [
        (["model.dtype=float32"], 0.999),
        (["model.dtype=float32", "worker.videos_in_flight=2"], 0.999),
        (["model.dtype=auto"], 0.97),
        (["model.dtype=autocast"], 0.97),
    ],
    ids=["float32", "two in flight", "auto", "autocast"],
)
def test_a_job_gives_the_masks_of_a_cpu_and_every_frame_waits_in_pinned_memory(
    overrides: list[str],
    least: float,
    expected: Tables,
    rounding: Callable[[], tuple[bool, bool]],
    tmp_path: Path,
    gpu: Gpu,
) -> None:
    job = make_job(tmp_path)
    assert job.run("model.device=cuda", *overrides) == 0
    found = job.tables()
    assert found.statuses == expected.statuses
    assert rounding() == ((False, False) if "model.dtype=float32" in overrides else (True, True))
    assert {row["versions"].partition(", attention by ")[2] for row in found.videos.values()} == {
        "flash, efficient or math"
    }
    pairs = zip(masks_of(found), masks_of(expected), strict=True)
    assert np.mean([iou(one, other) for one, other in pairs]) >= least
    if isinstance(gpu, PretendedGpu):
        assert not [shape for shape in gpu.pinned_late if len(shape) == 3 and shape[2] == 3]
