"""The worker inside its actor's process.

Ray sends this class by value and our own objects as bytes, because Ray puts the driver's current folder in front of
`sys.path` in each worker process. A `model.py` in that folder would be imported in place of our package. The actor
takes that folder off before it imports anything of ours, so this module imports nothing of ours either.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import ray
from ray import cloudpickle

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]


class ActorWorker:
    """A worker. `made` is its factory, pickled; modules in `foreign_folders` are not imported in its process."""

    def __init__(self, made: bytes, worker_id: str, foreign_folders: Sequence[str]) -> None:
        self._name = f"maskmill-{worker_id}"
        sys.path[:] = [folder for folder in sys.path if folder not in foreign_folders]
        if not ray.get_runtime_context().get_accelerator_ids().get("GPU"):
            # Ray hides GPUs from an actor with a share of them, and not from one without any (since 2.60). Those would
            # all choose the first GPU of their node, which is somebody else's.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        from pipeline.command import log_to_terminal

        log_to_terminal(logging.WARNING, "%(message)s")  # Ray hands it on to the driver's terminal
        self._worker = cloudpickle.loads(made)(worker_id)

    def __repr__(self) -> str:
        return self._name  # stands before each line that Ray hands on of this process

    def is_placed(self) -> str:
        """On which node the process runs: a call of this ends when it does."""
        return str(ray.get_runtime_context().get_node_id())

    def setup(self) -> tuple[str, str]:
        """Load the model. Returns the device, and on which node that is. From then on SIGTERM drains the worker."""
        device = self._worker.setup()
        signal.signal(signal.SIGTERM, lambda *_: self._worker.stop())  # Ray has put its own there before
        return device, ray.get_runtime_context().get_node_id()

    def work(self, offers: Sequence[Any]) -> Any:
        """See `LabelingWorker.work`."""
        return self._worker.work(offers)

    def drain(self) -> Any:
        """See `LabelingWorker.drain`."""
        return self._worker.drain()

    def close(self) -> None:
        """Delete what the worker holds on local disk."""
        self._worker.close()
