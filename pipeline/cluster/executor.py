"""Where workers run: in this process or as Ray actors, with one contract.

A worker has at most one call outstanding (`setup`, `work` or `drain`), and `wait` says how calls ended. An executor
decides what kind of failure a loss was. The driver decides what follows from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import StorageError, describe
from pipeline.records import Report, WorkItem
from pipeline.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from pipeline.worker.worker import Worker

_log = logging.getLogger(__name__)


class Failure(Enum):
    """Why a worker is gone."""

    AMBIGUOUS = "the worker died"
    HANG = "the worker did not report before its deadline"
    TOGETHER = "several workers of a node died at once"
    INFRASTRUCTURE = "the node was lost"
    ENVIRONMENT = "the worker could not start"
    STORAGE = "the store or Hub of the weights did not answer the worker"
    STOPPED = "the worker was asked to stop"
    SHUT_OUT = "the store of the output refused the worker"


@dataclass(frozen=True)
class Ready:
    """A worker has loaded the model. `device` says on what it runs, in words, and `node` on which machine that is."""

    worker_id: str
    device: str
    node: str = ""


@dataclass(frozen=True)
class Reported:
    """A call of `work` or `drain` came back."""

    worker_id: str
    report: Report


@dataclass(frozen=True)
class Lost:
    """A worker is gone, with everything that it had not published. `node` groups those that were on one machine."""

    worker_id: str
    failure: Failure
    message: str
    node: str = ""


Event = Ready | Reported | Lost


class LabelingWorker(Protocol):
    """What an executor drives: `pipeline.worker.worker.Worker`, or a fake in tests."""

    def setup(self) -> str:
        """Load the model. Returns on what it runs, in words."""

    def work(self, offers: Sequence[WorkItem]) -> Report:
        """Take these items, go on with all videos for a while, and say what is done."""

    def drain(self) -> Report:
        """Publish what is finished, save the rest where possible, and give all items back."""

    def stop(self) -> None:
        """Have the call that runs return soon. This may be called at any moment, also from a signal handler."""

    def close(self) -> None:
        """Free everything that the worker holds."""


WorkerFactory = Callable[[str], LabelingWorker]


class Executor(Protocol):
    """Starts, drives and ends workers."""

    @property
    def capacity(self) -> int:
        """How many workers can run at a time. This changes when nodes come and go."""

    @property
    def gpus_per_worker(self) -> float:
        """GPUs, or the share of one, that each worker holds."""

    def start(self) -> str:
        """Start a worker and return its id, which is unique in the run. Its `setup` runs from now on."""

    def work(self, worker_id: str, offers: Sequence[WorkItem]) -> None:
        """Call `work` of a worker that has no call outstanding."""

    def drain(self, worker_id: str) -> None:
        """Call `drain` of a worker that has no call outstanding."""

    def kill(self, worker_id: str) -> None:
        """End a worker at once. No event of it follows."""

    def avoid(self, node: str) -> bool:
        """Start no more workers on this node; those that run there go on. Returns whether other nodes are left."""

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Wait until a call ends, or the time is over, or no call is outstanding. Returns all calls that ended."""

    def show(self, status: Mapping[str, Any]) -> None:
        """Show the counts of `_status.json` as metrics, if the executor has a place for them."""

    def close(self) -> None:
        """End every worker."""


class SerialExecutor:
    """One worker in this process. Its calls run inside `wait`, so its hang or crash is the driver's too.

    `gpus_per_worker`: whether it computes on the GPU of this machine.
    """

    capacity = 1

    def __init__(self, make_worker: WorkerFactory, gpus_per_worker: float = 0.0) -> None:
        self.gpus_per_worker = gpus_per_worker
        self._make_worker = make_worker
        self._workers: dict[str, LabelingWorker] = {}
        self._calls: list[tuple[str, str, tuple[WorkItem, ...]]] = []
        self._num_started = 0

    def start(self) -> str:
        worker_id = f"w{self._num_started:04d}"
        self._num_started += 1
        self._workers[worker_id] = self._make_worker(worker_id)
        self._calls.append((worker_id, "setup", ()))
        return worker_id

    def work(self, worker_id: str, offers: Sequence[WorkItem]) -> None:
        self._calls.append((worker_id, "work", tuple(offers)))

    def drain(self, worker_id: str) -> None:
        self._calls.append((worker_id, "drain", ()))

    def kill(self, worker_id: str) -> None:
        self._calls = [call for call in self._calls if call[0] != worker_id]
        self._workers.pop(worker_id).close()

    def avoid(self, node: str) -> bool:
        raise AssertionError("the one worker is on no node")

    def wait(self, timeout_seconds: float) -> list[Event]:
        calls, self._calls = self._calls, []
        return [self._run(*call) for call in calls]

    def show(self, status: Mapping[str, Any]) -> None:
        return None

    def close(self) -> None:
        for worker_id in list(self._workers):
            self.kill(worker_id)

    def _run(self, worker_id: str, method: str, offers: tuple[WorkItem, ...]) -> Event:
        worker = self._workers[worker_id]
        try:
            if method == "setup":
                return Ready(worker_id, worker.setup())
            return Reported(worker_id, worker.work(offers) if method == "work" else worker.drain())
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this worker's end and not the job's
            _log.debug("worker %s", worker_id, exc_info=True)
            self.kill(worker_id)
            failure = failure_of_start(error) if method == "setup" else Failure.AMBIGUOUS
            return Lost(worker_id, failure, describe(error))


def failure_of_start(error: object) -> Failure:
    """What kind of failure an error of `setup` is: one that may pass is no fault of the worker or of its machine."""
    return Failure.STORAGE if isinstance(error, StorageError) and error.transient else Failure.ENVIRONMENT


def make_worker(settings: WorkerSettings, worker_id: str) -> Worker:
    """A worker, in the process in which it shall run, because this imports torch."""
    from pipeline.worker.worker import Worker

    return Worker(settings, worker_id)
