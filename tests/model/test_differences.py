"""Where ours is better than `transformers` on purpose; `tests/reference/test_reference_behaviour.py` shows the others.

Row 3 is about corrections. Row 6 is about the pointer and the memory of a mask prompt, which `test_parity_trunks`
compares with those of `sam2`.
"""

from __future__ import annotations

import functools

import pytest
import torch

from model.network.sam2 import Sam2
from model.prompts import PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.session import VideoSession
from model.weights.checkpoint import load_model
from tests.reference.bounds import EXACT
from tests.reference.mini import click_on, square_clip
from tests.support.sessions import EncodingOnce

pytestmark = pytest.mark.slow

FRAMES = 6
FIRST, SECOND = 1, 2  # object ids

Logits = dict[tuple[int, int], torch.Tensor]


@functools.cache
def mini() -> Sam2:
    """In float64 and with memories that are not rounded, so that rounding decides nothing."""
    network = load_model("mini", dtype=torch.float64)
    network.memory_dtype = torch.float64
    return EncodingOnce(network)


def new_session() -> VideoSession:
    return VideoSession(mini(), ArrayFrames(square_clip("drifting", FRAMES).frames_THW3))


def click(session: VideoSession, object_id: int, frame: int, *, offset: float = 0.0) -> None:
    x, y = click_on(square_clip("drifting", FRAMES).mask(object_id, frame))
    session.add_prompt(object_id, frame, PointPrompt(((x + offset, y + offset),), (1,)))


def propagate(session: VideoSession, direction: str = "forward") -> Logits:
    """Logits by object and frame; each must come once."""
    logits: Logits = {}
    for result in session.propagate(direction):
        for object_id, logits_HW in zip(result.object_ids, result.logits_BHW, strict=True):
            assert (object_id, result.frame_index) not in logits
            logits[object_id, result.frame_index] = logits_HW.clone()
    return logits


def largest_gap(a: Logits, b: Logits, object_id: int) -> float:
    keys = [key for key in a if key[0] == object_id]
    assert keys == [key for key in b if key[0] == object_id]
    return max(float((a[key] - b[key]).abs().max()) for key in keys)


def same_but_for_rounding(a: Logits, b: Logits, object_id: int) -> bool:
    """As between implementations: batches change the last bits and nothing else."""
    deviation = min(float(logits.std()) for (key, _), logits in b.items() if key == object_id)
    return largest_gap(a, b, object_id) <= EXACT * deviation


def test_row_1_every_prompt_counts_whenever_it_was_added() -> None:
    once, twice, turned = new_session(), new_session(), new_session()
    click(once, FIRST, 0)
    for session, frames in ((twice, (0, 4)), (turned, (4, 0))):
        for frame in frames:
            click(session, FIRST, frame, offset=9.0 if frame == 4 else 0.0)
    first, second = propagate(once), propagate(twice)
    assert not torch.equal(first[FIRST, 4], second[FIRST, 4])
    assert not torch.equal(first[FIRST, 1], second[FIRST, 1]), "a later prompt is memory for earlier frames, too"
    assert largest_gap(propagate(turned), second, FIRST) == 0


def test_row_2_an_object_starts_at_its_first_prompt() -> None:
    session = new_session()
    click(session, FIRST, 0)
    click(session, SECOND, 3)
    assert [frame for object_id, frame in propagate(session) if object_id == SECOND] == [3, 4, 5]


def test_row_4_objects_keep_their_direction() -> None:
    together, alone = new_session(), new_session()
    click(together, FIRST, 1)
    for session in (together, alone):
        click(session, SECOND, 5)
    assert same_but_for_rounding(propagate(together, "backward"), propagate(alone, "backward"), SECOND)


def test_row_5_a_prompt_leaves_the_memories_of_other_objects_alone() -> None:
    together, alone = new_session(), new_session()
    for session in (together, alone):
        click(session, FIRST, 0)
    click(together, SECOND, 2)
    assert same_but_for_rounding(propagate(together), propagate(alone), FIRST)


def test_row_7_an_object_is_the_same_alone_and_beside_one_with_more_points() -> None:
    clip = square_clip("drifting", FRAMES)
    (x0, y0), (x1, y1) = click_on(clip.mask(FIRST, 0)), click_on(clip.mask(SECOND, 0))
    together, alone = new_session(), new_session()
    together.add_prompt(FIRST, 0, PointPrompt(((x0, y0), (x0 + 8, y0), (x1, y1)), (1, 1, 0)))
    for session in (together, alone):
        click(session, SECOND, 0)
    assert same_but_for_rounding(propagate(together), propagate(alone), SECOND)


def test_row_8_objects_can_be_added_one_after_the_other() -> None:
    together, alone = new_session(), new_session()
    for session in (together, alone):
        click(session, FIRST, 0)
    click(together, SECOND, 0)
    logits = propagate(together)
    assert {object_id for object_id, _ in logits} == {FIRST, SECOND}
    assert same_but_for_rounding(logits, propagate(alone), FIRST)
