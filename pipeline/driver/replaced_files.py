"""Videos whose file is not the one that was labeled any more: its size, its ETag or its time of change is another."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa

from pipeline.commits.snapshot import JobState
from pipeline.config.job_config import JobConfig
from pipeline.ids import IdIndex
from pipeline.inputs.address_rules import address_rules
from pipeline.inputs.plan import Plan
from pipeline.storage.file_versions import current_versions
from pipeline.text import counted

_log = logging.getLogger(__name__)

_NUM_EXAMPLES = 5
_VIDEOS_AT_A_TIME = 1 << 16


def with_replaced_files(plan: Plan, config: JobConfig, state: JobState, retry: Collection[str]) -> Plan:
    """Say which files were replaced since their videos were labeled. `changed=relabel` plans these videos again."""
    if config.changed == "keep":
        return plan
    is_asked = config.changed == "relabel"
    replaced = find_replaced_files(plan, config, state, ask_stores=is_asked)
    if not replaced:
        return plan
    more = ", …" if len(replaced) > _NUM_EXAMPLES else ""
    named = ", ".join(map(repr, sorted(replaced)[:_NUM_EXAMPLES])) + more
    is_one = len(replaced) == 1
    were, their, them = ("it was", "Its", "it") if is_one else ("they were", "Their", "them")
    what = f"{counted(len(replaced), 'video')} changed since {were} labeled (size, time or ETag of the file): {named}"
    if is_asked:
        _log.info("%s; a run labels %s again", what, them)
        return plan.with_files_now(replaced, state.finished, retry)
    _log.warning(f"%s. {their} masks stay. changed=relabel labels {them} again, changed=keep says no more of it", what)
    return plan


def find_replaced_files(plan: Plan, config: JobConfig, state: JobState, *, ask_stores: bool) -> Mapping[str, str]:
    """The `source_hash` of the file as it is now, by id, of finished videos where it is another than it was.

    Local files are looked at, and what was listed anyway. Object stores are asked only with `ask_stores`.
    """
    finished = state.finished
    if not finished.has_sources:
        return {}
    replaced: dict[str, str] = {}
    are_wanted = finished.have_sources
    if (listed := plan.listed_versions()) is not None:
        ids, now = listed
        for first in range(0, len(ids), _VIDEOS_AT_A_TIME):  # all at once would take 25 bytes a video
            part = now.take(np.arange(first, min(first + _VIDEOS_AT_A_TIME, len(ids))))
            before = finished.source_hashes(ids[first : first + _VIDEOS_AT_A_TIME])
            is_other = before.has_text() & part.has_text() & ~before.equals(part)
            places = np.flatnonzero(is_other).tolist()
            replaced |= {ids[first + place].as_py(): part[place] for place in places}
        if now.has_text().all():
            return replaced
        told = IdIndex(ids.filter(pa.array(now.has_text())))
        are_wanted = lambda ids: finished.have_sources(ids) & (told.find(ids) < 0)  # noqa: E731  # of those that are asked for
    files = plan.done_files(are_wanted, only_local=not ask_stores)
    versions = current_versions(files, config.storage_options, ask_stores=ask_stores, rules=address_rules(config))
    hashes = ((video_id, version.digest()) for video_id, version in versions)
    return replaced | {video_id: now for video_id, now in hashes if now != finished[video_id].source_hash}
