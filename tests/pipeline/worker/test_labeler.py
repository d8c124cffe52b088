"""One video to rows, with a session that keeps the contract and a mask that can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from pycocotools import mask as coco

from model import ArrayFrames, BoxPrompt, FrameResult, FrameSource, PointPrompt, Prompt
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts
from pipeline.output.saved_sessions import SavedVideo
from pipeline.output.schema import MASKS, TRACKS
from pipeline.records import FramePosition
from pipeline.worker.labeler import LabelOptions, Labels, Saving, failed_tracks, label_steps

SIZE_HW = (32, 48)
NUM_FRAMES = 10


class Frames(ArrayFrames):
    """Ten frames, of which every second of a longer video is labeled: label 3 is frame 6 at 0.6 s."""

    num_frames: int | None = NUM_FRAMES

    def __init__(self) -> None:
        super().__init__(np.zeros((NUM_FRAMES, *SIZE_HW, 3), np.uint8))

    def locate(self, position: FramePosition) -> int | None:
        frame = position.frame_index if position.frame_index is not None else round((position.pts_seconds or 0) * 10)
        return frame // 2 if frame < 2 * NUM_FRAMES else None

    def absence(self, position: FramePosition) -> str:
        return "the video ends before it" if position.frame_index is not None else "the video has no frame then"

    def position(self, index: int) -> FramePosition:
        return FramePosition(2 * index, 0.2 * index)


class BoxSession:
    """Follows objects by calling the left half of the frame theirs, except on label 4, where they are hidden.

    Its steps are the results themselves.
    """

    made: ClassVar[list[BoxSession]] = []

    def __init__(self, frames: FrameSource) -> None:
        self.prompts: dict[int, dict[int, Prompt]] = {}
        BoxSession.made.append(self)

    def add_prompt(self, object_id: int, frame_index: int, prompt: Prompt) -> None:
        self.prompts.setdefault(object_id, {})[frame_index] = prompt

    def walk(self, direction: str, *, resume: bool = False) -> Iterator[FrameResult]:
        assert not resume
        first = {object_id: min(prompts) for object_id, prompts in self.prompts.items()}
        last = {object_id: max(prompts) for object_id, prompts in self.prompts.items()}
        for index in range(NUM_FRAMES):
            if direction != "backward":
                yield from self._result(index, [one for one in first if first[one] <= index])
        for index in reversed(range(NUM_FRAMES)):
            if direction == "backward":
                yield from self._result(index, [one for one in last if index <= last[one]])
            if direction == "both":
                yield from self._result(index, [one for one in first if index < first[one]])

    def _result(self, index: int, object_ids: Sequence[int]) -> Iterator[FrameResult]:
        if not object_ids:
            return
        logits_BHW = torch.full((len(object_ids), 16, 16), -5.0)
        if index != 4:
            logits_BHW[:, :, :8] = 5.0
        scores_B = torch.tensor([float(object_id) for object_id in object_ids])
        is_prompt = tuple(index in self.prompts[object_id] for object_id in object_ids)
        yield FrameResult(index, tuple(object_ids), logits_BHW, scores_B, scores_B / 100, is_prompt, SIZE_HW)


def box(object_id: int, *frame_indexes: int, error: str = "", category: str | None = None) -> ObjectPrompts:
    prompts = tuple((FramePosition(index, None), BoxPrompt((1.0, 1.0, 20.0, 20.0))) for index in frame_indexes)
    return ObjectPrompts(object_id, category, prompts, error)


def label(*objects: ObjectPrompts, **options: object) -> Labels:
    BoxSession.made.clear()
    return label_with(BoxSession, lambda step: step, *objects, **options)


def label_with(
    make_session: Callable[[FrameSource], Any],
    compute: Callable[[Any], Any],
    *objects: ObjectPrompts,
    saving: Saving | None = None,
    **options: Any,
) -> Labels:
    """A whole video; `compute` makes the result of a step."""
    steps = label_steps(make_session, "v", VideoPrompts(objects), Frames(), LabelOptions(**options), saving)
    try:
        step = next(steps)
        while True:
            step = steps.send(True if step is None else compute(step))
    except StopIteration as end:
        labels: Labels = end.value
        return labels


@pytest.mark.parametrize(
    ("direction", "covered"),
    [
        ("forward", {1: range(10), 2: range(3, 10)}),
        ("backward", {1: range(1), 2: range(6)}),
        ("both", {1: range(10), 2: range(10)}),
    ],
)
def test_each_object_has_a_row_for_each_frame_that_it_covers(direction: str, covered: dict[int, range]) -> None:
    labels = label(box(1, 0), box(2, 6, 10), direction=direction)
    rows = list(zip(labels.masks["object_id"].to_pylist(), labels.masks["frame_index"].to_pylist(), strict=True))
    assert rows == [(object_id, 2 * index) for object_id, indexes in covered.items() for index in indexes]
    assert labels.expected_masks == len(rows)
    assert labels.masks.schema.equals(MASKS)


def test_rows_hold_the_mask_at_the_size_of_the_video() -> None:
    rows = label(box(7, 2)).masks.to_pylist()
    visible = rows[0]
    decoded_HW = coco.decode(visible["rle"])
    assert decoded_HW.shape == SIZE_HW
    assert (decoded_HW[:, :24] == 1).all()
    assert (decoded_HW[:, 24:] == 0).all()
    assert [visible[f"bbox_{side}"] for side in "xywh"] == [0, 0, 24, 32]
    assert visible["area"] == 24 * 32
    assert visible["is_prompt"]
    assert visible["pts_seconds"] == pytest.approx(0.2)
    assert (visible["object_score"], visible["predicted_iou"]) == (7.0, pytest.approx(0.07))
    hidden = next(row for row in rows if row["frame_index"] == 8)
    assert hidden["area"] == 0
    assert not hidden["is_prompt"]


def test_tracks_summarise_their_masks() -> None:
    labels = label(box(3, 2, category="dog"))
    (track,) = labels.tracks.to_pylist()
    assert labels.tracks.schema.equals(TRACKS)
    assert (track["status"], track["category"], track["num_prompts"], track["prompt_frames"]) == ("ok", "dog", 1, [2])
    assert (track["num_masks"], track["num_visible"], track["visible_share"]) == (9, 8, pytest.approx(8 / 9))
    assert (track["first_visible_frame"], track["last_visible_frame"]) == (2, 18)
    assert (track["area_min"], track["area_mean"], track["area_max"]) == (768, 768.0, 768)
    assert track["object_score_mean"] == 3.0


def test_tracks_tell_what_speaks_against_them() -> None:
    """An object that is hidden on one frame in the middle, of which the model expects an IoU of 0.03."""
    labels = label(box(3, 2), box(5, 400))
    seen, failed = labels.tracks.to_pylist()
    assert (seen["num_flips"], seen["lost_share"], seen["area_jump"]) == (1, 0.0, 1.0)
    assert (seen["stability_p10"], seen["num_parts_max"], seen["border_share"]) == (1.0, 1, 1.0)
    assert seen["doubt"] > 0.3
    assert "low_iou" in seen["doubt_reasons"]
    assert seen["doubt_frame"] in labels.masks["frame_index"].to_pylist()
    assert {failed[name] for name in ("doubt", "doubt_reasons", "stability_p10", "num_flips")} == {None}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (box(2, 100), "object 2, frame 100: the video ends before it"),
        (
            ObjectPrompts(2, None, ((FramePosition(None, 9.0), BoxPrompt((0.0, 0.0, 5.0, 5.0))),)),
            "object 2, pts_seconds 9.0: the video has no frame then",
        ),
        (box(2, error="object 2, frame 0: box: is nonsense"), "object 2, frame 0: box: is nonsense"),
        (
            ObjectPrompts(2, None, ((FramePosition(0, None), PointPrompt(((100.0, 5.0),), (1,))),)),
            "object 2, frame 0: points: (100, 5) lies outside of the frame",
        ),
        (
            ObjectPrompts(2, None, (*box(2, 4).prompts, (FramePosition(None, 0.5), BoxPrompt((0.0, 0.0, 5.0, 5.0))))),
            "two prompts on one frame",
        ),
    ],
)
def test_a_bad_object_does_not_lose_the_others(bad: ObjectPrompts, said: str) -> None:
    labels = label(box(1, 0), bad, box(3, 2))
    assert labels.failure == ""
    assert labels.masks.num_rows == labels.expected_masks == 10 + 9
    statuses = labels.tracks.select(["object_id", "status", "num_masks"]).to_pylist()
    assert [tuple(row.values()) for row in statuses] == [(1, "ok", 10), (2, "failed", 0), (3, "ok", 9)]
    assert said in labels.tracks["message"][1].as_py()


def test_a_video_without_a_good_object_fails_with_their_messages() -> None:
    labels = label(box(1, 100), box(2, 200))
    assert "object 1, frame 100" in labels.failure
    assert "object 2, frame 200" in labels.failure
    assert labels.masks.num_rows == labels.expected_masks == 0


def test_a_clamped_box_is_a_warning_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    sticking_out = ObjectPrompts(1, None, ((FramePosition(0, None), BoxPrompt((-1.0, 0.0, 20.0, 20.0))),))
    (track,) = label(sticking_out).tracks.to_pylist()
    assert track["status"] == "ok"
    assert "clamped" in track["message"]
    assert [line for line in caplog.messages if "box" in line] == [f"video 'v', object 1, {track['message']}"]


def test_what_is_odd_about_the_rows_of_an_object_is_in_its_track_and_not_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (track,) = label(replace(box(1, 0), warning="two categories")).tracks.to_pylist()
    assert (track["status"], track["message"]) == ("ok", "two categories")
    assert not [line for line in caplog.messages if "categories" in line]


def test_an_object_that_the_model_does_not_see_at_its_prompt_is_a_warning() -> None:
    hidden, seen = label(box(1, 2, 8), box(2, 0)).tracks.to_pylist()
    assert (hidden["status"], seen["status"], seen["message"]) == ("ok", "ok", "")
    assert hidden["message"] == "frame 8: the model sees no object at the prompt; check where it is"


def test_objects_can_be_followed_a_few_at_a_time_with_the_same_rows() -> None:
    objects = [box(number, number) for number in range(1, 6)]
    together = label(*objects)
    assert len(BoxSession.made) == 1
    apart = label(*objects, max_objects=2)
    assert [len(session.prompts) for session in BoxSession.made] == [2, 2, 1]
    assert apart.masks.equals(together.masks)
    assert (apart.num_frames, apart.expected_masks) == (together.num_frames, together.expected_masks)


class Store:
    """Keeps in memory what is saved. It begins with a session of 4 frames and saves after each 3 frames."""

    def __init__(self) -> None:
        self.saved: SavedVideo | None = SavedVideo(b"4", [], 4)
        self.states: list[bytes] = []

    def load(self) -> SavedVideo | None:
        return self.saved

    def forget(self) -> None:
        self.saved = None

    def is_due(self, num_frames: int) -> bool:
        return num_frames % 3 == 0

    def save(self, state: bytes, new_rows: Sequence[pa.RecordBatch], num_frames: int) -> bool:
        self.states.append(state)
        return True


class SavedBoxSession(BoxSession):
    """A session that is saved as the number of frames that it has walked."""

    num_walked = 0

    @classmethod
    def restored(cls, state: bytes, frames: FrameSource, *objects: ObjectPrompts) -> SavedBoxSession:
        session = cls(frames)
        session.num_walked = int(state)
        for one in objects:
            for position, prompt in one.prompts:
                session.add_prompt(one.object_id, position.frame_index or 0, prompt)
        return session

    def walk(self, direction: str, *, resume: bool = False) -> Iterator[FrameResult]:
        assert resume == (self.num_walked > 0)
        for result in islice(super().walk(direction), self.num_walked, None):
            self.num_walked += 1
            yield result

    def to_bytes(self) -> bytes:
        return str(self.num_walked).encode()


def unfit(state: bytes, frames: FrameSource) -> SavedBoxSession:
    raise ValueError("it is of another model")


def test_a_saved_video_goes_on_from_its_frame_and_is_saved_again() -> None:
    store = Store()
    saving = Saving(store, SavedBoxSession, lambda *saved: SavedBoxSession.restored(*saved, box(1, 0)))
    labels = label_with(SavedBoxSession, lambda step: step, box(1, 0), saving=saving)
    assert labels.masks["frame_index"].to_pylist() == [2 * index for index in range(4, NUM_FRAMES)]
    assert store.states == [b"6", b"9"]
    assert store.saved is not None


def test_a_saved_session_that_does_not_fit_is_deleted_and_the_video_starts_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store()
    labels = label_with(SavedBoxSession, lambda step: step, box(1, 0), saving=Saving(store, SavedBoxSession, unfit))
    assert labels.masks.equals(label(box(1, 0)).masks)
    assert store.saved is None
    assert store.states == [b"3", b"6", b"9"]
    assert "video 'v' starts anew, because its saved session does not fit: it is of another model" in caplog.text


def test_a_few_objects_at_a_time_delete_what_was_saved_and_save_nothing() -> None:
    """A saved session follows all objects at once, so it fits no longer."""
    store, objects = Store(), [box(1, 0), box(2, 1)]
    saving = Saving(store, SavedBoxSession, unfit)
    apart = label_with(SavedBoxSession, lambda step: step, *objects, saving=saving, max_objects=1)
    assert apart.masks.equals(label(*objects).masks)
    assert (store.saved, store.states) == (None, [])


def test_each_step_wants_its_result_and_the_video_may_stop_anywhere() -> None:
    steps = label_steps(BoxSession, "v", VideoPrompts((box(1, 0),)), Frames(), LabelOptions())
    first = next(steps)
    second = steps.send(first)  # type: ignore[arg-type]
    assert (first.frame_index, second.frame_index) == (0, 1)  # type: ignore[attr-defined]
    steps.close()


def test_a_video_that_failed_as_a_whole_still_names_its_objects() -> None:
    rows = failed_tracks("v", VideoPrompts((box(1, 0), box(2, error="bad box"))), "no such file").to_pylist()
    assert [(row["object_id"], row["status"], row["message"]) for row in rows] == [
        (1, "failed", "no such file"),
        (2, "failed", "bad box"),
    ]
