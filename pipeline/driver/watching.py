"""A watched bucket: what a run keeps of its listing, so that the next one need not list all again."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.driver.job import Job
from pipeline.errors import StorageError
from pipeline.inputs.found_files import NameOrder
from pipeline.inputs.kept_listing import KeptListing, place_of, read_kept, write_kept
from pipeline.inputs.listing_choice import RUNS_IN_ORDER, ListingChoice
from pipeline.inputs.plan import Plan
from pipeline.text import counted

_log = logging.getLogger(__name__)

_MOST_OPEN = 100_000
_NUM_EXAMPLES = 3
_DOLLARS_A_LISTED_FILE = 0.005 / 1000 / 1000  # S3 Standard in us-east-1: 0.005 for a thousand pages of a thousand


@dataclass(frozen=True)
class Watch:
    """What the listing of a run tells the next one. `None` in `order`: nothing is kept of it.

    `runs_in_order` counts the full listings in a row whose new files had names behind those of before.
    """

    job: Job
    order: NameOrder | None
    choice: ListingChoice | None
    runs_in_order: int = 0
    has_warned: bool = False

    @staticmethod
    def of(job: Job, plan: Plan) -> Watch:
        """What is known before anything is labeled. Says what is wrong with the names, once."""
        listing, given = plan.listing, job.config.input
        if listing is None or (choice := listing.listed.choice) is None:
            return Watch(job, None, None)
        order, before = listing.listed.order, choice.before
        if order is not None and given.listing != "from_last" and not choice.is_from_last:
            order = None if order.num_files < given.full_listing_below else order
        runs = 0 if before is None else before.runs_in_order
        if order is not None and before is not None and not choice.is_from_last:
            runs = _runs_in_order(plan, before, order.root)
        has_warned = before is not None and before.has_warned
        if order is not None and not has_warned and not order.has_time and given.listing == "auto":
            _warn_of_names(order)
            has_warned = True
        return Watch(job, order, choice, runs, has_warned)

    def keep(self, plan: Plan) -> None:
        """Write where the next listing may begin, and which videos before that are not labeled well.

        It is written before anything is labeled, because a driver that is killed leaves videos open, and again at the
        end. A store that does not take it costs the next run a longer listing, and is no reason to fail.
        """
        if self.order is None or self.choice is None:
            return
        kept = self._kept(plan, self.order, self.choice)
        try:
            write_kept(self.job.storage, kept)
        except StorageError as error:
            _log.warning("the next run lists from where this one did: %s", error)

    def keep_idle(self, plan: Plan) -> None:
        """After a run with nothing to do: keep that all was listed. Else each run would list all until one has work.

        The run does not own the job. What another driver has written since counts, and stays.
        """
        if self.order is None or self.choice is None or self.choice.is_from_last:
            return
        tells_new = self.job.config.input.listing != "from_last" or self._missing(plan) != self._missing_before
        if tells_new and self._is_as_before():
            self.keep(plan)

    def _is_as_before(self) -> bool:
        try:
            return self.choice is not None and read_kept(self.job.storage, self._place) == self.choice.before
        except StorageError:
            return False

    @property
    def _missing_before(self) -> tuple[str, ...]:
        before = None if self.choice is None else self.choice.before
        return () if before is None else before.missing

    def _missing(self, plan: Plan) -> tuple[str, ...]:
        """Corrected videos that the place lacks, by the last full listing. A prune leaves no trace of them."""
        if self.choice is not None and self.choice.is_from_last:
            return self._missing_before
        return () if self.job.config.prune else plan.missing

    @property
    def _place(self) -> str:
        return place_of(self.job.config)

    def _kept(self, plan: Plan, order: NameOrder, choice: ListingChoice) -> KeptListing:
        open_paths = plan.open_paths(self.job.log.state.finished.are_well, _MOST_OPEN)
        before = choice.before
        is_full = not choice.is_from_last
        full_at = choice.at if is_full or before is None else before.full_at
        num_files = order.num_files if is_full or before is None else before.num_files
        return KeptListing(
            place=self._place,
            start_after="" if open_paths is None else order.start_after,
            open_paths=open_paths or [],
            full_at=full_at,
            num_files=num_files,
            num_after=order.num_after,
            runs_in_order=self.runs_in_order,
            has_warned=self.has_warned,
            missing=self._missing(plan),
        )


def _warn_of_names(order: NameOrder) -> None:
    """Names say nothing of time, so that `auto` can spare nothing: what that costs, and the remedy."""
    cost = order.num_files * _DOLLARS_A_LISTED_FILE
    _log.warning(
        f"the names of the videos do not grow with time: half of those that came last lie before the last quarter of "
        f"{order.num_files:,} names. So each run lists all, with {counted(-(-order.num_files // 1000), 'request')} "
        f"({cost:.3f} dollars in S3). If a name begins with its day, as incoming/2026-11-28/cup.mp4, a run lists what "
        "is new"
    )


def _runs_in_order(plan: Plan, before: KeptListing, root: str) -> int:
    """How many full listings in a row have shown by now that a listing from the last names on misses no new file."""
    tails = plan.new_tails()
    if not before.start_after or not len(tails):
        return before.runs_in_order
    start = before.start_after.removeprefix(root)
    early = tails.filter(pc.less_equal(tails, pa.scalar(start, tails.type)))
    missed = sorted({*early.to_pylist()}.difference(before.open_paths))
    if not missed:
        return min(RUNS_IN_ORDER, before.runs_in_order + (len(early) < len(tails)))
    if before.runs_in_order >= RUNS_IN_ORDER:
        names = ", ".join(name.strip("/") for name in missed[:_NUM_EXAMPLES])
        have = "has a name" if len(missed) == 1 else "have names"
        _log.warning(
            f"{counted(len(missed), 'new video')} {have} before those that came last, as {names}: a listing from the "
            f"last names on would not have found {'it' if len(missed) == 1 else 'them'}. Runs list all until the "
            f"names of {RUNS_IN_ORDER} runs are in order"
        )
    return 0
