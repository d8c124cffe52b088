"""What a key says about itself, and that help, docs/job.md, conf/ and the checks say the same."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pipeline.config.cluster_config import ClusterConfig
from pipeline.config.compose import GROUPS, composed, group_names, job_config, job_names
from pipeline.config.fields import Key, defaults, keys
from pipeline.config.job_config import JobConfig, from_hydra
from pipeline.config.mistakes import checked
from pipeline.config.worker_config import WorkerConfig
from pipeline.errors import ConfigError
from pipeline.run import help_text

ROOT = Path(__file__).resolve().parents[3]
KEYS = {key.path: key for key in keys(JobConfig)}
NUMBERS = [key for key in KEYS.values() if key.expects.startswith(("a number", "a whole number"))]
JOB = {"model": {"name": "mini", "checkpoint": "mini"}, "prompts": "p", "output": "o"}


def with_value(path: str, value: object) -> dict[str, Any]:
    """The plain values of a job in which one key has a value."""
    values = defaults(JobConfig) | JOB
    *groups, name = path.split(".")
    inner = values
    for group in groups:
        inner[group] = dict(inner.get(group) or {})
        inner = inner[group]
    inner[name] = value
    return values


def refusal(path: str, value: object) -> str:
    with pytest.raises(ConfigError) as caught:
        checked(JobConfig, with_value(path, value))
    return str(caught.value)


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.path)
def test_every_key_has_a_sentence_and_says_what_is_allowed(key: Key) -> None:
    assert re.fullmatch(r"\S.*\.", key.sentence)
    assert key.allowed


def test_every_bounded_number_names_what_it_counts_or_is_a_share() -> None:
    without_unit = {key.path for key in NUMBERS if " of " not in key.expects}
    shares = "min_predicted_iou", "min_stability", "sure_score", "min_score", "sure_detection"
    of_masks = {f"discover.{name}" for name in shares}
    of_walks = {"verify.min_doubt", "verify.share", "verify.min_predicted_iou"}
    assert without_unit == {"max_failed_fraction", "flush.elapsed_fraction", *of_masks, *of_walks}
    assert all(key.bounds for key in NUMBERS)


@pytest.mark.parametrize("key", NUMBERS, ids=lambda key: key.path)
def test_a_number_is_taken_within_its_bounds_only_and_never_as_text(key: Key) -> None:
    lowest = float(re.findall(r"[\d.]+", key.bounds)[0])
    assert refusal(key.path, int(lowest) - 1) == f"{key.path}={int(lowest) - 1}: allowed is {key.bounds}"
    for wrong, shown in (("1", "'1'"), (True, "True"), (float("nan"), "nan"), ([1], "[1]")):
        assert refusal(key.path, wrong) == f"{key.path}={shown}: expected {key.expects}"
    if key.default == "null":
        checked(JobConfig, with_value(key.path, None))
    else:
        assert refusal(key.path, None) == f"{key.path}=null: expected {key.expects}"


@pytest.mark.parametrize("key", [key for key in KEYS.values() if key.choices], ids=lambda key: key.path)
def test_a_key_with_choices_takes_each_of_them_and_nothing_else(key: Key) -> None:
    for choice in key.choices:
        checked(JobConfig, with_value(key.path, {"true": True, "false": False}.get(choice, choice)))
    assert refusal(key.path, "other") == f"{key.path}=other: allowed are {', '.join(key.choices)}"


@pytest.mark.parametrize("key", [key for key in KEYS.values() if "true" in key.choices], ids=lambda key: key.path)
def test_a_number_is_no_choice_of_true_or_false_which_are_equal_to_one_in_python(key: Key) -> None:
    for wrong in (1, 0, 1.0):
        assert refusal(key.path, wrong) == f"{key.path}={wrong}: allowed are {', '.join(key.choices)}"


def test_help_lists_every_key_with_its_default_its_values_and_its_sentence() -> None:
    said = " ".join(help_text().split())
    for key in KEYS.values():
        assert f"{key.path}={key.default} {key.allowed} {' '.join(key.sentence.split())}" in said


def test_the_page_of_jobs_names_keys_that_there_are_with_all_their_choices() -> None:
    text = (ROOT / "docs/job.md").read_text(encoding="utf-8").partition("## Keys")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (`.+`) \| (.+) \|$", text, flags=re.MULTILINE))
    named = {
        name: set(re.findall(r"`([^`]+)`", row)) for key, row in rows.items() for name in re.findall(r"`(.+?)`", key)
    }
    choices = {group: set(group_names(group)) for group in GROUPS} | {"conf": set(job_names())}
    for name, values in named.items():
        assert choices[name] <= values if name in choices else set(KEYS[name].choices) <= values, name
        assert {value for value in values if re.fullmatch(r"[a-z]+\.[a-z_]+", value)} <= set(KEYS)
    assert {"conf", "model", "cluster", "output", "retry", "frames.stride"} <= set(named)


def test_the_composed_config_has_every_key_with_the_default_of_its_field() -> None:
    config = composed("label", ["model=tiny", "prompts=p", "output=o"])
    assert from_hydra(config) == JobConfig(
        model={"name": "tiny", "checkpoint": "facebook/sam2.1-hiera-tiny"}, prompts="p", output="o"
    )
    assert set(config) == set(JobConfig.model_fields)
    assert set(config.model) == set(JobConfig.model_fields["model"].annotation.model_fields)


@pytest.mark.parametrize("path", [p for group in GROUPS for p in (ROOT / "conf" / group).glob("*.yaml")], ids=str)
def test_a_file_of_conf_has_only_what_differs_from_the_fields(path: Path) -> None:
    group = path.parent.name
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = {key.path.partition(".")[2]: key for key in KEYS.values() if key.path.startswith(f"{group}.")}
    repeated = {name for name, value in values.items() if known[name].default == str(value)}
    assert repeated <= {"kind"}  # conf/cluster/local.yaml says what it is


def test_one_name_does_for_a_list_of_one() -> None:
    assert checked(JobConfig, with_value("retry", "failed")).retry == ("failed",)
    assert checked(JobConfig, with_value("retry", ["failed", "quarantined"])).retry == ("failed", "quarantined")


def test_a_config_is_frozen_and_travels_to_actors() -> None:
    config = job_config("label", ["prompts=p", "output=o", "storage_options.secret=hush", "retry=failed"])
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.frames.stride = 3


def test_a_group_checks_itself_where_it_is_made() -> None:
    with pytest.raises(ValidationError, match=r"worker\.hang_seconds=1 is less than twice worker\.beat_seconds=10"):
        WorkerConfig(hang_seconds=1)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ClusterConfig(actor=1)  # type: ignore[call-arg]


def test_a_mistake_quotes_no_secret_of_other_keys() -> None:
    values = with_value("frames.stride", 0) | {"storage_options": {"secret": "hush"}}
    with pytest.raises(ConfigError) as caught:
        checked(JobConfig, values)
    assert "hush" not in str(caught.value)
    assert caught.value.__context__ is None
