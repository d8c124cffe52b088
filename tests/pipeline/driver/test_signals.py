"""Signals that ask a driver to stop. After Ray: `tests/pipeline/cluster/test_ray_cluster_start.py`."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from pipeline.driver.signals import StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_says_that_work_is_saved_and_the_second_that_it_is_not(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), number)
        assert signals.requested
        assert (
            "stopping: work in flight is finished or saved; a second Ctrl-C (or SIGTERM) ends at once"
            in capfd.readouterr().err
        )
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert "ending at once" in capfd.readouterr().err


def test_a_signal_does_not_wait_for_a_reader_of_the_standard_error() -> None:
    reader, writer = os.pipe()
    before = os.dup(2)
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    os.dup2(writer, 2)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.requested
    finally:
        os.dup2(before, 2)
        for descriptor in (reader, writer, before):
            os.close(descriptor)
