"""Which executor `cluster=` means, and what its workers are made of."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial

from pipeline.cluster.executor import Executor, LabelingWorker, SerialExecutor, make_worker
from pipeline.driver.job import Job
from pipeline.text import counted
from pipeline.worker.settings import JobFacts, WorkerSettings

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def open_executor(
    job: Job, make_worker: Callable[[WorkerSettings, str], LabelingWorker] = make_worker
) -> Iterator[Executor]:
    """Run the workers of a job as `cluster=` says, and end them at the end. Imports Ray only if it is wanted."""
    cluster, worker = job.config.cluster, job.config.worker
    make = partial(make_worker, worker_settings(job))
    executor: Executor
    if cluster.kind == "serial":
        from pipeline.worker.devices import choose_device

        # Torch is needed here anyway, and the worker labels as many videos at a time as its device is for.
        is_on_gpu = choose_device(job.config.model)[0].type == "cuda"
        executor = SerialExecutor(make, gpus_per_worker=float(is_on_gpu))
    else:
        from pipeline.cluster.ray_executor import RayExecutor

        device, output = job.config.model.device, str(job.storage)
        setup_seconds = worker.setup_seconds + (worker.warm_up_seconds if job.config.model.compile else 0)
        executor = RayExecutor(make, cluster, worker.hang_seconds, setup_seconds, device, job=output)
    workers, cpus = counted(executor.capacity, "worker"), counted(cluster.cpus_per_actor, "CPU")
    _log.info("cluster=%s: up to %s, %s each", cluster.kind, workers, cpus)
    try:
        yield executor
    finally:
        executor.close()


def worker_settings(job: Job) -> WorkerSettings:
    """What each worker of a job is made of."""
    facts = JobFacts(
        weights=job.weights,
        storage=job.storage,
        epoch=job.log.state.epoch,
        config_hash=job.record.config_hash,
        versions=job.record.versions,
        numbers_are_resolved=job.numbers_are_resolved,
        round=job.log.state.round,
    )
    return WorkerSettings(facts, job.config)
