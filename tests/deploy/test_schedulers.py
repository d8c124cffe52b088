"""jobs/deploy/schedulers: what a recipe submits, and what it makes of an exit code. The schedulers are stand-ins."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from pipeline.command import ExitCode
from pipeline.config.compose import job_config
from tests.support import schedulers
from tests.support.schedulers import Failure

DEPLOY = Path(__file__).resolve().parents[2] / "jobs" / "deploy"
FILES = {"airflow_dag": schedulers.airflow, "dagster_assets": schedulers.dagster, "prefect_flow": schedulers.prefect}
DONE, AGAIN, SKIPPED, PERSON = "done", "again", "skipped", "a person"


@pytest.fixture(params=FILES)
def recipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names of a recipe, imported beside its stand-in."""
    for name, module in FILES[request.param]().items():
        monkeypatch.setitem(sys.modules, name, module)
    return runpy.run_path(str(DEPLOY / "schedulers" / f"{request.param}.py"), run_name=request.param)


def night(recipe: dict[str, Any]) -> str:
    """One night as the scheduler would take it."""
    if "labels" in recipe:
        context = SimpleNamespace(partition_key="2026-11-29")
        try:
            recipe["labels"](context, schedulers.PipesSubprocessClient())
        except Failure as failure:
            return AGAIN if failure.allow_retries else PERSON
        return DONE
    label = recipe["label"]
    try:
        told = label(run_id="scheduled__2026-11-29T02:00:00+00:00") if "dag" in recipe else label("2026-11-29")
    except Exception as error:
        kinds = {"AirflowFailException": PERSON, "PersonNeeded": PERSON, "AirflowSkipException": SKIPPED}
        return kinds.get(type(error).__name__, AGAIN)
    return SKIPPED if told == "another driver works on this job" else DONE


@pytest.fixture
def submitting(tmp_path: Path, recipe: dict[str, Any]) -> Callable[[int], list[str]]:
    """Puts a submit.py that ends with a code into a recipe's place of it; gives the words with which it was called."""

    def with_code(code: int) -> list[str]:
        script = tmp_path / "submit.py"
        words = tmp_path / "words"
        script.write_text(f"import sys\nopen({str(words)!r}, 'w').write('\\n'.join(sys.argv[1:]))\nsys.exit({code})\n")
        names = recipe["labels"].function if "labels" in recipe else recipe["label"].function
        names.__globals__["SUBMIT"] = str(script)
        recipe["found"] = night(recipe)
        return words.read_text().splitlines()

    return with_code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (ExitCode.DONE, {DONE}),
        (ExitCode.ENVIRONMENT, {AGAIN}),
        (ExitCode.REFUSED, {PERSON}),
        (ExitCode.OWNED, {SKIPPED, AGAIN}),
        (ExitCode.FAILURES, {PERSON}),
        (ExitCode.STOPPED, {AGAIN}),
        (137, {AGAIN}),
    ],
)
def test_a_recipe_acts_on_an_exit_code_as_the_page_of_production_says(
    code: int, wanted: set[str], recipe: dict[str, Any], submitting: Callable[[int], list[str]]
) -> None:
    words = submitting(code)
    assert recipe["found"] in wanted
    assert words[2] == "--name"
    assert words[3].startswith("labels-")
    assert "2026-11-29" in words[3]
    assert words[words.index("--") + 1 :] == recipe["COMMAND"]


def test_a_recipe_submits_the_nightly_job_by_the_script_of_ray_jobs(recipe: dict[str, Any]) -> None:
    assert Path(recipe["SUBMIT"]) == DEPLOY / "ray_jobs" / "submit.py"
    command = recipe["COMMAND"]
    assert command[:4] == ["python", "-m", "pipeline.run", "conf=nightly"]
    assert job_config("nightly", command[4:]).cluster.kind == "existing"
    rayjob = yaml.safe_load((DEPLOY / "kuberay" / "rayjob.yaml").read_text())
    assert set(command) <= set(rayjob["spec"]["entrypoint"].split())


def test_a_recipe_tries_again_and_never_beside_itself(recipe: dict[str, Any]) -> None:
    if "labels" in recipe:
        options = recipe["labels"].options
        assert (options["retry_policy"].max_retries, options["pool"]) == (10, "maskmill")
    elif "dag" in recipe:
        assert recipe["label"].options["retries"] == 10
    else:
        assert recipe["label"].options["retries"] == 8
        failed = SimpleNamespace(result=lambda raise_on_failure: recipe["PersonNeeded"]())
        lost = SimpleNamespace(result=lambda raise_on_failure: RuntimeError())
        is_worth_repeating = recipe["label"].options["retry_condition_fn"]
        assert (is_worth_repeating(None, None, failed), is_worth_repeating(None, None, lost)) == (False, True)
