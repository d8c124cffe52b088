"""Ray clusters of the tests' own."""

from __future__ import annotations

from typing import Any

import ray


def start_ray(**options: Any) -> Any:
    """A cluster on this machine, to which this process is connected. A busy machine gets one more try.

    Ray gives its processes 30 seconds, and its files are in memory when it tries again.
    """
    for is_last in (False, True):
        try:
            return ray.init(**{"address": "local", "include_dashboard": False, "log_to_driver": False} | options)
        except Exception:  # Ray raises plain exceptions of several classes
            ray.shutdown()
            if is_last:
                raise
    raise AssertionError("not reached")
