"""Videos that the output or its reviews have and no table of a run has: `_status.json` names them for other processes.

Who reads the output alone, as `pipeline.status` does, cannot tell otherwise that the corrections of such a video wait
for nothing that the next run does.
"""

from __future__ import annotations

from pipeline.driver.job import Job
from pipeline.inputs.plan import Plan

_MOST_NAMED = 1000
# To look for them makes an index of all ids of the tables, which takes half a second for so many videos.
_MOST_LOOKED_FOR = 1_000_000


def gone_videos(job: Job, plan: Plan) -> tuple[str, ...]:
    """The first thousand of them: those with corrections first, then finished ones where these are not too many.

    A listing that began in the middle has not looked, and names none. A run with `prune=true` removes them all.
    """
    if job.config.prune:
        return ()
    finished = job.log.state.finished
    named = dict.fromkeys(plan.missing[:_MOST_NAMED])
    if plan.num_former and len(finished) <= _MOST_LOOKED_FOR:
        named |= dict.fromkeys(plan.former(finished)[:_MOST_NAMED])
    return tuple(named)[:_MOST_NAMED]
