"""`label_steps` with cuts: a session that takes what its frames give says where each object was followed to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from model import BoxPrompt, FrameResult, FrameSource, Prompt
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts
from pipeline.records import FramePosition
from pipeline.seeds.shots import Shots
from pipeline.worker.labeler import LabelOptions, Labels, Steps, label_steps
from tests.pipeline.seeds.test_shots import Frames


class Session:
    """Follows an object through all frames that its source gives; steps are results."""

    def __init__(self, frames: FrameSource) -> None:
        self.frames = frames
        self.prompts: dict[int, int] = {}

    def add_prompt(self, object_id: int, frame_index: int, prompt: Prompt) -> None:
        self.prompts.setdefault(object_id, frame_index)

    def walk(self, direction: str, *, resume: bool = False) -> Iterator[FrameResult]:
        first = min(self.prompts.values())
        ways = {"forward": [self.frames.forward(first)], "backward": [self.frames.backward(first + 1)]}
        for frames in ways.get(direction) or [self.frames.forward(first), self.frames.backward(first)]:
            for frame in frames:
                ids = tuple(self.prompts)
                ones = torch.ones(len(ids))
                yield FrameResult(frame.index, ids, torch.ones(len(ids), 8, 8), ones, ones, (False,) * len(ids), (8, 8))


def taken(steps: Steps[Labels]) -> Labels:
    answer: FrameResult | bool | None = None
    while True:
        try:
            step: object = steps.send(answer)
        except StopIteration as end:
            labels: Labels = end.value
            return labels
        answer = step if isinstance(step, FrameResult) else True


@pytest.mark.parametrize(
    ("direction", "rows"),
    [
        ("forward", {1: [1, 2, 7, 8, 9], 2: [4, 5, 6]}),
        ("backward", {1: [0, 1, 7], 2: [3, 4]}),
        ("both", {1: [0, 1, 2, 7, 8, 9], 2: [3, 4, 5, 6]}),
    ],
)
def test_an_object_is_followed_in_the_shots_that_have_a_prompt_of_it(
    direction: str, rows: dict[int, list[int]]
) -> None:
    box = BoxPrompt((1.0, 1.0, 5.0, 5.0))
    objects = [
        ObjectPrompts(1, None, ((FramePosition(1, None), box), (FramePosition(7, None), box))),
        ObjectPrompts(2, None, ((FramePosition(4, None), box),)),
    ]
    options = LabelOptions(direction, shots=Shots((0.6, 1.4), 0.2))
    labels = taken(label_steps(Session, "v", VideoPrompts(tuple(objects)), Frames(), options))
    found = labels.masks.select(["object_id", "frame_index"]).to_pylist()
    assert [(row["object_id"], row["frame_index"]) for row in found] == [(one, n) for one in rows for n in rows[one]]
    assert labels.expected_masks == len(found)
    assert labels.num_frames == len({row["frame_index"] for row in found})


def test_rows_are_in_order_where_an_object_is_followed_from_the_middle_of_a_later_shot() -> None:
    box = BoxPrompt((1.0, 1.0, 5.0, 5.0))
    one = ObjectPrompts(1, None, ((FramePosition(0, None), box), (FramePosition(8, None), box)))
    options = LabelOptions("both", shots=Shots((0.6, 1.4), 0.2), cuts={1: [(9, None)]})
    labels = taken(label_steps(Session, "v", VideoPrompts((one,)), Frames(), options))
    assert labels.masks["frame_index"].to_pylist() == [0, 1, 2, 7, 8]
    assert labels.expected_masks == 5
