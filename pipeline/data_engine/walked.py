"""What walks back to the prompt (`conf=verify`) add to the doubt of tracks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from pipeline.output.schema import TRACKS
from pipeline.quality.blend import Blend, Term
from pipeline.quality.doubt import is_heavy
from pipeline.quality.reasons import Reason
from pipeline.reviews.cycles import Cycle
from pipeline.reviews.verdicts import Key

TERM = Term(0.2, 0.7, 1.0)
"""What a walk adds to the logit of a track, by 1 less its IoU. More weight than this drowns better signals."""


def with_walks(tracks: pa.Table, cycles: Mapping[Key, Cycle], blend: Blend) -> pa.Table:
    """Rows of `tracks` with what their walks add to `doubt` and `doubt_reasons`; `blend` made their doubt.

    A walk that is a reason, and the only one, also says where to look: at the mask from which it began.
    """
    keys = list(zip(tracks["video_id"].to_pylist(), tracks["object_id"].to_pylist(), strict=True))
    walks = [cycles.get(key) for key in keys]
    iou = np.array([np.nan if one is None or one.iou is None else one.iou for one in walks], np.float64)
    added = TERM.weight * TERM.evidence(1 - iou)
    doubt = tracks["doubt"].to_numpy().astype(np.float64)
    is_known = ~np.isnan(doubt)
    if not (added[is_known] > 0).any():
        return tracks
    found, before = blend.with_more(doubt, added)
    reasons, frames = tracks["doubt_reasons"].to_pylist(), tracks["doubt_frame"].to_pylist()
    for place in np.flatnonzero(is_known & (added > 0)).tolist():
        if is_heavy(added[place], before[place] + added[place], found[place]):
            first = added[place] > before[place]
            others = reasons[place] or []
            reasons[place] = [Reason.CYCLE.value, *others] if first else [*others, Reason.CYCLE.value]
            walk = walks[place]
            if frames[place] is None and walk is not None:
                frames[place] = walk.from_frame
    columns = {"doubt": np.where(is_known, found, np.nan), "doubt_reasons": reasons, "doubt_frame": frames}
    for name, values in columns.items():
        field = TRACKS.field(name)
        column = pa.array(values, field.type, from_pandas=True)
        tracks = tracks.set_column(tracks.schema.get_field_index(name), field, column)
    return tracks
