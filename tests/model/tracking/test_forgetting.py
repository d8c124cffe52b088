"""Where somebody corrected a track that followed another thing, the walk goes on from what was corrected alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.network.features import MemoryTokens
from model.prompts import HiddenPrompt, MaskPrompt, Prompt
from model.tracking import forgetting
from model.tracking.forgetting import forget_wrong
from model.tracking.history import HistoryRule
from model.tracking.memory_bank import BACKWARD, FORWARD, MemoryBank
from model.tracking.replay import replay
from model.tracking.session import VideoSession
from model.tracking.state import SessionState
from model.tracking.steps import advance, memory_tokens_of
from tests.support.sessions import OTHER_BATCH, Logits, by_object, clip, frames_of, small

FRAMES, FIXED = 8, 4


def true_mask(object_id: int, frame_index: int) -> MaskPrompt:
    return MaskPrompt(clip(FRAMES).mask(object_id, frame_index))


def session_with(said: dict[int, dict[int, Prompt]], history: HistoryRule | None = None) -> VideoSession:
    session = VideoSession(small(), frames_of(clip(FRAMES)), history=history, num_cached_frames=FRAMES)
    for object_id, prompts in said.items():
        for frame_index, prompt in prompts.items():
            session.add_prompt(object_id, frame_index, prompt)
    return session


def walked(
    session: VideoSession, direction: str = "forward", corrected: tuple[int, ...] = ()
) -> tuple[Logits, list[int]]:
    """The masks of a walk, and which objects forgot on frame `FIXED`, where these were corrected."""
    results, forgot = [], []
    for step in session.walk(direction):
        if step.frame.index == FIXED:
            forgot += forget_wrong(step, corrected)
        results += advance([step])
    return by_object(results), forgot


def apart(first: Logits, second: Logits, key: tuple[int, int]) -> float:
    """How far the logits are apart at most. Objects that share another batch may differ in the last bits."""
    return float((first[key] - second[key]).abs().max())


def went_over(direction: str = "forward") -> dict[int, dict[int, Prompt]]:
    """A track of object 1 that should have been one of object 2, as its correction says. Object 7 is a neighbor."""
    start = 0 if direction == "forward" else FRAMES - 1
    other = {start: true_mask(2, start), FIXED: true_mask(2, FIXED)}
    return {1: {start: true_mask(1, start), FIXED: true_mask(2, FIXED)}, 7: other}


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_after_a_correction_of_a_wrong_track_the_walk_is_one_that_begins_there(direction: str) -> None:
    heading = FORWARD if direction == "forward" else BACKWARD
    found, forgot = walked(session_with(went_over(direction)), direction, (1,))
    begun = session_with(went_over(direction))
    expected = by_object(advance([step])[0] for step in begun.walk_from(FIXED, heading, fresh=True))
    kept, _ = walked(session_with(went_over(direction)), direction)
    after = range(FIXED + heading, FRAMES if heading == FORWARD else -1, heading)
    assert forgot == [1]
    for frame_index in after:
        assert apart(found, expected, (1, frame_index)) < OTHER_BATCH
        assert apart(found, kept, (7, frame_index)) < OTHER_BATCH, "the neighbor goes on as before"
        assert apart(found, kept, (1, frame_index)) > 10 * OTHER_BATCH
    for frame_index in range(FIXED - heading, 0 if heading == FORWARD else FRAMES - 1, -heading):
        assert torch.equal(found[1, frame_index], kept[1, frame_index]), "what came before is as it was"


def test_a_correction_that_says_what_the_walk_expects_takes_no_memory_away() -> None:
    said = {2: {0: true_mask(2, 0), FIXED: true_mask(2, FIXED)}}
    found, forgot = walked(session_with(said), corrected=(2,))
    kept, _ = walked(session_with(said))
    assert forgot == []
    assert all(torch.equal(found[key], kept[key]) for key in kept)


def test_what_a_walk_expects_knows_nothing_of_the_correction(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: list[set[int]] = []

    def tokens(state: SessionState, bank: MemoryBank[Tensor], frame_index: int, direction: int) -> MemoryTokens:
        remembered.append({*bank.prompted, *bank.tracked})
        return memory_tokens_of(state, bank, frame_index, direction)

    monkeypatch.setattr(forgetting, "memory_tokens_of", tokens)
    _, forgot = walked(session_with(went_over()), corrected=(1,))
    assert forgot == [1]
    assert remembered == [set(range(FIXED))]


def test_an_object_that_is_said_to_be_hidden_forgets_what_it_followed() -> None:
    hidden = HiddenPrompt.of(clip(FRAMES).masks_TBHW.shape[2:])
    _, forgot = walked(session_with({1: {0: true_mask(1, 0), FIXED: hidden}}), corrected=(1,))
    assert forgot == [1]


def test_what_begins_on_the_frame_has_nothing_to_forget() -> None:
    assert walked(session_with({1: {FIXED: true_mask(2, FIXED)}}), corrected=(1,))[1] == []


def test_a_history_replays_the_frames_after_it_without_what_was_forgotten() -> None:
    session = session_with({1: went_over()[1]}, HistoryRule(100))
    found, _ = walked(session, corrected=(1,))
    past = replay(session.state, session.objects.values(), FRAMES - 1)[1]
    assert past.logits_BHW is not None
    assert torch.equal(past.logits_BHW[0], found[1, FRAMES - 1])
    assert FIXED - 1 not in past.bank.tracked
