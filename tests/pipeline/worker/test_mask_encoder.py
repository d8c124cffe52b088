"""Results of a session to rows: the way of a GPU gives the rows of a CPU, and copies are waited for late."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pytest
import torch

from model.network.kernels import as_on
from model.pixels.transfers import download
from model.tracking.state import FrameResult, ObjectPointers
from pipeline.errors import NotFinite
from pipeline.masks.from_logits_gpu import DEFAULT_PACKING, Packing
from pipeline.output.mask_rows import MaskRows
from pipeline.worker.mask_encoder import BeginCopy, Copying, MaskEncoder
from tests.pipeline.worker.test_labeler import NUM_FRAMES, SIZE_HW, BoxSession, Frames, box, label, label_with


def results() -> Iterator[FrameResult]:
    """Ten frames: object 1 on each of them, object 2 from frame 6 on."""
    session = BoxSession(Frames())
    for one in (box(1, 0), box(2, 6)):
        for position, prompt in one.prompts:
            session.add_prompt(one.object_id, position.frame_index or 0, prompt)
    return session.walk("forward")


def encoded(begin_copy: BeginCopy = download, packing: Packing = DEFAULT_PACKING) -> pa.Table:
    rows = MaskRows("v", SIZE_HW)
    with MaskEncoder(Frames(), rows, packing=packing, begin_copy=begin_copy) as encoder:
        for result in results():
            encoder.put(result)
        encoder.finish()
    return rows.table()


def test_rows_are_those_of_the_way_on_a_cpu() -> None:
    expected = encoded()
    num_copies = 0

    def counted(tensor: torch.Tensor) -> Copying:
        nonlocal num_copies
        num_copies += 1
        return download(tensor)

    with as_on("cuda"):
        assert encoded(counted).equals(expected)
        assert num_copies == NUM_FRAMES, "one copy for each frame, however many objects it has"
        assert encoded(packing=Packing(places_per_column=0)).equals(expected)


class SlowCopy:
    """A copy that is done when somebody waits for it, and notes who did."""

    def __init__(self, tensor: torch.Tensor, waits: list[int], number: int) -> None:
        self._tensor, self._waits, self._number = tensor, waits, number

    def is_done(self) -> bool:
        return False

    def result(self) -> torch.Tensor:
        self._waits.append(self._number)
        return self._tensor


def test_a_slow_copy_is_waited_for_some_frames_later_only() -> None:
    waits: list[int] = []
    begun: list[int] = []

    def begin(tensor: torch.Tensor) -> SlowCopy:
        begun.append(len(begun))
        assert len(begun) - len(waits) <= 5
        return SlowCopy(tensor, waits, begun[-1])

    with as_on("cuda"):
        masks = encoded(begin)
    assert masks.num_rows == NUM_FRAMES + 4
    assert waits == list(range(NUM_FRAMES))


def damaged(result: FrameResult, name: str, value: float) -> FrameResult:
    """A result with one number that is not finite, of its last object."""
    changed = getattr(result, name).clone()
    changed.view(len(changed), -1)[-1, -1] = value
    return replace(result, **{name: changed})


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("object_scores_B", math.nan),
        ("predicted_ious_B", math.inf),
        ("logits_BHW", math.nan),
        ("logits_BHW", math.inf),
        ("logits_BHW", -math.inf),
    ],
)
def test_numbers_that_are_not_finite_become_no_mask(name: str, value: float, device: str) -> None:
    """Also those of a single pixel, which no score shows."""
    rows = MaskRows("v", SIZE_HW)
    with as_on(device), MaskEncoder(Frames(), rows) as encoder:
        for result in results():
            encoder.put(damaged(result, name, value) if result.frame_index == 7 else result)
            if result.frame_index == 7:
                break
        with pytest.raises(NotFinite, match=r"^frame 14, object 2: the network's numbers are not finite"):
            encoder.finish()
    assert max(rows.table()["frame_index"].to_pylist()) == 12


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_a_video_gets_the_rows_of_a_cpu() -> None:
    def to_gpu(step: FrameResult) -> FrameResult:
        logits, scores_B, ious_B = (
            values.cuda() for values in (step.logits_BHW, step.object_scores_B, step.predicted_ious_B)
        )
        return replace(step, logits_BHW=logits, object_scores_B=scores_B, predicted_ious_B=ious_B)

    objects = (box(1, 0), box(2, 6))
    assert label_with(BoxSession, to_gpu, *objects).masks.equals(label(*objects).masks)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_rows_tell_the_stability_and_the_parts_of_their_masks(device: str) -> None:
    """Drawn: 8 logits above 1 of 12 above -1, in two blocks; nothing near 0; a mask that is nowhere."""
    logits_BHW = torch.full((3, 16, 16), -9.0)
    logits_BHW[0, 2:4, 2:4] = logits_BHW[0, 9:11, 9:11] = 9.0
    logits_BHW[0, 5, 5:9] = -0.5
    logits_BHW[1, 3:7, 3:7] = 9.0
    ones = torch.ones(3)
    rows = MaskRows("v", SIZE_HW)
    with as_on(device), MaskEncoder(Frames(), rows) as encoder:
        encoder.put(FrameResult(0, (1, 2, 3), logits_BHW, ones, ones, (False,) * 3, SIZE_HW))
        encoder.finish()
    masks = rows.table()
    assert masks["stability"].to_pylist() == [pytest.approx(8 / 12), 1.0, None]
    assert masks["num_parts"].to_pylist() == [2, 1, 0]


def pointing(degrees: float, dtype: torch.dtype) -> torch.Tensor:
    """A pointer `[1, 4]`, as long as one likes, that points so far away from the first axis."""
    angle = math.radians(degrees)
    return (3 + degrees) * torch.tensor([[math.cos(angle), 0, math.sin(angle), 0]], dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_rows_tell_how_much_objects_look_like_what_was_prompted(device: str, dtype: torch.dtype) -> None:
    """Angles between pointers; none for an object that is prompted on the frame, and none for one that is hidden."""
    here = [pointing(degrees, dtype) for degrees in (60, 0, 90, 180)]
    at_prompts = (pointing(0, dtype), None, pointing(0, dtype), pointing(45, dtype))
    pointers = ObjectPointers(torch.cat(here), at_prompts)
    scores_B = torch.tensor([4.0, 4.0, -4.0, 4.0])
    is_prompt = (False, True, False, False)
    rows = MaskRows("v", SIZE_HW)
    with as_on(device), MaskEncoder(Frames(), rows) as encoder:
        masks = torch.full((4, 16, 16), 9.0)
        encoder.put(FrameResult(0, (1, 2, 3, 4), masks, scores_B, torch.ones(4), is_prompt, SIZE_HW, pointers))
        encoder.finish()
    expected = [0.5, None, None, -(2**-0.5)]
    found = rows.table()["pointer_similarity"].to_pylist()
    assert [one is None for one in found] == [one is None for one in expected]
    assert [one for one in found if one] == pytest.approx([one for one in expected if one], abs=0.01)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_frames_without_pointers_have_rows_without_a_similarity(device: str) -> None:
    with as_on(device):
        assert encoded()["pointer_similarity"].null_count == NUM_FRAMES + 4
