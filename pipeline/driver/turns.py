"""In which order videos come when a run may not label all of them: those that have waited longest come first.

Without that, what sorts last would wait for ever where each night brings as much as it can label. Videos that wait
equally long keep the usual order, in which long ones come first.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from pipeline.arrays import Int64Array
from pipeline.commits.waiting_list import WaitingList, longest_waiting_first, read_waiting, write_waiting
from pipeline.errors import StorageError
from pipeline.inputs.plan import Plan
from pipeline.redact import redact
from pipeline.storage.job_storage import JobStorage

_log = logging.getLogger(__name__)


def turns_of(plan: Plan, storage: JobStorage, now: datetime) -> Sequence[Int64Array]:
    """Places in `plan.ids_to_label()`, in groups that wait equally long. Raises `StorageError` if the store is away."""
    return longest_waiting_first(read_waiting(storage).since_of(plan.ids_to_label(), now))


def keep_waiting(left: Plan, storage: JobStorage, now: datetime) -> None:
    """Write down what a run leaves, for the next one. A store that does not take it only costs the order."""
    ids = left.ids_to_label()
    try:
        write_waiting(storage, WaitingList(ids, read_waiting(storage).since_of(ids, now)))
    except StorageError as error:
        _log.warning(
            "what waits is not written down, so that the next run takes its usual order: %s", redact(str(error))
        )
