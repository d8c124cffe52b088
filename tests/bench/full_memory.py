"""A session whose memory is full after two frames, so that no bench has to track sixteen before it measures."""

from __future__ import annotations

from model.tracking.memory_bank import FORWARD, Memory
from model.tracking.session import VideoSession
from model.tracking.state import Position


def fill_memory(session: VideoSession, stop: int) -> None:
    """Behave from now on as if frames 2 … `stop` - 1 had been tracked: copies of the memory of frame 1 stand for them.

    Frames 0 and 1 must have been tracked forward. The memory is full from frame 16 on.
    """
    for tracked in session.objects.values():
        spatial, pointer = tracked.bank.tracked[1], tracked.bank.pointers[1]
        for index in range(2, stop):
            tracked.bank.add_tracked(Memory(index, spatial.clone(), pointer.clone()), FORWARD)
        tracked.upcoming = (FORWARD, stop)
    session.state.position = Position("forward", "forward", stop)
