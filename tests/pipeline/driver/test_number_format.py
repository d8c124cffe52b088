"""Which numbers `model.dtype=auto` means: one answer for a job, found before its fingerprint is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.commits.job_record import config_hash, make_record, write_record
from pipeline.config.cluster_config import ClusterConfig
from pipeline.config.compose import job_config
from pipeline.config.job_config import JobConfig, ModelConfig
from pipeline.driver.executors import worker_settings
from pipeline.driver.job import open_job
from pipeline.driver.number_format import Machines, with_numbers
from pipeline.errors import ConfigError
from pipeline.records import Weights
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.worker import Worker
from tests.support.pretended_gpu import pretended_gpu

FIXTURE = Path(__file__).parents[2] / "fixtures" / "job_of_249c986"


def config(*overrides: str) -> JobConfig:
    return job_config("label", ["prompts=p.parquet", "output=out", "model.dtype=auto", *overrides])


def machines(gpus: str) -> Machines:
    """`gpus`: what this machine and the cluster have, `new`, `old` (without bfloat16) or `no` GPUs."""

    def of_this_machine(model: ModelConfig, in_this_process: bool) -> str:
        return "bfloat16" if gpus == "new" else "float32"

    def cluster_has_gpus(cluster: ClusterConfig) -> bool:
        return gpus != "no"

    return Machines(of_this_machine, cluster_has_gpus)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("overrides", "gpus", "expected"),
    [
        ([], "new", "auto bfloat16"),
        ([], "old", "auto float32"),
        ([], "no", "auto float32"),
        (["cluster=serial"], "new", "auto bfloat16"),
        (["model.device=cpu"], "new", "cpu float32"),
        (["cluster.gpus_per_actor=0"], "new", "cpu float32"),
        (["cluster=existing", "cluster.shared_disk=true"], "new", "auto bfloat16"),
        (["cluster=existing", "cluster.shared_disk=true"], "no", "auto float32"),
        (["cluster=existing", "cluster.shared_disk=true", "model.device=cuda"], "no", "cuda bfloat16"),
        (["cluster=existing", "cluster.shared_disk=true", "cluster.gpus_per_actor=0.5"], "no", "auto bfloat16"),
        (["cluster=existing", "cluster.shared_disk=true", "cluster.gpus_per_actor=0"], "new", "cpu float32"),
        (["model.dtype=autocast"], "new", "auto autocast"),
        (["model.dtype=float32", "cluster.gpus_per_actor=0"], "new", "cpu float32"),
    ],
)
def test_a_new_job_takes_the_numbers_of_its_workers(overrides: list[str], gpus: str, expected: str) -> None:
    model = with_numbers(config(*overrides), None, machines(gpus)).model
    assert f"{model.device} {model.dtype}" == expected


@pytest.mark.fast_core(2)
@pytest.mark.parametrize(
    ("begun", "gpus", "overrides", "expected"),
    [
        ("float32", "new", [], "float32"),
        ("bfloat16", "new", [], "bfloat16"),
        ("bfloat16", "no", ["model.dtype=bfloat16"], "bfloat16"),
        ("bfloat16", "no", ["relabel=true"], "float32"),
        ("float32", "new", ["relabel=true"], "bfloat16"),
        ("bfloat16", "no", ["cluster=existing", "cluster.shared_disk=true"], "bfloat16"),
        ("auto", "new", [], "auto"),
    ],
)
def test_a_job_goes_on_with_the_numbers_that_it_began_with(
    begun: str, gpus: str, overrides: list[str], expected: str
) -> None:
    before = make_record(config(), Weights("mini", None, "sha256:0"))
    before = before.model_copy(update={"fingerprint": {**before.fingerprint, "model.dtype": begun}})
    assert with_numbers(config(*overrides), before, machines(gpus)).model.dtype == expected


@pytest.mark.slow
def test_a_job_of_gpus_does_not_go_on_where_there_are_none(tmp_path: Path) -> None:
    asked = config("cluster=serial", f"output={tmp_path}")
    with pretended_gpu():
        begun = open_job(asked)
    assert begun.record.fingerprint["model.dtype"] == "bfloat16"
    write_record(begun.storage, begun.record)
    with pytest.raises(ConfigError, match=r"was begun with bfloat16, and this run has no GPU .* model\.dtype=bfloat16"):
        open_job(asked)
    with pretended_gpu((7, 5)), pytest.raises(ConfigError, match="has no GPU that computes with it"):
        open_job(asked)
    forced = open_job(config("cluster=serial", f"output={tmp_path}", "model.dtype=bfloat16"))
    assert forced.record.config_hash == begun.record.config_hash


@pytest.mark.slow
def test_a_worker_without_the_numbers_of_its_job_does_not_start(tmp_path: Path) -> None:
    asked = config("cluster=existing", "cluster.shared_disk=true", "cluster.gpus_per_actor=1", f"output={tmp_path}")
    worker = Worker(worker_settings(open_job(asked)), "w0")
    with pytest.raises(RuntimeError, match=r"computes in bfloat16, .* would compute in float32 \(CPU \(no GPU found\)"):
        worker.setup()
    given = open_job(config("cluster=serial", f"output={tmp_path}", "model.dtype=bfloat16"))
    worker = Worker(worker_settings(given), "w0")
    assert worker.setup().endswith("bfloat16"), "who asks for it gets it on a CPU, too"
    worker.close()


def test_an_output_of_an_earlier_commit_keeps_its_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its fingerprint says `auto`, and so do its segments and saved sessions."""
    shutil.copytree(FIXTURE / "out", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "job.json").read_text())
    document["fingerprint"]["model.dtype"] = document["config"]["model"]["dtype"] = "auto"
    (tmp_path / "out" / "job.json").write_text(json.dumps(document))
    job = open_job(config("model.device=cpu", f"output={tmp_path / 'out'}"))
    assert job.record.config_hash == config_hash(document["fingerprint"])
    assert not job.numbers_are_resolved
    assert "does not say with which numbers it was begun" in caplog.text
    assert JobStorage(str(tmp_path / "out")).read("job.json")
