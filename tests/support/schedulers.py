"""Stand-ins for Airflow, Dagster and Prefect, as far as our recipes call them: they call the function and keep options.

The real ones take half a gigabyte; docs/deploy.md says that the recipes were run with them by hand.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any


@dataclass
class Decorated:
    """A function with the options of its decorator."""

    function: Callable[..., Any]
    options: dict[str, Any]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.function(*arguments, **named)


def decorator(*bare: Callable[..., Any], **options: Any) -> Any:
    """`@task` and `@task(retries=3)`."""
    return Decorated(bare[0], {}) if bare else lambda function: Decorated(function, options)


class Failure(Exception):
    """As Dagster's: whether the step is tried again is said by it."""

    def __init__(self, description: str, allow_retries: bool) -> None:
        super().__init__(description)
        self.allow_retries = allow_retries


class PipesSubprocessClient:
    """Runs a command, and raises what Dagster raises where it fails."""

    def run(self, *, context: object, command: list[str]) -> None:
        code = subprocess.run(command, check=False).returncode
        if code:
            raise RuntimeError(f"External execution process failed with code {code}")


def _module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made


def _kept(**options: Any) -> SimpleNamespace:
    return SimpleNamespace(**options)


def airflow() -> dict[str, ModuleType]:
    """Airflow's modules by name. A DAG is not run when it is called, its tasks are."""
    exceptions = {name: type(name, (Exception,), {}) for name in ("AirflowFailException", "AirflowSkipException")}
    dag = lambda **options: lambda function: lambda: Decorated(function, options)  # noqa: E731
    return {
        "airflow": _module("airflow"),
        "airflow.sdk": _module("airflow.sdk", dag=dag, task=decorator),
        "airflow.sdk.exceptions": _module("airflow.sdk.exceptions", **exceptions),
    }


def dagster() -> dict[str, ModuleType]:
    """Dagster's module."""
    names = ("DailyPartitionsDefinition", "RetryPolicy", "MaterializeResult", "Definitions")
    made = _module(
        "dagster",
        **dict.fromkeys(names, _kept),
        Backoff=SimpleNamespace(EXPONENTIAL="exponential"),
        AssetExecutionContext=object,
        PipesSubprocessClient=PipesSubprocessClient,
        Failure=Failure,
        asset=decorator,
        define_asset_job=lambda name, **options: _kept(name=name, **options),
        build_schedule_from_partitioned_job=lambda job, **options: _kept(job=job, **options),
    )
    return {"dagster": made}


def prefect() -> dict[str, ModuleType]:
    """Prefect's modules by name."""
    return {
        "prefect": _module("prefect", flow=decorator, task=decorator),
        "prefect.runtime": _module("prefect.runtime", flow_run=SimpleNamespace(scheduled_start_time=None)),
        "prefect.tasks": _module("prefect.tasks", exponential_backoff=lambda backoff_factor: backoff_factor),
    }
