"""Looks and passes in any order give what they give in `transformers`, where nothing is said but one prompt.

Each frame is remembered as the last call left it, whichever call came first.
"""

from __future__ import annotations

import pytest
import torch

from tests.reference.kits import Kit, ours, theirs
from tests.reference.mini import click_on, square_clip
from tests.support.sessions import OTHER_BATCH

pytestmark = pytest.mark.slow

CLIP = square_clip("drifting", 9)
Call = tuple[str, int | None, int]
SCRIPTS: dict[str, list[Call]] = {
    "looks ahead and back": [("look", 4, 1), ("look", 2, 1), ("look", 2, 1), ("walk", 4, 3)],
    "a look that comes again after a pass": [("look", 7, 1), ("walk", None, 2), ("look", 7, 1)],
    "a pass from the middle before one from the start": [("walk", 2, 2), ("walk", None, 3), ("look", 5, 1)],
    "a pass over frames that were looked at": [("look", 5, 1), ("look", 4, 1), ("look", 6, 1), ("walk", 7, 2)],
    "a pass, a look beyond it, and the rest": [("walk", None, 3), ("look", 7, 1), ("walk", 3, 9)],
}


def called(kit: Kit, script: list[Call]) -> dict[tuple[int, int], torch.Tensor]:
    """The masks by the number of the call and the frame."""
    with kit.formats():
        session = kit.processor.init_video_session(video=list(CLIP.frames_THW3), dtype=torch.float64)
    kit.say(session, 1, input_points=[[[list(click_on(CLIP.mask(1, 0)))]]], input_labels=[[[1]]])
    kit.look(session, frame_idx=0)
    found: dict[tuple[int, int], torch.Tensor] = {}
    for number, (kind, start, count) in enumerate(script):
        if kind == "look":
            found[number, start or 0] = kit.look(session, frame_idx=start)
            continue
        num_frames = count if kit is ours() else count - 1
        walk = kit.walk(session, start_frame_idx=start, max_frame_num_to_track=num_frames)
        found |= {(number, index): masks for index, masks in walk.items()}
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_call_gives_what_it_gives_there(name: str) -> None:
    mine, there = called(ours(), SCRIPTS[name]), called(theirs(), SCRIPTS[name])
    assert mine.keys() == there.keys()
    assert max(float((mine[key] - there[key]).abs().max()) for key in mine) < OTHER_BATCH
