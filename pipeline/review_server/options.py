"""What a review is started with."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from pipeline.reviews.verdicts import Key


def new_token() -> str:
    """A token that nobody guesses: 128 bits."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True)
class ReviewOptions:
    """See the keys of `python -m pipeline.review`. `hosts` are names by which browsers may ask for the server.

    `queue` are keys in the order of a queue with `is_audit`; None lets the server make one.
    """

    reviewer: str = ""
    where: str | None = None
    queue: dict[Key, bool] | None = None
    videos_root: str | None = None
    token: str = field(default_factory=new_token, repr=False)
    hosts: tuple[str, ...] = ()
