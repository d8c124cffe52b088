"""The network of a job is loaded again, or it is said why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pipeline import tables
from pipeline.commits.job_record import read_record, write_record
from pipeline.errors import CannotMend
from pipeline.mending.job_network import load_job_network
from pipeline.mending.mender import Mender
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, write_job
from tests.support.mendable import write_job_record
from tests.support.sessions import save_small


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_small(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def storage(tmp_path: Path, weights: Path) -> JobStorage:
    """A job of one video whose file is another one now."""
    other = tmp_path / "film.mp4"
    other.write_bytes(b"no film")
    uri, _ = write_job(tmp_path, (DrawnVideo("v", {1: None}, uri=str(other)), DrawnVideo("gone", {1: None}, uri="/no")))
    write_job_record(uri, str(weights), "both")
    return JobStorage(uri)


@pytest.mark.slow
def test_the_network_is_that_of_the_job_in_numbers_of_this_machine(storage: JobStorage) -> None:
    record = read_record(storage)
    assert record is not None
    model = record.config["model"] | {"dtype": "bfloat16", "compile": True, "device": "cuda"}
    write_record(storage, record.model_copy(update={"config": record.config | {"model": model}}))
    network = load_job_network(storage, device="cpu")
    assert network.model.config.image_size == 64
    assert (network.model.device.type, network.model.dtype) == ("cpu", torch.float32)
    assert network.direction == "both"


@pytest.mark.slow
def test_weights_that_are_gone_or_others_now_are_named(storage: JobStorage, weights: Path) -> None:
    with (weights / "model.safetensors").open("r+b") as file:  # as fine-tuning does, which keeps the sizes
        file.seek(-4, 2)
        file.write(b"more")
    with pytest.raises(CannotMend, match=f"{weights}, cannot be loaded: .* have been replaced .*put the old ones back"):
        load_job_network(storage)
    shutil.rmtree(weights)
    with pytest.raises(CannotMend, match=f"the weights of this job, {weights}, cannot be loaded"):
        load_job_network(storage)


@pytest.mark.slow
def test_an_output_without_job_json_is_refused(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path)
    with pytest.raises(CannotMend, match="there is no job"):
        load_job_network(JobStorage(uri))


@pytest.mark.slow
@pytest.mark.parametrize(("video_id", "told"), [("v", "film.mp4"), ("gone", "videos_root=")])
def test_a_video_that_is_gone_or_another_is_named(storage: JobStorage, video_id: str, told: str) -> None:
    job = tables.open(storage.uri)
    mender = Mender(storage, lambda: job, job.video)
    with pytest.raises(CannotMend, match=told):
        mender.open(video_id, 1, 2)
    mender.close()
