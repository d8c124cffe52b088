"""Why an actor is gone: what Ray's errors say, and what the losses of other actors of its node say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ray import exceptions

from pipeline.cluster.executor import Failure, Lost

# Ray has no common class for "the worker is gone". An error of neither list is a death that may be a video's fault.
_INFRASTRUCTURE = (exceptions.NodeDiedError, exceptions.LocalRayletDiedError, exceptions.ObjectLostError)
_ENVIRONMENT = (exceptions.RuntimeEnvSetupError, exceptions.ActorUnschedulableError)
_NODE_GONE = ("its node has died", "node was terminated")

# When a node is at fault, its workers die within 1 s of each other. An actor that cannot be reached may be on a node
# that is gone, and Ray needs up to 25 s to be sure of that.
_TOGETHER_SECONDS = 1.0
_UNREACHABLE_SECONDS = 25.0


def failure_of(error: exceptions.RayError, is_setup: bool) -> Failure:
    """What kind of failure Ray's answer to a call is. `is_setup`: the actor had not loaded its model."""
    if isinstance(error, _ENVIRONMENT) or getattr(error, "actor_init_failed", False):
        return Failure.ENVIRONMENT
    if isinstance(error, _INFRASTRUCTURE) or getattr(error, "preempted", False):
        return Failure.INFRASTRUCTURE
    if any(words in str(error) for words in _NODE_GONE):
        return Failure.INFRASTRUCTURE
    return Failure.ENVIRONMENT if is_setup else Failure.AMBIGUOUS


def losses_together(losses: Sequence[Lost], workers_by_node: Counter[str]) -> list[Lost]:
    """The same losses, but a node that lost several workers at once is blamed and no video.

    At once means two or more workers, and at least half of those that `workers_by_node` counts there before the losses.
    """
    ambiguous = Counter(lost.node for lost in losses if lost.failure is Failure.AMBIGUOUS and lost.node)
    at_once = {node for node, count in ambiguous.items() if count >= 2 and 2 * count > workers_by_node[node]}
    return [
        replace(lost, failure=Failure.TOGETHER) if lost.failure is Failure.AMBIGUOUS and lost.node in at_once else lost
        for lost in losses
    ]


@dataclass(frozen=True)
class _Doubt:
    lost: Lost
    until: float


class Doubts:
    """Deaths that may be a node's fault. Each is reported when that is known, or after a while."""

    def __init__(self) -> None:
        self._doubts: list[_Doubt] = []

    def __bool__(self) -> bool:
        return bool(self._doubts)

    def add(self, lost: Lost, now: float) -> None:
        """An actor died at this time, for a reason that is not clear."""
        is_unreachable = lost.message.startswith("ActorUnavailableError")
        self._doubts.append(_Doubt(lost, now + (_UNREACHABLE_SECONDS if is_unreachable else _TOGETHER_SECONDS)))

    def settled(self, now: float, dead_nodes: set[str], workers_by_node: Counter[str]) -> list[Lost]:
        """Take out the deaths of which it is clear by now, or clear enough, whether the node was the cause."""
        due = {doubt.lost.node for doubt in self._doubts if doubt.until <= now}
        settled = [doubt.lost for doubt in self._doubts if doubt.lost.node in dead_nodes | due]
        self._doubts = [doubt for doubt in self._doubts if doubt.lost.node not in dead_nodes | due]
        losses = losses_together(settled, workers_by_node)
        return [replace(lost, failure=Failure.INFRASTRUCTURE) if lost.node in dead_nodes else lost for lost in losses]
