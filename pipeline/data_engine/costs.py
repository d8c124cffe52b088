"""How long a person needs to check a track, in seconds: the cost model of the SAM 2 paper for interactive annotation.

Looking through 300 frames takes 30 s, finding the frame to edit 1 s, a click 1.5 s; a frame is edited with 3 clicks.
The page of reviews opens a track at its doubtful frame. If the mask is wrong there, it is edited at once, and nobody
looks through the track.
"""

from __future__ import annotations

from pipeline.arrays import Float64Array

SECONDS_PER_FRAME = 30 / 300
SECONDS_TO_FIND_A_FRAME = 1.0
SECONDS_PER_CLICK = 1.5
CLICKS_PER_EDIT = 3
SECONDS_PER_MASK = 4.5
"""For one mask of a person with SAM 2 in the loop, over all frames of a video (phase 3 of its data engine)."""


def seconds_to_check(num_masks: Float64Array, doubt: Float64Array) -> Float64Array:
    """Seconds for the doubtful frame, and for its edit, which is as likely as `doubt` says, or for all frames."""
    edit, look_through = CLICKS_PER_EDIT * SECONDS_PER_CLICK, SECONDS_PER_FRAME * num_masks
    seconds: Float64Array = SECONDS_TO_FIND_A_FRAME + doubt * edit + (1 - doubt) * look_through
    return seconds
