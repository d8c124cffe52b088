"""Job files: what stands in them means what it means on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.compose import job_config, split_job
from pipeline.config.job_config import JobConfig
from pipeline.errors import ConfigError

PLACES = ["videos=v", "prompts=p.parquet", "output=o/{date}"]


def config_of(folder: Path, text: str) -> JobConfig:
    (folder / "job.yaml").write_text(text)
    return job_config(str(folder / "job.yaml"), PLACES)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("date: 2026-11-29", "date", "2026-11-29"),
        ("columns.video_id: 2026-11-29", "columns.video_id", "2026-11-29"),
        (
            "storage_options: {key: 0123, port: 80, share: .5}",
            "storage_options",
            {"key": "0123", "port": 80, "share": 0.5},
        ),
        ("frames: {fps: 29.97}", "frames.fps", 29.97),
        ("frames.stride: 1_0", "frames.stride", 10),
        ("prune: yes", "prune", True),
        ("stop_after: 90", "stop_after", 90.0),
        ("retry: [failed]", "retry", ("failed",)),
        ("frames: &slow {fps: 2}\nflush: {<<: {seconds: 3}, seconds: 4}", "flush.seconds", 4.0),
    ],
)
def test_a_value_means_what_it_means_on_the_command_line(tmp_path: Path, text: str, key: str, value: Any) -> None:
    found: Any = config_of(tmp_path, text)
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_what_yaml_would_take_otherwise_than_it_was_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'1:30' is no duration: give one as 4h"):
        config_of(tmp_path, "stop_after: 1:30")


@pytest.mark.parametrize("revision", ["1234567", "12e4567", "0123456"])
def test_a_commit_of_digits_is_taken_letter_by_letter(revision: str) -> None:
    config = job_config("label", [*PLACES, f"model.revision={revision}", "date=20261129"])
    assert (config.model.revision, config.date) == (revision, "20261129")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("frames=null", "frames=null: frames is a group of keys, as frames.stride; give one of them"),
        ("storage_options=null", "storage_options=null: expected keys with values, as in storage_options.key=value"),
        ("retry=null", "retry=null: expected a list, as in retry=[a,b]"),
        ("keep_columns=7", "keep_columns=7: expected a list, as in keep_columns=[a,b]"),
        (
            "keep_columns=[a,7]",
            "keep_columns=[…]: 7 in the list is no text; put it in quotes, as in 'keep_columns=[\"7\"]'",
        ),
    ],
)
def test_a_mistake_in_a_list_or_a_group_is_shown_as_it_was_typed(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        job_config("label", [*PLACES, word])
    assert str(caught.value) == message
    assert job_config("label", [*PLACES, 'keep_columns=["7"]']).keep_columns == ("7",)


def test_boxes_of_a_detector_are_no_demo(tmp_path: Path) -> None:
    job, words = split_job(["detections=boxes.jsonl", f"output={tmp_path}"])
    with pytest.raises(ConfigError, match=r"detections= is for conf=discover, .*: give conf=discover"):
        job_config(job, words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defaults: base", "defaults: expected a list, as in defaults: [base, _self_]; or leave it out"),
        ("defaults:", "defaults: expected a list, as in defaults: [base, _self_]; or leave it out"),
        ("defaults: [5]", "Unsupported type in defaults : int"),
        ("defaults: [job, _self_]", "the job file names itself, in its defaults list or by an alias of YAML"),
        ("defaults: [_self_, base]\nframes.stride: 7", "would take the place of what this file says: put _self_ last"),
        ("&a\nframes: *a", "an alias names what it stands in, so that the file has no end"),
        ("no: x", "the key no in line 1 is no text; put it in quotes"),
        ("frames:\n  1: 2", "the key 1 in line 2 is no text; put it in quotes"),
        ("? \n: 3", "the key without a name in line 1 is no text; put it in quotes"),
        ("frames:\n  - fps: 2", "frames is a list, expected keys with values: leave out the dashes"),
        ("after: {export: [coco]}", "after.export=[…]: 'coco' in the list: expected keys with values"),
        ("log_file: ${oc.env:HOME", "log_file: missing BRACE_CLOSE"),
    ],
)
def test_a_job_file_of_another_form_is_refused_in_one_line_that_names_the_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("log_file: ${HOME}/log", r"log_file: .*'HOME' not found; \$\{oc\.env:HOME\} is what the environment says"),
        ("after.hooks: ['echo ${X}']", r"after\.hooks\[0\]: .*'X' not found; .*, and \\\$\{X\} is left as it is"),
        ("time_zone: ${env:TZ}", r"time_zone: .*Unsupported interpolation type env; \$\{oc\.env:NAME\} is what"),
    ],
)
def test_an_interpolation_that_leads_to_nothing_names_its_key_and_the_way_out(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(tmp_path, text)


def test_the_ways_out_of_an_interpolation_that_leads_to_nothing_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTS", "/nights")
    config = config_of(tmp_path, "log_file: ${oc.env:NIGHTS}/log\nafter.hooks: ['echo \\${X}']")
    assert (config.log_file, config.after.hooks) == ("/nights/log", ("echo ${X}",))


def test_a_key_that_a_job_file_asks_for_has_to_be_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stop_after= is missing: conf=.*job\.yaml asks for it by \?\?\?"):
        config_of(tmp_path, "stop_after: ???")
    (tmp_path / "job.yaml").write_text("stop_after: ???\nvideos: ???")
    config = job_config(str(tmp_path / "job.yaml"), [*PLACES, "+stop_after=5"])
    assert (config.stop_after, config.videos) == (5.0, "v")


def test_a_name_with_dots_in_a_group_of_a_job_file_is_the_key_of_the_command_line(tmp_path: Path) -> None:
    """A store ignores an option that it does not know, and would look for its bucket elsewhere."""
    config = config_of(tmp_path, "storage_options:\n  client_kwargs.endpoint_url: http://x\n  anon: true")
    assert config.storage_options == {"client_kwargs": {"endpoint_url": "http://x"}, "anon": True}


def test_one_export_needs_no_list(tmp_path: Path) -> None:
    export = ({"format": "coco", "to": "x"},)
    assert config_of(tmp_path, "after: {export: {format: coco, to: x}}").after.export == export
    assert config_of(tmp_path, "after.export: {format: coco, to: x}").after.export == export
    assert job_config("label", [*PLACES, "after.export={format: coco, to: x}"]).after.export == export


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hydra=1", "unknown key hydra=1: no key of Hydra itself changes a run, leave it out"),
        ("~frames.fps", "~frames.fps: nothing gives this key a value, so that none can be taken away: leave it out"),
        ("~frame.fps", "~frame.fps: there is no such key; --help shows all keys"),
        ("+model=tinny", "model=tinny: allowed are base_plus, large, mini, small, tiny"),
    ],
)
def test_words_of_hydra_that_lead_to_nothing_are_told(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        job_config("label", [*PLACES, word])
    assert str(caught.value) == message


@pytest.mark.parametrize("word", ["+model=tiny", "++model=tiny"])
def test_a_plus_before_a_group_chooses_its_file(word: str) -> None:
    assert job_config("label", [*PLACES, word]).model.checkpoint == "facebook/sam2.1-hiera-tiny"


def test_a_networks_name_alone_does_not_label_with_the_weights_of_another_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.name=tiny is a name for people, .* of mini .*: give model=tiny"):
        config_of(tmp_path, "model: {name: tiny}")
    both = config_of(tmp_path, "model: {name: tiny, checkpoint: facebook/sam2.1-hiera-tiny}")
    assert both.model.checkpoint == "facebook/sam2.1-hiera-tiny"
    own = job_config("label", [*PLACES, "model=base_plus", "model.checkpoint=facebook/sam2-hiera-base-plus"])
    assert own.model.name == "base_plus"


def test_an_empty_correction_is_not_the_current_folder() -> None:
    with pytest.raises(ConfigError, match="corrections= names an empty path"):
        job_config("label", [*PLACES, "corrections="])


@pytest.mark.parametrize("place", ["$HOME/labels", "s3://$BUCKET/labels", "/data/$USER/labels"])
def test_a_variable_that_no_shell_has_replaced_names_no_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "job.yaml").write_text(f"output: {place}\n")
    with pytest.raises(ConfigError, match=r"no shell has replaced \$[A-Z]+: write \$\{oc\.env:[A-Z]+\} in a job file"):
        job_config(str(tmp_path / "job.yaml"), ["prompts=p"])


def test_a_dollar_within_a_name_is_a_part_of_it() -> None:
    assert job_config("label", ["prompts=p", "output=/data/c$/a$b/$x.y"]).output == "/data/c$/a$b/$x.y"


@pytest.mark.parametrize("word", ["stop_after=2h", "notify=x", "after.hooks=x"])
@pytest.mark.parametrize("job", ["verify", "demo"])
def test_what_a_verification_and_the_demo_would_not_hear_is_refused(job: str, word: str) -> None:
    with pytest.raises(ConfigError, match=rf"{word.partition('.')[0].partition('=')[0]}.* is not for conf={job}"):
        job_config(job, ["output=o", word])


@pytest.mark.parametrize("gpus", ["1.5", "0.00001", "inf"])
def test_a_share_of_gpus_that_ray_does_not_give_is_refused(gpus: str) -> None:
    with pytest.raises(ConfigError, match=r"give a share of one GPU as 0\.25, or whole GPUs"):
        job_config("label", [*PLACES, f"cluster.gpus_per_actor={gpus}"])


@pytest.mark.parametrize("gpus", [0, 0.3333, 0.5, 1, 2])
def test_shares_of_gpus_that_ray_gives_are_taken(gpus: float) -> None:
    assert job_config("label", [*PLACES, f"cluster.gpus_per_actor={gpus}"]).cluster.gpus_per_actor == gpus
