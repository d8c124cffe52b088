"""A job's counts as Ray's metrics, which Prometheus reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Gauge


class RayMetrics:
    """Gauges that Ray exports on the metrics port of each node. Each has the tag `job`, the place of the output."""

    def __init__(self, job: str) -> None:
        def gauge(name: str, description: str, *tags: str) -> Any:
            made = Gauge(f"maskmill_{name}", description=description, tag_keys=("job", *tags))
            made.set_default_tags({"job": job})
            return made

        self._videos = gauge("videos", "Videos that ended in this run, by status", "status")
        self._failures = gauge("failures", "Failed videos of this run, by class of error", "error_class")
        self._seconds = gauge("stage_seconds", "Seconds spent by all workers, by stage", "stage")
        self._plain = {
            "num_frames": gauge("frames", "Frames labeled in this run"),
            "num_objects_failed": gauge("objects_failed", "Objects that failed in ok videos of this run"),
            "num_objects_warned": gauge("objects_warned", "Objects that have a warning in ok videos of this run"),
            "num_masks": gauge("masks", "Masks committed in this run"),
            "num_waiting": gauge("queue", "Videos that are planned and have not ended"),
            "num_workers": gauge("workers", "Workers that have loaded their model"),
            "num_workers_starting": gauge("workers_starting", "Workers that are asked for and have not loaded it yet"),
            "num_gpus": gauge("gpus", "GPUs that the workers hold"),
            "num_nodes_left_alone": gauge("nodes_left_alone", "Nodes where workers failed before their first frame"),
            "frames_per_second": gauge("frames_per_second", "Frames per second over the last two minutes"),
        }

    def show(self, status: Mapping[str, Any]) -> None:
        """Set the gauges to what `_status.json` says."""
        for name, count in status["num_ended"].items():
            self._videos.set(count, {"status": name})
        for name, count in status["failures"].items():
            self._failures.set(count, {"error_class": name})
        for name, seconds in status["stage_seconds"].items():
            self._seconds.set(seconds, {"stage": name})
        for name, gauge in self._plain.items():
            if name in status:
                gauge.set(status[name])
