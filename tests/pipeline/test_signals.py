"""Signals that ask a driver to stop, before, during and after Ray."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, time
import ray
from pipeline.signals import StopSignals

with StopSignals() as signals:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    signals.install()
    ray.shutdown()
    signals.install()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    print("requested", signals.requested)
"""


@pytest.mark.slow
def test_sigterm_is_heard_when_ray_has_gone() -> None:
    """`ray.shutdown` puts the system's handler back under Python's: without the second `install` the process dies."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "requested True" in done.stdout
