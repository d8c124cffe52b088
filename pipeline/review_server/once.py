"""What a page sends again where it has heard no answer is done once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pipeline.review_server.bounded import Bounded

Answer = dict[str, Any]
_REMEMBERED = 10_000


class Once:
    """Answers by the id that the page has given what it sends. For any thread."""

    def __init__(self) -> None:
        self._answers: Bounded[str, Answer] = Bounded(_REMEMBERED)
        # Two pages of one browser may send the same in one moment. By its id the second waits for the first.
        self._locks = [threading.Lock() for _ in range(64)]

    def answer(self, once: str, make: Callable[[], Answer]) -> Answer:
        """The answer to what has this id, made if there is none yet. Without an id it is always made."""
        if not once:
            return make()
        with self._locks[hash(once) % len(self._locks)]:
            return self._answers.get(once) or self._answers.put(once, make())
