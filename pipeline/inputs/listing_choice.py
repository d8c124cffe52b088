"""Whether a run lists a watched place in full or from the last names on, and what it then says of it.

A full listing costs a request for a thousand files, and sees what was replaced or deleted. A listing from the last
names on costs what is new. It finds all new files only where names grow with time, so that earlier runs must have shown
it: each full listing looks whether a listing from the last names on would have missed a new file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.config.input_config import InputConfig
from pipeline.inputs.kept_listing import KeptListing
from pipeline.text import counted

RUNS_IN_ORDER = 2
"""So many full listings in a row, each with new files, have missed nothing before `auto` trusts the names."""

MOST_SHARE = 4
"""From a quarter of all names on, a listing from the last names on saves too little."""

_MOST_OPEN_SHARE = 100  # a look at one video costs a twelfth of a page of a thousand


@dataclass(frozen=True)
class ListingChoice:
    """How a run lists, and why. `full_at` is when the next full listing is due in seconds since 1970, if it is known.

    It was chosen at the time `at`. `before` is what the last run kept of this place.
    """

    is_from_last: bool
    why: str
    full_at: float | None = None
    before: KeptListing | None = None
    at: float = 0.0

    @property
    def kind(self) -> str:
        """`full` or `from_last`, as `input.listing` names them."""
        return "from_last" if self.is_from_last else "full"

    def in_words(self) -> str:
        """How the run lists, why, and what it does not see."""
        if not self.is_from_last:
            return f"full: {self.why}"
        due = ""
        if self.full_at is not None:
            due = f", as each run does from {datetime.fromtimestamp(self.full_at, UTC):%Y-%m-%d %H:%M} UTC on"
        return (
            f"from the last names on: {self.why}. Replaced and deleted files and other prompts of videos that are "
            f"labeled well were not looked for; input.listing=full does that{due}"
        )


def choose(given: InputConfig, kept: KeptListing | None, now: float, all_because: str) -> ListingChoice:
    """How to list, by what the last run kept. `all_because` says why this run must see all videos; empty: it need not.

    `now` is in seconds since 1970.
    """
    if given.listing == "full":
        return ListingChoice(False, "input.listing=full", before=kept, at=now)
    full = all_because or _why_full(given, kept, now)
    if full or kept is None:
        return ListingChoice(False, full, before=kept, at=now)
    if given.listing == "from_last":
        return ListingChoice(True, "input.listing=from_last", before=kept, at=now)
    full_at = None if kept.full_at is None else kept.full_at + given.full_listing_seconds
    why = f"{counted(kept.num_files, 'video')} are known, and names came in order"
    return ListingChoice(True, why, full_at, kept, now)


def _why_full(given: InputConfig, kept: KeptListing | None, now: float) -> str:
    """Why this run lists in full; empty if it need not."""
    few = f"fewer videos than input.full_listing_below={given.full_listing_below}"
    if kept is None:  # nothing is kept of few videos, so that both are one
        first = "the first listing of this place"
        return first if given.listing == "from_last" else f"{few}, or {first}"
    if not kept.start_after:
        return "very many videos were not labeled after the last listing"
    return "" if given.listing == "from_last" else _why_auto_is_full(given, kept, now, few)


def _why_auto_is_full(given: InputConfig, kept: KeptListing, now: float, few: str) -> str:
    if kept.num_files < given.full_listing_below:
        return few
    if kept.full_at is None or not kept.full_at <= now < kept.full_at + given.full_listing_seconds:
        return "the last full listing is long ago, or to come by the clock of this machine"
    if kept.num_after * MOST_SHARE > kept.num_files:
        return f"the files that came last lie behind {kept.num_after:,} of {kept.num_files:,} names"
    if len(kept.open_paths) * _MOST_OPEN_SHARE > kept.num_files:
        return f"{counted(len(kept.open_paths), 'video')} are not labeled well, and each costs a request"
    if kept.runs_in_order < RUNS_IN_ORDER:
        return f"new names came in order in {kept.runs_in_order} of {RUNS_IN_ORDER} runs so far"
    return ""
