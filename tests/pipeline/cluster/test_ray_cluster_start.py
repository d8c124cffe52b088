"""Ray on a machine on which it does not start in time."""

from __future__ import annotations

import pytest

from pipeline.cluster.ray_cluster import start_local
from pipeline.errors import ClusterDown

TIMED_OUT = "The current node timed out during startup. This could happen because the GCS has become overloaded."


class BusyMachine:
    """Ray, as it is where the first `num_failures` starts take too long."""

    def __init__(self, num_failures: int, error: Exception) -> None:
        self.num_failures, self.error = num_failures, error
        self.asked_for: list[object] = []

    def start(self, **options: object) -> None:
        self.asked_for.append(options["num_cpus"])
        if len(self.asked_for) <= self.num_failures:
            raise self.error


@pytest.mark.parametrize("error", [Exception(TIMED_OUT), TimeoutError("no port"), RuntimeError("no node info")])
def test_ray_gets_one_more_try(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    machine = BusyMachine(1, error)
    start_local(3, machine.start)
    assert machine.asked_for == [3, 3]
    assert "one more try" in caplog.text


def test_after_two_tries_one_sentence_names_the_way_out() -> None:
    machine = BusyMachine(9, Exception(TIMED_OUT))
    with pytest.raises(ClusterDown, match=r"two tries \(.*timed out during startup.*cluster=serial"):
        start_local(None, machine.start)
    assert len(machine.asked_for) == 2


def test_a_mistake_of_ours_is_not_tried_again() -> None:
    machine = BusyMachine(9, TypeError("no such option"))
    with pytest.raises(TypeError):
        start_local(None, machine.start)
    assert len(machine.asked_for) == 1
