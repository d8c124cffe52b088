"""`_listing.json` below `output=`: where the next listing of a watched place may begin, and what it must not forget.

A store lists keys in the order of their names. The next listing begins at the smallest name of the files that came last
(`input.late_seconds` before the newest one), because the names of files to come are then as a rule not smaller. Where
names do not grow with time this is near the beginning, and the listing is nearly whole. Videos that are not labeled
well are looked at wherever they lie.
"""

from __future__ import annotations

from hashlib import blake2b

from pipeline.config.job_config import JobConfig
from pipeline.output.layout import LISTING
from pipeline.storage.documents import Document
from pipeline.storage.job_storage import JobStorage


class KeptListing(Document):
    """What a run keeps for the next one.

    `place` stands for what was listed, and by which rules. Names up to `start_after` need not be listed. `open_paths`
    are the paths below the folder of videos that are not labeled, or not well. `start_after` is empty where there are
    too many of these to be named: then all is listed.

    The last full listing was at `full_at`, in seconds since 1970, and found `num_files` videos; `None`: none is known
    of. `num_after` of the videos have names behind `start_after`. In `runs_in_order` full listings in a row with new
    files, all of these had names behind the `start_after` of before. `has_warned`: a person was told that names do not
    grow with time. `missing` are ids of videos that have corrections which no run took in, and that the last full
    listing did not find: a person was told of them, and they are no reason to list all again.
    """

    place: str
    start_after: str
    open_paths: list[str]
    full_at: float | None = None
    num_files: int = 0
    num_after: int = 0
    runs_in_order: int = 0
    has_warned: bool = False
    missing: tuple[str, ...] = ()


def place_of(config: JobConfig) -> str:
    """What stands for the place that `videos=` names, and for the rule of its ids."""
    told = f"{config.videos}\n{config.input.video_id_from}"
    return blake2b(told.encode(), digest_size=16).hexdigest()


def read_kept(storage: JobStorage, place: str | None = None) -> KeptListing | None:
    """What the last run kept of this place, or of whatever place; `None` if there is nothing of use.

    Raises `NewerVersion` and `StorageError`.
    """
    try:
        kept = KeptListing.from_json(storage.read(LISTING), f"{storage}/{LISTING}")
    except FileNotFoundError:
        return None
    return kept if place in (None, kept.place) else None


def write_kept(storage: JobStorage, kept: KeptListing) -> None:
    """Keep this for the next run. Raises `StorageError` if the store does not take it."""
    storage.replace(LISTING, kept.to_json())
