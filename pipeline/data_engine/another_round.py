"""What is probably bad still, and whether another round of reviews is worth the time that it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow.compute as pc

from pipeline.data_engine.audit import NO_SAMPLE, Rate
from pipeline.data_engine.costs import (
    SECONDS_PER_FRAME,
    SECONDS_PER_MASK,
)
from pipeline.data_engine.round_facts import Round
from pipeline.tables import JobTables
from pipeline.text import counted

_NOT_KNOWN = (
    "not known: nobody has looked at tracks drawn by lot, of which the queue has some (audit=), so that nothing tells "
    "how many bad ones are left"
)
_NOT_MEASURED = "what corrections change is not known before a run has taken some in"


@dataclass(frozen=True)
class Unseen:
    """The visible tracks at which nobody has looked as they are now, and how many masks one has."""

    num_tracks: int
    masks_per_track: float


@dataclass(frozen=True)
class ErrorLeft:
    """How many of the unseen tracks are bad, by those that were drawn by lot in `number`, the last round that had some.

    `low` and `high` are bounds of 95 %. None: nobody has looked at tracks drawn by lot.
    """

    unseen: Unseen
    rate: Rate
    number: int | None

    @property
    def share(self) -> float | None:
        """The share of bad ones among them."""
        return self.rate.num_bad / self.rate.num if self.rate.num else None

    @property
    def num_bad(self) -> float | None:
        """How many of them are bad."""
        return None if self.share is None else self.share * self.unseen.num_tracks

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that are bad, at 95 %."""
        low, high = self.rate.bounds
        return low * self.unseen.num_tracks, high * self.unseen.num_tracks


@dataclass(frozen=True)
class Worth:
    """Whether another round is worth it; None where that is not known. The other values are what it would be.

    A round that looks at `num_tracks` takes `seconds` and mends `num_bad` tracks, as many pixels as `num_masks` masks
    have. None: no round has shown what a correction changes.
    """

    is_worth: bool | None
    sentence: str
    num_tracks: int = 0
    num_bad: float = 0.0
    seconds: float = 0.0
    num_masks: float | None = None


def unseen(job: JobTables) -> Unseen:
    """What nobody has looked at; one pass over three columns of `tracks`."""
    num_tracks = num_masks = 0
    for rows in job.track_batches(columns=["num_masks"], where="verdict is null and num_visible > 0"):
        num_tracks += rows.num_rows
        num_masks += pc.sum(rows["num_masks"]).as_py() or 0
    return Unseen(num_tracks, num_masks / num_tracks if num_tracks else 0.0)


def error_left(rounds: Sequence[Round], left: Unseen) -> ErrorLeft:
    """What the last round with tracks drawn by lot says of those at which nobody has looked."""
    for one in reversed(rounds):
        if one.looked.audit.num:
            return ErrorLeft(left, one.looked.audit, one.entries.number)
    return ErrorLeft(left, NO_SAMPLE, None)


def another_round(rounds: Sequence[Round], left: ErrorLeft, good_enough: float) -> Worth:
    """Whether another round is worth it: while too many tracks are bad, and mending them is cheaper than drawing them.

    A round like the last one is assumed: as many tracks, as many bad ones among them, as long for each. What a
    correction mends is the share of its masks that the last one changed. A mask by hand is what it costs otherwise.
    """
    if not left.unseen.num_tracks:
        return Worth(False, "no: somebody has looked at every visible track as it is now")
    if left.share is None:
        return Worth(None, _NOT_KNOWN)
    low, high = left.rate.bounds
    interval = f"{left.share:.1%} ({low:.1%} … {high:.1%}) of the tracks at which nobody has looked are bad"
    if left.share <= good_enough:
        sure = "" if high <= good_enough else ", though the interval reaches beyond: look at more tracks drawn by lot"
        return Worth(False, f"no: {interval}, and {good_enough:.1%} is good enough (error=){sure}")
    guess = _like_the_last(rounds, left)
    round_ = f"a round of {counted(guess.num_tracks, 'track')} like the last one"
    found = f"{interval}; {round_} takes about {in_minutes(guess.seconds)} and finds about {guess.num_bad:.0f} of them"
    if guess.num_masks is None:
        return replace(guess, is_worth=True, sentence=f"yes: {found}; {_NOT_MEASURED}")
    each = guess.seconds / guess.num_masks if guess.num_masks else math.inf
    is_cheaper = each <= SECONDS_PER_MASK
    mended = f"which mends as much as {counted(round(guess.num_masks), 'mask')}, {each:.1f} s each"
    verdict = f"{'yes' if is_cheaper else 'no'}: {found}, {mended}, where one by hand takes {SECONDS_PER_MASK:g} s"
    return replace(guess, is_worth=is_cheaper, sentence=verdict)


def _like_the_last(rounds: Sequence[Round], left: ErrorLeft) -> Worth:
    """What another round would bring that is like the last one in which somebody has looked at tracks."""
    last = next(one.looked for one in reversed(rounds) if one.looked.num_tracks)
    seen = last.seen if last.seen.num else last.audit
    each = last.seconds / last.num_tracks or left.unseen.masks_per_track * SECONDS_PER_FRAME
    num_tracks = min(last.num_tracks, left.unseen.num_tracks)
    assert left.num_bad is not None
    num_bad = min(left.num_bad, num_tracks * seen.num_bad / seen.num)
    changed = next((one.changed for one in reversed(rounds) if one.changed is not None), None)
    num_masks = None if changed is None else num_bad * left.unseen.masks_per_track * changed.moved
    return Worth(None, "", num_tracks, num_bad, num_tracks * each, num_masks)


def in_minutes(seconds: float) -> str:
    """`45 s`, `12 min` or `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
