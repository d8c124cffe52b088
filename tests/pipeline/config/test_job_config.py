"""The command line to a typed config, and what it says of mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from botocore.exceptions import NoCredentialsError
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from pipeline.command import ExitCode, explain
from pipeline.config.compose import as_yaml, composed, group_names, job_config, job_names, split_job
from pipeline.config.job_config import JobConfig, ModelConfig
from pipeline.config.mistakes import checked
from pipeline.errors import ConfigError, StorageError
from pipeline.run import main
from pipeline.storage.retry import Backoff

TABLES = ["prompts=prompts.parquet", "output=out"]
ROOT = Path(__file__).resolve().parents[3]


def label(*overrides: str) -> JobConfig:
    return job_config("label", [*TABLES, *overrides])


@pytest.mark.fast_core(5)
@pytest.mark.parametrize("job", job_names())
@pytest.mark.parametrize("cluster", group_names("cluster"))
def test_every_job_composes_with_every_cluster(job: str, cluster: str) -> None:
    needs = {"discover": "videos=s3://b/v", "verify": "max_attempts=3"}
    config = job_config(job, [needs.get(job, "prompts=s3://b/p.parquet"), "output=s3://b/out", f"cluster={cluster}"])
    assert config.cluster.kind == cluster


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["videos=v", "prompts=p", "output=o"], "prompts= contradicts conf=discover"),
        (["videos=v", "corrections=c", "output=o"], "corrections= contradicts conf=discover"),
        (["output=o"], "videos= is missing"),
        (["videos=v"], "output= is missing"),
        (["videos=v", "output=o", "check=true"], "check=true is for jobs with prompts"),
    ],
)
def test_a_job_that_finds_objects_takes_videos_and_no_prompts(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        job_config("discover", words)


@pytest.mark.parametrize("model", group_names("model"))
def test_every_model_composes(model: str) -> None:
    config = label(f"model={model}")
    assert config.model.name == model
    assert config.model.checkpoint == (
        "mini" if model == "mini" else f"facebook/sam2.1-hiera-{model.replace('_', '-')}"
    )


def test_every_file_of_conf_and_jobs_is_covered() -> None:
    found = [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "jobs").glob("*.yaml")]  # jobs/deploy holds none of Hydra's
    files = {path.relative_to(ROOT).as_posix() for path in found}
    named = {"conf/base.yaml"} | {f"jobs/{job}.yaml" for job in job_names()}
    named |= {f"conf/{group}/{name}.yaml" for group in ("model", "cluster") for name in group_names(group)}
    assert files == named


def test_hydra_is_left_as_it_was_for_a_program_that_uses_it_itself() -> None:
    before = ConfigStore.instance().load("hydra/config.yaml")
    label()
    with pytest.raises(ConfigError):
        label("frames.stride=0")
    after = ConfigStore.instance().load("hydra/config.yaml")
    assert after == before
    assert {"launcher": "basic"} in after.node.defaults


@pytest.mark.parametrize(
    "words",
    [
        [
            *("videos=a,[b] c.parquet", "model=tiny", "model.dtype=bfloat16", "cluster=serial", "frames={fps: 2}"),
            *("storage_options={client_kwargs: {endpoint_url: http://x}}", "storage_options.key=a,b", "a.key=unknown"),
            *("corrections=[a.parquet, b]", "flush.seconds=null", "frames.fps=4", "output=${prompts}", "seed='7'"),
        ],
        ["~flush.megabytes", "+extra=1", "frames.fps=4"],
    ],
)
def test_a_job_by_name_is_what_hydra_makes_of_its_file(words: list[str], tmp_path: Path) -> None:
    """A job by its name is composed once in a process, and a file of somebody each time."""
    (tmp_path / "same.yaml").write_text((ROOT / "jobs" / "label.yaml").read_text())
    composed("label", ["frames.stride=7", "output=another"])  # leaves nothing to the next one
    found, of_file = (composed(name, [*TABLES, *words]) for name in ("label", str(tmp_path / "same.yaml")))
    assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(of_file)
    assert OmegaConf.is_struct(found) == OmegaConf.is_struct(of_file)


def test_overrides_reach_the_typed_config() -> None:
    config = label(
        "propagate.direction=both",
        "frames.stride=4",
        "cluster.actors=3",
        "cluster.gpus_per_actor=0.5",
        "model.checkpoint=/models/my sam",
        "model.dtype=bfloat16",
        "retry=failed",
        "max_failed_fraction=1",
    )
    assert config.propagate.direction == "both"
    assert config.frames.stride == 4
    assert (config.cluster.actors, config.cluster.gpus_per_actor) == (3, 0.5)
    assert (config.model.checkpoint, config.model.dtype) == ("/models/my sam", "bfloat16")
    assert config.retry == ("failed",)
    assert config.max_failed_fraction == 1.0


@pytest.mark.parametrize(
    "path",
    [
        "a b/c,d.parquet",
        "it's",
        "[x]/y",
        "ü/../z",
        "back\\slash",
        "end\\",
        "q\\'x",
        "s3://b/k=*?v={1}",
        "a#b:c",
        "{x}",
        "a$HOME/x",
        "~/x",
    ],
)
def test_paths_are_taken_as_they_are_typed(path: str) -> None:
    config = label(f"videos={path}", f"log_file={path}")
    assert (config.videos, config.log_file) == (path, path)


def test_a_secret_that_cannot_be_read_is_not_printed() -> None:
    with pytest.raises(ConfigError) as caught:
        composed("label", [*TABLES, "storage_options.secret='hush"])
    assert "storage_options.secret" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_storage_options_need_no_plus_and_no_quotes() -> None:
    config = label(
        "storage_options.key=AK/+9=",
        "storage_options.client_kwargs.endpoint_url=http://h:1",
        "storage_options.anon=false",
    )
    assert config.storage_options == {"key": "AK/+9=", "client_kwargs": {"endpoint_url": "http://h:1"}, "anon": False}


def test_the_printed_config_hides_secrets() -> None:
    printed = as_yaml(
        composed("label", [*TABLES, "storage_options.secret=hush", "videos=https://h/v.parquet?sig=hush"])
    )
    assert "hush" not in printed
    assert "secret: '***'" in printed


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["frames.strid=2"], "unknown key frames.strid=2: did you mean frames.stride?"),
        (
            ["model.dtype=float16"],
            "model.dtype=float16: numbers above 65,504 do not fit into it, and nothing shows that",
        ),
        (["model.dtype=half"], "model.dtype=half: allowed are auto, float32, bfloat16, autocast"),
        (["stride=2"], "unknown key stride=2: did you mean frames.stride?"),
        (["frames.nonsense=2"], "unknown key frames.nonsense=2: known here are frames.fps, frames.stride"),
        (["demo=null", "demo.hight=80"], "unknown key demo.hight=80: did you mean demo.height?"),
        (
            ["storage_optoins.secret=hush"],
            "unknown key storage_optoins.secret='***': did you mean storage_options?",
        ),
        (["vidoes=x"], "unknown key vidoes='x': did you mean videos?"),
        (["cluster.actors=two"], "cluster.actors='two': expected a whole number"),
        (["cluster.actors=0"], "cluster.actors=0: allowed is at least 1"),
        (["cluster.actors=1.5"], "cluster.actors=1.5: expected a whole number"),
        (["single_driver=maybe"], "single_driver='maybe': expected true or false"),
        (["frames.stride=true"], "frames.stride=True: expected a whole number"),
        (["frames.stride=null"], "frames.stride=null: expected a whole number"),
        (["frames.fps=nan"], "frames.fps=nan: expected a number"),
        (["max_failed_fraction=2"], "max_failed_fraction=2: allowed is from 0 to 1"),
        (["propagate.max_prompted_memories=1"], "propagate.max_prompted_memories=1: allowed is at least 2"),
        (["propagate.direction=up"], "propagate.direction=up: allowed are forward, backward, both"),
        (["box_format=coco"], "cxcywh_percent; boxes of coco are xywh"),
        (["box_format=YOLO"], "cxcywh_percent; boxes of YOLO are cxcywhn"),
        (["box_format=label-studio"], "cxcywh_percent; boxes of label-studio are xywh_percent"),
        (["box_format=pascal_voc"], "cxcywh_percent; boxes of pascal_voc are xyxy"),
        (["retry=ok"], "retry=ok: allowed are failed, quarantined"),
        (["retry={a: 1}"], "retry={a: 1}"),
        (["frames=3"], "frames=3: frames is a group of keys, as frames.stride; give one of them"),
        (["framez.strid=3"], "unknown key framez.strid=3: did you mean frames.stride?"),
        (["outputs=x"], "unknown key outputs='x': did you mean output?"),
        (["output_dir=x"], "unknown key output_dir='x': did you mean output?"),
        (["demo_dir=x"], "unknown key demo_dir='x': did you mean output?"),
        (["video=x"], "unknown key video='x': did you mean videos?"),
        (["prompt=x"], "unknown key prompt='x': did you mean prompts?"),
        (["direction=both"], "unknown key direction='both': did you mean propagate.direction?"),
        (["device=cuda"], "unknown key device='cuda': did you mean model.device?"),
        (["frame_stride=2"], "unknown key frame_stride=2: did you mean frames.stride?"),
        (["actors=4"], "unknown key actors=4: did you mean cluster.actors?"),
        (["num_workers=4"], "unknown key num_workers=4: did you mean cluster.actors?"),
        (["cluster.workers=4"], "unknown key cluster.workers=4: did you mean cluster.actors?"),
        (["gpus=2"], "did you mean cluster.gpus_per_actor, the GPUs of a worker, or cluster.actors, the number of"),
        (["threads=4"], "did you mean cluster.cpus_per_actor, on which a worker computes, or decode.threads?"),
        (["batch_size=8"], "did you mean worker.videos_in_flight, the videos that a worker labels at a time?"),
        (["model_name=tiny"], "unknown key model_name='tiny': did you mean model, as in model=tiny?"),
        (
            ["checkpoint=x.pt"],
            "checkpoint is a group of keys, as checkpoint.every_frames; did you mean model.checkpoint?",
        ),
        (["input=clips"], "input='clips': input is a group of keys, as input.schemes; did you mean videos?"),
        (["price=3"], "unknown key price=3: did you mean price_per_hour?"),
        (["discover.points=3"], "unknown key discover.points=3: did you mean discover.points_per_side?"),
        (["quality=3"], "unknown key quality=3: --help shows all keys"),
        (["user=me"], "unknown key user='me': --help shows all keys"),
        (["modle=tiny"], "unknown key modle='tiny': did you mean model?"),
        (["storage_options=3"], "storage_options=3: expected keys with values"),
        (["model=tinny"], "model=tinny: allowed are base_plus, large, mini, small, tiny"),
        (["model=weights/mine"], "large, mini, small, tiny; weights of your own are model.checkpoint=weights/mine"),
        (["cluster=moon"], "cluster=moon: allowed are existing, local, serial"),
        (["frames.stride=2", "frames.fps=3"], "frames.stride=2 and frames.fps=3 contradict each other"),
        (["model.device=cpu", "cluster.gpus_per_actor=1"], "contradicts model.device=cpu"),
        (["cluster.actors=2", "cluster.max_actors=4"], "cluster.actors=2 contradicts cluster.max_actors=4: give"),
        (["cluster.min_actors=5", "cluster.max_actors=4"], "cluster.min_actors=5 is more than cluster.max_actors=4"),
        (["cluster=serial", "cluster.min_actors=2"], "cluster=serial has one worker"),
        (["model.device=cuda", "cluster.gpus_per_actor=0"], "contradicts cluster.gpus_per_actor=0"),
        (["cluster=serial", "cluster.actors=2"], "cluster=serial has one worker"),
        (["cluster=existing"], "cluster.shared_disk=true if the disk is shared"),
        (["prompts=null"], "prompts= is missing"),
        (["output=null"], "output= is missing"),
        (["vidoes=s3://b/day=1/*.mp4"], "unknown key vidoes='s3://b/day=1/*.mp4': did you mean videos?"),
        (["vidoes=a,b"], "unknown key vidoes='a,b': did you mean videos?"),
        (["frames.fsp=x y=z"], "unknown key frames.fsp='x y=z': did you mean frames.fps?"),
        (["max_attempts=a=b"], "max_attempts='a=b': expected a whole number"),
        (["+videos=a=b"], "+videos=a=b cannot be read as key=value"),
        (["+frames.fps=${"], "+frames.fps=${ cannot be read as key=value"),
        (["ou tput=a"], "ou tput=a cannot be read as key=value"),
        (["worker.spool_dir=s3://b/spool"], "worker.spool_dir: s3://b/spool is no path on local disk"),
        (["stop_after=4hours"], "stop_after: '4hours' is no duration"),
        (["frames.stride=1,2"], "Ambiguous value for argument 'frames.stride=1,2'"),
        (["output=${oc.env:NO_SUCH_VARIABLE}"], "NO_SUCH_VARIABLE"),
        (["frames.fps=inf"], "frames.fps=inf: allowed is from 0.001 to 100000"),
        (["worker.hang_seconds=19"], "worker.hang_seconds=19 is less than twice worker.beat_seconds=10"),
        (["worker.beat_seconds=25"], "worker.beat_seconds=25: allowed is from 0.01 to 15"),
        (["decode.threads=65"], "decode.threads=65: allowed is from 1 to 64"),
        (["worker.videos_in_flight=0"], "worker.videos_in_flight=0: allowed is at least 1"),
    ],
)
def test_a_mistake_names_key_value_and_what_is_allowed(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        label(*overrides)
    assert said in str(caught.value)


def test_an_existing_cluster_takes_a_shared_disk_or_uris() -> None:
    assert label("cluster=existing", "cluster.shared_disk=true").cluster.shared_disk
    config = job_config("label", ["prompts=s3://b/p", "videos=gs://b/v", "output=s3://b/o", "cluster=existing"])
    assert config.cluster.kind == "existing"


def on_a_cluster(checkpoint: object, *overrides: str) -> JobConfig:
    tables = ["prompts=s3://b/p", "output=s3://b/o", "cluster=existing"]
    return job_config("label", [*tables, f"model.checkpoint={checkpoint}", *overrides])


@pytest.mark.slow
def test_an_existing_cluster_refuses_a_checkpoint_on_this_machines_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own" / "weights").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for checkpoint in (tmp_path / "own", "own/weights", f"file://{tmp_path}/own"):
        with pytest.raises(ConfigError, match=f"model.checkpoint={checkpoint} lies on this machine's disk"):
            on_a_cluster(checkpoint)
        assert on_a_cluster(checkpoint, "cluster.shared_disk=true").model.checkpoint == str(checkpoint)


@pytest.mark.parametrize("checkpoint", ["mini", "facebook/sam2.1-hiera-tiny", "s3://b/weights"])
def test_an_existing_cluster_takes_a_checkpoint_that_all_nodes_find(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    assert on_a_cluster(checkpoint).model.checkpoint == checkpoint


def test_a_job_file_has_the_keys_of_the_command_line(tmp_path: Path) -> None:
    job = tmp_path / "my job.yaml"
    job.write_text("model: tiny\ncluster: serial\nprompts: p.parquet\noutput: out\nframes:\n  stride: 6\n")
    config = job_config(str(job), ["frames.stride=3"])
    assert (config.model.name, config.cluster.kind, config.prompts) == ("tiny", "serial", "p.parquet")
    assert config.frames.stride == 3


def test_the_command_line_chooses_another_group_than_the_job_file(tmp_path: Path) -> None:
    job = tmp_path / "base.yaml"
    job.write_text("model: tiny\nprompts: p\noutput: o\n")
    assert job_config(str(job), ["model=small"]).model.checkpoint == "facebook/sam2.1-hiera-small"


def test_a_job_file_may_have_a_defaults_list_and_neighbours(tmp_path: Path) -> None:
    (tmp_path / "house.yaml").write_text("frames:\n  stride: 6\n")
    job = tmp_path / "job.yml"
    job.write_text("defaults:\n  - base\n  - house\n  - override model: large\n  - _self_\nprompts: p\noutput: o\n")
    config = job_config(str(job), [])
    assert (config.model.name, config.frames.stride) == ("large", 6)


def test_a_users_file_for_a_group_has_only_what_differs_from_the_fields(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "own.yaml").write_text("name: own\ncheckpoint: /models/own\n")
    job = tmp_path / "job.yaml"
    job.write_text("defaults:\n  - base\n  - override model: own\n  - _self_\nprompts: p\noutput: o\n")
    config = job_config(str(job), ["model.compile=true"])
    assert config.model == ModelConfig(name="own", checkpoint="/models/own", compile=True)


def test_keys_that_no_file_sets_can_be_referred_to_and_left_out(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("prompts: p\noutput: o\nframes:\n  stride: ${checkpoint.every_frames}\nworker:\n  max_strikes: 5\n")
    config = job_config(str(job), ["~flush.seconds", "~worker.max_strikes"])
    assert config.frames.stride == config.checkpoint.every_frames == 2000
    assert (config.flush.seconds, config.worker.max_strikes) == (300.0, 3)


def test_a_job_file_may_lie_at_a_uri() -> None:
    with fsspec.open("memory://jobs/remote.yaml", "wt") as file:
        file.write("prompts: s3://b/p\noutput: s3://b/o\nmodel: small\n")
    assert job_config("memory://jobs/remote.yaml", []).model.name == "small"


class FailingStore(Backoff):
    """Asks a store that always answers with one error, in place of the store that is asked for."""

    def __init__(self, error: Exception, **patience: float) -> None:
        super().__init__(**patience)
        object.__setattr__(self, "error", error)

    def run(self, what: str, call: Callable[[], Any], sleep: Callable[[float], None] = time.sleep) -> Any:
        def fail() -> None:
            raise self.error

        return super().run(what, fail, sleep)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            NoCredentialsError(),
            ExitCode.REFUSED,
            "conf=memory://***@jobs/x.yaml cannot be read: Unable to locate credentials",
        ),
        (TimeoutError("503 Slow Down"), ExitCode.ENVIRONMENT, "reading conf=memory://***@jobs/x.yaml failed"),
    ],
)
def test_a_job_file_that_a_store_does_not_give_is_one_line_without_secrets(
    error: Exception, code: ExitCode, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FailingStore(error, patience_seconds=0.05, first_seconds=0.001)
    with pytest.raises((ConfigError, StorageError)) as caught:
        job_config("memory://k:hush@jobs/x.yaml", [], store)
    assert explain(caught.value) is code
    printed = capsys.readouterr().err
    assert f"maskmill: {said}" in printed
    assert "hush" not in printed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "expected keys with values"),
        ("a: [", "is not YAML"),
        ("model: tinny\n", "model=tinny in conf="),
        ("promts: x\n", "unknown key promts='x': did you mean prompts?"),
    ],
)
def test_a_bad_job_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(text)
    with pytest.raises(ConfigError) as caught:
        job_config(str(job), TABLES)
    assert said in str(caught.value)


def test_an_unknown_job_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match="no such job; there are demo, discover, label"):
        job_config("labell", [])
    with pytest.raises(ConfigError, match=r"conf=/no/job.yaml cannot be read"):
        job_config("/no/job.yaml", [])


@pytest.mark.parametrize(
    ("words", "job"),
    [
        ([], "demo"),
        (["output=x"], "demo"),
        (["prompts=p", "output=x"], "label"),
        (["videos=v"], "label"),
        (["corrections=c", "output=x"], "label"),
        (["conf=a.yaml", "prompts=p"], "a.yaml"),
    ],
)
def test_the_job_follows_from_the_arguments(words: list[str], job: str) -> None:
    assert split_job(words)[0] == job


@pytest.mark.parametrize("words", [["conf=a", "conf=b"], ["--fast"], ["tiny"]])
def test_words_that_are_not_arguments_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("maskmill: ")


def run_command(*words: str, folder: Path = ROOT, path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    """The real command."""
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-m", "pipeline.run", *words], capture_output=True, text=True, cwd=folder, env=environment
    )


def test_keys_of_a_job_file_may_be_written_with_dots(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(
        "prompts: p\noutput: o\nmodel: tiny\nmodel.dtype: bfloat16\nframes.fps: 2\nflush: {seconds: 5}\n"
        "flush.megabytes: 3\nstorage_options.client_kwargs.endpoint_url: http://x\n"
    )
    config = job_config(str(job), ["flush.seconds=7"])
    assert (config.model.name, config.model.dtype, config.frames.fps) == ("tiny", "bfloat16", 2)
    assert (config.flush.seconds, config.flush.megabytes) == (7, 3)
    assert config.storage_options == {"client_kwargs": {"endpoint_url": "http://x"}}
    job.write_text("defaults: [base, _self_]\nprompts: p\noutput: o\nframes.stride: 3\n")
    assert job_config(str(job), []).frames.stride == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frames.fps: 2\nframes: {fps: 3}", "frames.fps is given twice, with a dot and in its group; keep one of them"),
        ("frames: 3\nframes.fps: 2", "frames=3 is no group of keys, but frames.fps needs one"),
        ("frames.fpx: 2", "unknown key frames.fpx=2: did you mean frames.fps?"),
    ],
)
def test_dots_of_a_job_file_that_contradict_are_told(tmp_path: Path, text: str, message: str) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(f"prompts: p\noutput: o\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        job_config(str(job), [])
    assert str(caught.value).endswith(message)


def test_a_config_is_shown_if_it_is_right_and_else_what_is_wrong_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("prompts: p\noutput: o\nmax_failed_fraktion: 0\n")
    assert main([f"conf={job}", "--cfg"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "maskmill: unknown key max_failed_fraktion=0: did you mean max_failed_fraction?\n"
    assert main(["conf=label", "--cfg"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, len(shown.err.splitlines()), "prompts= is missing" in shown.err) == ("", 1, True)
    assert main([f"conf={job}", "--cfg", "~max_failed_fraktion"]) == 0
    assert "max_failed_fraction: 0.5" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.py", "conf/__init__.py"])
def test_a_users_file_that_hides_our_package_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    done = run_command("conf=label", *TABLES, folder=elsewhere, path=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 2
    assert f"{tmp_path / name} hides maskmill's own package" in done.stderr


@pytest.mark.slow
def test_users_files_in_the_current_folder_hide_nothing(tmp_path: Path) -> None:
    for name in ("model.py", "conf/__init__.py", "jobs.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise ImportError('the user own module')")
    done = run_command("--cfg", "job", "model=tiny", folder=tmp_path)
    assert (done.returncode, "sam2.1-hiera-tiny" in done.stdout) == (0, True), done.stderr


def test_corrections_are_one_place_on_the_command_line_and_a_list_of_them_in_a_job_file(tmp_path: Path) -> None:
    assert job_config("label", ["output=o", "corrections=a,[b] c.parquet"]).corrections == ("a,[b] c.parquet",)
    job = tmp_path / "job.yaml"
    job.write_text("model: mini\noutput: o\nprompts: p\ncorrections: [a.parquet, b/*.parquet]\n")
    assert job_config(str(job), []).corrections == ("a.parquet", "b/*.parquet")
    assert job_config(str(job), ["corrections=null"]).corrections is None
    with pytest.raises(ConfigError, match=r"corrections=7: expected a list, as in corrections="):
        checked(JobConfig, {"model": {"name": "m", "checkpoint": "c"}, "corrections": 7})


def test_corrections_on_this_machines_disk_are_refused_for_a_cluster_of_others() -> None:
    with pytest.raises(ConfigError, match=r"corrections=/data/fix\.parquet lies on this machine's disk"):
        job_config(
            "label", ["cluster=existing", "prompts=s3://b/p", "output=s3://b/o", "corrections=/data/fix.parquet"]
        )


@pytest.mark.parametrize("key", ["videos", "prompts", "corrections", "output", "log_file"])
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("s3:/bucket/labels", "two slashes follow a scheme: write s3://"),
        ("S3://bucket/labels", "a scheme is written in small letters: s3://"),
        ("HTTPS:/host/labels", "two slashes follow a scheme: write https://"),
    ],
)
def test_a_misspelled_scheme_is_no_folder_of_this_disk(key: str, place: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        job_config("label", ["videos=v", "prompts=p", "output=o", f"{key}={place}"])
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{key}: {place}: ")


@pytest.mark.parametrize("place", ["file:/data/labels", "a:/b", "C:/labels", "my clips/s3:/x", "/s3:/x"])
def test_a_path_with_a_colon_is_a_path(place: str) -> None:
    assert job_config("label", ["videos=v", "prompts=p", f"output={place}"]).output == place


@pytest.mark.parametrize("key", ["videos", "prompts", "corrections", "output", "log_file", "after.report"])
@pytest.mark.parametrize("place", ["s3://AKIA:hush@b/x", "gs://me:hu/sh@b/x", "tar://a.mp4::az://me:hush@b/a.tar"])
def test_a_password_before_a_bucket_is_refused_and_not_printed(key: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        label(f"{key}={place}")
    assert str(caught.value).startswith(f"{key}: ")
    assert "takes no user name or password before its bucket" in str(caught.value)
    assert not any(part in str(caught.value) for part in ("hush", "hu/sh", "AKIA", "me:"))


@pytest.mark.parametrize(
    "text",
    ["videos: a\nprompts: p\nvideos: b\n", "videos: a\nprompts: p\nframes:\n  stride: 2\n  fps: 1\n  stride: 3\n"],
)
def test_a_key_that_stands_twice_in_a_job_file_is_refused(tmp_path: Path, text: str) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(text)
    told = r"job\.yaml: (videos|stride) stands twice in one place, again in line [36]; keep one of them"
    with pytest.raises(ConfigError, match=told):
        job_config(str(job), TABLES)


def test_a_job_file_that_is_not_there_is_told_so() -> None:
    with pytest.raises(
        ConfigError, match=r"^conf=/no/job\.yaml cannot be read: there is no such file; check the path$"
    ):
        job_config("/no/job.yaml", [])


def test_a_job_file_may_merge_what_it_has_named_before(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("videos: a\nprompts: p\noutput: o\nframes: &slow\n  stride: 2\nstorage_options:\n  <<: *slow\n")
    assert job_config(str(job), []).frames.stride == 2
