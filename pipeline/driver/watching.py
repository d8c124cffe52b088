"""A watched bucket: what a run keeps of its listing, so that the next one need not list all again."""

from __future__ import annotations

import logging

from pipeline.driver.job import Job
from pipeline.errors import StorageError
from pipeline.inputs.kept_listing import KeptListing, place_of, write_kept
from pipeline.inputs.plan import Plan

_log = logging.getLogger(__name__)


def keep_listing(job: Job, plan: Plan) -> None:
    """Write where the next listing may begin, and which videos before that are not labeled well.

    It is written before anything is labeled, because a driver that is killed leaves videos open, and again at the end.
    A store that does not take it costs the next run a longer listing, and is no reason to fail.
    """
    listing = plan.listing
    if listing is None or listing.listed.start_after is None or job.config.input.listing != "from_last":
        return
    open_paths = plan.open_paths(job.log.state.finished.are_well)
    kept = KeptListing(place=place_of(job.config), start_after=listing.listed.start_after, open_paths=open_paths)
    try:
        write_kept(job.storage, kept)
    except StorageError as error:
        _log.warning("the next run lists from where this one did: %s", error)
