"""The reasons of a track as sentences, from its row in `tracks`, with values and frames where the row has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.quality.reasons import SENTENCES, Reason
from pipeline.quality.track_columns import FRAMES, VALUES

CYCLE_IOU = "cycle_iou"

COLUMN_OF: Mapping[Reason, str] = {reason: column for column, reason in VALUES.items()} | {
    Reason.LOW_IOU: "predicted_iou_mean",
    Reason.CYCLE: CYCLE_IOU,
}
"""The column of `tracks` that holds the value of a reason."""

_FRAME_OF = {reason: column for column, reason in FRAMES.items()}
_CLAUSE_WITH_FRAME = re.compile(r"[,;][^,;]*\{frame\}| (?:on|from) frame \{frame\}")


def in_words(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The reasons of a row, the heaviest first: `code`, `sentence`, and `frame` where it is known.

    The frame to look at is that of the heaviest reason; three reasons have frames of their own in `tracks`. A code
    of a newer program is its own sentence.
    """
    found = []
    for place, code in enumerate(row["doubt_reasons"] or ()):
        if code not in SENTENCES:
            found.append({"code": code, "sentence": code, "frame": None})
            continue
        reason = Reason(code)
        frame = row["doubt_frame"] if place == 0 else row.get(_FRAME_OF.get(reason, ""))
        value = row.get(COLUMN_OF.get(reason, ""))
        template = SENTENCES[reason] if frame is not None else _CLAUSE_WITH_FRAME.sub("", SENTENCES[reason])
        sentence = code.replace("_", " ") if value is None else template.format(value=value, frame=frame)
        found.append({"code": code, "sentence": sentence, "frame": frame})
    return found
