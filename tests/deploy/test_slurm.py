"""jobs/deploy/slurm/label.sbatch: with stand-ins for Slurm's commands, and once with a real job."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.command import ExitCode
from tests.support.jobs import JobFolder
from tests.support.waiting import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "jobs" / "deploy" / "slurm" / "label.sbatch"

SRUN = """while [ "${1#--}" != "$1" ]; do echo "srun $1" >> "$CALLS"; shift; done
exec "$@"
"""
SCONTROL = """case "$1" in
  show) echo node-1; echo node-2 ;;
  *) echo "scontrol $*" >> "$CALLS" ;;
esac
"""
RAY = """echo "ray $1 $2 $3 $4 $5" >> "$CALLS"
echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN" >> "$CALLS.tokens"
shift 6
exec "$@"
"""
RAY_THAT_DOES_NOT_START = """echo "Failed to start Ray" >&2
"""
"""As `ray symmetric-run` of Ray 2.60 ends where `ray start` fails: with 0, and without the command."""


@dataclass(frozen=True)
class Slurm:
    """Its commands as scripts in a folder; `calls` are those that were made, and the job has the number 77."""

    folder: Path

    def script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/bash\n{text}")
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def start(self, *words: str, restarts: int = 0) -> subprocess.Popen[str]:
        environment = {
            "PATH": f"{self.folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CALLS": str(self.folder / "calls"),
            "TMPDIR": str(self.folder),
            "SLURM_JOB_ID": "77",
            "SLURM_JOB_NODELIST": "node-[1-2]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_RESTART_COUNT": str(restarts),
        }
        return subprocess.Popen(
            ["bash", SCRIPT, *words],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=SCRIPT.parents[3],
        )

    def run(self, *words: str, restarts: int = 0) -> tuple[int, str]:
        """Exit code and output of the batch script."""
        process = self.start(*words, restarts=restarts)
        printed, _ = process.communicate(timeout=200)
        return process.returncode, printed


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    (tmp_path / "slurm").mkdir()
    made = Slurm(tmp_path / "slurm")
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "ray": RAY}.items():
        made.script(name, text)
    return made


@pytest.fixture
def ends(slurm: Slurm) -> Callable[[int, int], None]:
    """A driver that ends with the first code, and a status that ends with the second."""

    def of(driver: int, status: int) -> None:
        slurm.script(
            "python", f'echo "python $*" >> "$CALLS"\ncase "$2" in *run) exit {driver};; *) exit {status};; esac'
        )

    return of


@pytest.mark.slow
def test_shellcheck_finds_nothing_and_finds_a_planted_mistake(tmp_path: Path) -> None:
    shellcheck = Path(sysconfig.get_path("scripts"), "shellcheck")
    planted = tmp_path / "planted.sbatch"
    planted.write_text(SCRIPT.read_text().replace('rm -rf "$MASKMILL_RUN"', "rm -rf $MASKMILL_RUN"))
    assert planted.read_text() != SCRIPT.read_text()
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert subprocess.run([shellcheck, planted], capture_output=True, timeout=200, check=False).returncode == 1


REQUEUED = "scontrol requeue 77"


@pytest.mark.parametrize(
    ("driver", "status", "code", "again"),
    [
        (0, 0, 0, False),
        (ExitCode.REFUSED, 0, ExitCode.REFUSED, False),
        (ExitCode.OWNED, 0, ExitCode.OWNED, False),
        (ExitCode.FAILURES, 0, ExitCode.FAILURES, False),
        (ExitCode.ENVIRONMENT, 0, ExitCode.ENVIRONMENT, True),
        (ExitCode.STOPPED, 0, ExitCode.STOPPED, True),
        (137, 0, 137, True),
        (0, ExitCode.ENVIRONMENT, ExitCode.ENVIRONMENT, True),
    ],
)
def test_the_code_of_the_driver_decides_and_the_state_of_the_job_has_the_last_word(
    driver: int, status: int, code: int, again: bool, slurm: Slurm, ends: Callable[[int, int], None]
) -> None:
    ends(driver, status)
    assert slurm.run("conf=label", "output=s3://b/labels")[0] == code
    assert (REQUEUED in slurm.calls) == again
    (run,) = (call for call in slurm.calls if "pipeline.run" in call)
    assert run.endswith("cluster=existing cluster.shared_disk=true conf=label output=s3://b/labels")
    assert "ray symmetric-run --address node-1:6379 --min-nodes 2" in slurm.calls


def test_each_run_has_a_token_of_its_own_that_all_nodes_get(slurm: Slurm, ends: Callable[[int, int], None]) -> None:
    """Without one, everybody who reaches a port of Ray can run code, and Slurm's nodes are many people's."""
    ends(0, 0)
    for _ in range(2):
        slurm.run("output=s3://b/labels")
    tokens = (slurm.folder / "calls.tokens").read_text().splitlines()
    assert len(set(tokens)) == 2
    assert all(re.fullmatch(r"token [0-9a-f]{64}", token) for token in tokens)


def test_where_ray_does_not_start_it_is_tried_again_though_the_last_night_was_done(
    slurm: Slurm, ends: Callable[[int, int], None]
) -> None:
    ends(0, 0)
    slurm.script("ray", RAY_THAT_DOES_NOT_START)
    code, printed = slurm.run("output=s3://b/labels")
    assert code == ExitCode.ENVIRONMENT
    assert "Ray did not start" in printed
    assert REQUEUED in slurm.calls


def test_after_twenty_restarts_it_stays_down(slurm: Slurm, ends: Callable[[int, int], None]) -> None:
    ends(ExitCode.ENVIRONMENT, 0)
    assert slurm.run("output=s3://b/labels", restarts=20)[0] == ExitCode.ENVIRONMENT
    assert REQUEUED not in slurm.calls


@pytest.mark.parametrize(("restarts", "again"), [(0, True), (1, True), (2, False)])
def test_a_step_after_the_run_that_keeps_failing_does_not_hold_the_nodes_twenty_times(
    restarts: int, again: bool, slurm: Slurm, ends: Callable[[int, int], None]
) -> None:
    ends(ExitCode.AFTER, 0)
    assert slurm.run("output=s3://b/labels", restarts=restarts)[0] == ExitCode.AFTER
    assert (REQUEUED in slurm.calls) == again


def test_without_an_output_it_starts_nothing(slurm: Slurm) -> None:
    code, printed = slurm.run("conf=label")
    assert code == ExitCode.REFUSED
    assert "give output=" in printed
    assert slurm.calls == []


def test_the_signal_of_slurm_reaches_the_driver_alone(slurm: Slurm) -> None:
    driver = (
        'trap "echo stopped by TERM >> $CALLS; exit 143" TERM\necho driving >> "$CALLS"\nwhile :; do sleep 0.05; done'
    )
    slurm.script("python", driver)
    slurm.script("ray", 'trap "echo ray was hit >> $CALLS" TERM\nshift 6\n"$@"')
    process = slurm.start("output=s3://b/labels")
    wait_until(lambda: "driving" in slurm.calls, "the driver")
    wait_until(lambda: any(path.read_text() for path in slurm.folder.glob("maskmill-77-*/pid")), "its process id")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=200)
    assert process.returncode == ExitCode.STOPPED
    assert [call for call in slurm.calls if call in ("stopped by TERM", "ray was hit", REQUEUED)] == [
        "stopped by TERM",
        REQUEUED,
    ]


@pytest.mark.slow
def test_a_real_job_runs_and_its_state_is_asked(slurm: Slurm, tmp_path: Path, small_checkpoint: Path) -> None:
    job = JobFolder(tmp_path, small_checkpoint).write(["a"])
    code, printed = slurm.run(*job.arguments("cluster=serial"))
    assert code == 0, printed
    assert "finished" in printed
    assert job.tables().statuses == {"a": "ok"}
