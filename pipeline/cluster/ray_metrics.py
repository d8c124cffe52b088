"""A job's counts as Ray's metrics, which Prometheus reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.util.metrics import Gauge

PREFIX = "maskmill_"
"""Ray puts `ray_` before it, so that Prometheus sees `ray_maskmill_videos`."""


@dataclass(frozen=True)
class GaugeOf:
    """A gauge: the field of `_status.json` that it shows, and the tag that tells the entries of a mapping apart."""

    field: str
    description: str
    tag: str = ""


GAUGES: Mapping[str, GaugeOf] = {
    "videos": GaugeOf("num_ended", "Videos that ended in this run, by status", "status"),
    "failures": GaugeOf("failures", "Failed videos of this run, by class of error", "error_class"),
    "stage_seconds": GaugeOf("stage_seconds", "Seconds spent by all workers, by stage", "stage"),
    "worker_seconds": GaugeOf("worker_seconds", "Seconds for which workers of this run had their model loaded"),
    "planned": GaugeOf("num_planned", "Videos in the tables of this run"),
    "before": GaugeOf("num_before_this_run", "Videos that were finished when the run began"),
    "queue": GaugeOf("num_waiting", "Videos that are planned and have not ended"),
    "frames": GaugeOf("num_frames", "Frames labeled in this run"),
    "masks": GaugeOf("num_masks", "Masks labeled and committed in this run"),
    "objects_failed": GaugeOf("num_objects_failed", "Objects that failed in ok videos of this run"),
    "objects_warned": GaugeOf("num_objects_warned", "Objects that have a warning in ok videos of this run"),
    "workers": GaugeOf("num_workers", "Workers that have loaded their model"),
    "workers_starting": GaugeOf("num_workers_starting", "Workers that are asked for and have not loaded it yet"),
    "gpus": GaugeOf("num_gpus", "GPUs that the workers hold"),
    "nodes_left_alone": GaugeOf("num_nodes_left_alone", "Nodes where workers failed before their first frame"),
    "frames_per_second": GaugeOf("frames_per_second", "Frames per second over the last two minutes"),
}
"""All gauges by name, without the prefix. Each has the tag `output`, the place of the job.

It is not named `job`, because Prometheus has a label of this name itself and would rename the tag to `exported_job`.
"""


class RayMetrics:
    """Gauges that Ray exports on the metrics port of each node."""

    def __init__(self, output: str) -> None:
        self._gauges = {name: self._made(name, gauge, output) for name, gauge in GAUGES.items()}

    @staticmethod
    def _made(name: str, gauge: GaugeOf, output: str) -> Gauge:
        tags = ("output", gauge.tag) if gauge.tag else ("output",)
        made = Gauge(PREFIX + name, description=gauge.description, tag_keys=tags)
        made.set_default_tags({"output": output})
        return made

    def show(self, status: Mapping[str, Any]) -> None:
        """Set the gauges to what `_status.json` says; what it does not say stays as it is."""
        for name, gauge in GAUGES.items():
            value = status.get(gauge.field)
            if gauge.tag:
                for entry, number in (value or {}).items():
                    self._gauges[name].set(number, {gauge.tag: entry})
            elif value is not None:
                self._gauges[name].set(value)
