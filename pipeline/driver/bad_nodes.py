"""Which nodes are left alone: those where workers fail again and again before they have labeled a single frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.cluster.executor import Failure, Lost

_MOST_FAILURES = 3

# The last node is given up later, because a few videos that kill their workers may stand at the start of the plan, and
# no other node can show that they do so everywhere.
_MOST_FAILURES_OF_THE_LAST = 2 * _MOST_FAILURES

_AT_WORK = (Failure.AMBIGUOUS, Failure.HANG, Failure.TOGETHER)


@dataclass
class BadNodes:
    """Counts, by node, workers that failed before their first frame; a first frame of a new worker clears its node.

    A card whose first kernel fails does so with every video, and each try would cost a strike of an innocent one. The
    death of a worker that was alone with a suspect says nothing about its node. A worker that cannot start counts
    where other nodes have some that could, because the weights or their store may be at fault otherwise.

    `left_alone` are the nodes that got too many, with the reason in words.
    """

    left_alone: dict[str, str] = field(default_factory=dict)
    _node_of: dict[str, str] = field(default_factory=dict)
    _proven: set[str] = field(default_factory=set)
    _num_failures: Counter[str] = field(default_factory=Counter)
    _nodes_seen: set[str] = field(default_factory=set)

    def is_ready(self, worker_id: str, node: str) -> None:
        """A worker has loaded its model on this node; empty where nobody knows which one it is."""
        if node:
            self._node_of[worker_id] = node
            self._nodes_seen.add(node)

    def has_labeled(self, worker_id: str) -> None:
        """A worker has labeled frames."""
        if worker_id not in self._proven and worker_id in self._node_of:
            self._proven.add(worker_id)
            self._num_failures[self._node_of[worker_id]] = 0

    def lost(self, lost: Lost, was_with_suspect: bool) -> str:
        """A worker is gone. Returns the node that is left alone from now on for it; empty if none is."""
        node = self._node_of.pop(lost.worker_id, lost.node)
        is_proven = lost.worker_id in self._proven
        self._proven.discard(lost.worker_id)
        if not node or node in self.left_alone or is_proven or was_with_suspect or not self._counts(lost, node):
            return ""
        self._num_failures[node] += 1
        others = self._nodes_seen - self.left_alone.keys() - {node}
        if self._num_failures[node] < (_MOST_FAILURES if others else _MOST_FAILURES_OF_THE_LAST):
            return ""
        self.left_alone[node] = (
            f"{self._num_failures[node]} workers in a row failed there before their first frame; last: "
            f"{lost.message or lost.failure.value}"
        )
        return node

    def _counts(self, lost: Lost, node: str) -> bool:
        if lost.failure is Failure.ENVIRONMENT:
            return bool(self._nodes_seen - {node})
        return lost.failure in _AT_WORK
