"""Ray on a machine where its user has no home to write to, as in containers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cluster.ray_token import token_of_a_local_ray

_SETTINGS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")
A_LOCAL_RAY = """
import ray
from pipeline.cluster.ray_cluster import start_local

start_local(1)

@ray.remote
class Worker:
    def answer(self):
        return 42

print("an actor says", ray.get(Worker.remote().answer.remote()))
"""


@pytest.fixture(autouse=True)
def _nothing_is_said_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.slow
def test_ray_starts_where_its_user_has_no_home() -> None:
    environment = os.environ | {"HOME": "/dev/null"}  # nothing can be made below it, not even by root
    ended = subprocess.run(
        [sys.executable, "-c", A_LOCAL_RAY], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert "an actor says 42" in ended.stdout, ended.stderr


def test_ray_gets_a_token_where_it_cannot_keep_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    with token_of_a_local_ray():
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_ray_keeps_its_own_token_in_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with token_of_a_local_ray():
        assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize("name", _SETTINGS)
def test_what_the_environment_says_of_tokens_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv(name, "as it is")
    with token_of_a_local_ray():
        assert {other: os.environ.get(other) for other in _SETTINGS} == {
            other: "as it is" if other == name else None for other in _SETTINGS
        }
