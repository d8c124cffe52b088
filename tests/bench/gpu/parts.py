"""The parts of the check and how long each may take on an H200; a part that takes longer is ended and says so."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from tests.bench.gpu.attention import attention
from tests.bench.gpu.compiled import compiled
from tests.bench.gpu.environment import environment
from tests.bench.gpu.faults import faults
from tests.bench.gpu.jobs import jobs
from tests.bench.gpu.launches import launches
from tests.bench.gpu.parity import parity
from tests.bench.gpu.rates import rates
from tests.bench.gpu.references import references
from tests.bench.gpu.subjects import Options
from tests.bench.gpu.suite import suite
from tests.bench.gpu.waits import waits


@dataclass(frozen=True)
class Part:
    """One part: what runs, and after how many seconds it is ended. What gives row after row keeps those it has."""

    run: Callable[[Options], Any]
    limit_seconds: int


# In the order of worth: a run that is cut short has the first ones.
PARTS: dict[str, Part] = {
    "environment": Part(environment, 20),
    "parity": Part(parity, 90),
    "waits": Part(waits, 40),
    "rates": Part(rates, 130),
    "launches": Part(launches, 40),
    "attention": Part(attention, 60),
    "jobs": Part(jobs, 150),
    "suite": Part(suite, 120),
    "references": Part(references, 150),
    "compiled": Part(compiled, 240),
    "faults": Part(faults, 40),
}


# Whoever tries the check on a CPU does not wait for the figures of an H200.
_PATIENCE_IF_QUICK = 10


class TooLate(BaseException):
    """A part's time is over. No `except Exception` inside it may swallow this."""


def run_part(name: str, options: Options, keep: Callable[[list[Any]], None] = lambda rows: None) -> dict[str, Any]:
    """What a part found, or its error, and how many seconds it took. Belongs to the main thread: it sets an alarm.

    `keep` gets the rows so far after each. Beside an error stand the rows that were there before it.
    """
    limit = PARTS[name].limit_seconds * (_PATIENCE_IF_QUICK if options.quick else 1)
    started = time.perf_counter()
    before = signal.signal(signal.SIGALRM, _ring)
    signal.alarm(limit)
    outcome: dict[str, Any] = {}
    try:
        found = PARTS[name].run(options)
        outcome["found"] = [] if isinstance(found, Iterator) else found
        for row in found if isinstance(found, Iterator) else ():
            outcome["found"].append(row)
            keep(outcome["found"])
    except TooLate:
        outcome["error"] = f"ended after its limit of {limit} s"
    except Exception as error:  # the other parts go on
        outcome["error"] = "".join(traceback.format_exception(error))[-1500:]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return outcome | {"seconds": time.perf_counter() - started}


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise TooLate
