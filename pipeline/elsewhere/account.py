"""What was taken in of a review, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Account:
    """What was taken in. `frames` are counted by kind of correction, `messages` are for people."""

    frames: Counter[str] = field(default_factory=Counter)
    num_added: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    reviewers: set[str] = field(default_factory=set)
    videos: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)

    @property
    def is_new(self) -> bool:
        """Whether anything was written."""
        return bool(self.frames.total() or self.verdicts.total())
