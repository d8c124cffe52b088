"""What a GPU would feel of a frame with full memory, counted on shapes: operations, waits of the host, FLOPs.

The network runs on the meta device, where nothing is computed and any look at a value is an error, with the GPU's
rows of the kernel table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from model.network.config import Sam2Config, named_config
from model.network.features import ImageFeatures, MemoryTokens, Segmentation
from model.network.kernels import as_on, frames_per_batch, objects_per_batch
from model.network.sam2 import Sam2
from model.pixels.transfers import Download, download, upload
from model.pixels.transforms import normalize
from model.prompts import BoxPrompt, PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.prompting import Query, segment_prompts
from model.tracking.session import VideoSession
from model.tracking.steps import advance
from model.weights.checkpoint import load_model
from pipeline.masks.from_logits_gpu import pack_runs
from pipeline.output.mask_rows import MaskRows
from pipeline.worker.mask_encoder import MaskEncoder
from tests.pipeline.worker.test_labeler import SIZE_HW, Frames
from tests.reference.flops import NUM_MEMORIES, NUM_POINTERS, frame_flops, object_flops
from tests.support.sessions import small

pytestmark = pytest.mark.slow

# Operations that only look at a tensor in another way, or that only reserve memory: no kernel is launched for them.
VIEWS = {
    "_reshape_alias", "_unsafe_view", "alias", "as_strided", "detach", "empty", "empty_like", "empty_strided", "expand",
    "new_empty", "permute", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind",
    "unfold", "unsqueeze", "view", "view_as_complex", "view_as_real", "lift_fresh", "chunk",
}  # fmt: skip
# Operations that make the host wait for the device.
WAITS = {"_local_scalar_dense", "nonzero", "item", "is_nonzero", "equal", "masked_select", "unique"}


# One kernel each on a GPU, though on the meta device they would be taken apart.
FUSED = {"scaled_dot_product_attention", "upsample_bilinear2d"}


class Count(TorchDispatchMode):
    """Counts the operations that launch a kernel, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name not in FUSED:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:  # made of others, which were counted
                return parts
        if name in WAITS or _copies_and_waits(name, args, kwargs):
            self.waits[name] += 1
        if name not in VIEWS:
            self.launched[name] += 1
        made = func(*args, **kwargs)
        # CUDA's kernels write what is attended with the heads innermost, so that merging the heads is a view.
        return made.transpose(1, 2).contiguous().transpose(1, 2) if name == "scaled_dot_product_attention" else made


def _copies_and_waits(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation copies between the host and the device (here: meta) and does not ask not to block."""
    if name == "_to_copy":
        source, target = args[0].device, kwargs.get("device") or args[0].device
        return torch.device(target).type != source.type and not kwargs.get("non_blocking")
    if name == "copy_":
        return args[0].device.type != args[1].device.type and not (kwargs.get("non_blocking") or args[2:3] == (True,))
    return False


@pytest.fixture
def no_waiting_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.tensor(values, device=…)` waits for the device, and no dispatch mode sees it."""
    plain = torch.tensor

    def checked(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        assert device is None or torch.device(device).type == "cpu", "use model.transfers.on_device"
        return plain(*args, **kwargs)

    monkeypatch.setattr(torch, "tensor", checked)


@pytest.fixture(scope="module")
def tiny() -> Sam2:
    with torch.device("meta"):
        model = Sam2(named_config("tiny")).to(torch.bfloat16)
    with as_on("cuda"):  # what is computed once is not part of a frame
        _frame(model, 1)
    return model


@pytest.fixture(autouse=True)
def _gpu_rows() -> Iterator[None]:
    with as_on("cuda"):
        yield


def _remembered(config: Sam2Config, num_objects: int) -> list[MemoryTokens]:
    """A full memory: one prompted frame far back, six tracked ones, all pointers."""
    length = config.grid_size**2
    spatial = [torch.empty(length, config.memory_dim, dtype=torch.bfloat16, device="meta") for _ in range(NUM_MEMORIES)]
    pointers = [torch.empty(1, config.hidden_dim, dtype=torch.bfloat16, device="meta") for _ in range(NUM_POINTERS)]
    rows, distances = (6, 5, 4, 3, 2, 1, 0), (40, *range(1, NUM_POINTERS))
    return [MemoryTokens(tuple(spatial), rows, tuple(pointers), distances, 15) for _ in range(num_objects)]


def _encode(model: Sam2, num_frames: int = 1) -> ImageFeatures:
    """From the pixels that a helper thread has resized on the host."""
    size = model.config.image_size
    pixels = [torch.empty(size, size, 3, dtype=torch.uint8, device="meta")] * num_frames
    return model.encode_image(normalize(upload(pixels, model.device), model.device, model.dtype, model.channel_levels))


def _track(model: Sam2, features: ImageFeatures, num_objects: int) -> Segmentation:
    batch = features.for_objects([0] * num_objects)
    segmentation = model.segment(batch, memory=model.memory_tokens(_remembered(model.config, num_objects)))
    model.remember(batch, segmentation, binarize=False)
    return segmentation


def _frame(model: Sam2, num_objects: int) -> Download:
    """All of a frame on the device: from resized pixels to the runs of the masks, on their way to the host."""
    return _masks(_track(model, _encode(model), num_objects))


def _masks(segmentation: Segmentation) -> Download:
    """The runs of the masks, on their way to the host."""
    scores, ious = segmentation.object_scores_B, segmentation.predicted_ious_B
    pointers = segmentation.pointers_BC
    along = [pointers, *torch.empty_like(pointers).split(1)]  # as many come from the memories of prompted frames
    return download(pack_runs(segmentation.logits_BHW, scores, ious, (1080, 1920), along=along))


@pytest.mark.usefixtures("no_waiting_constants")
@pytest.mark.parametrize("num_objects", [1, 4, 16])
def test_a_frame_with_full_memory_takes_few_operations(tiny: Sam2, num_objects: int) -> None:
    """At most 220 for a tracked frame, whatever the number of objects; the encoder serves eight frames at a time."""
    with torch.inference_mode(), Count() as encoding:
        features = _encode(tiny, 8)
    with torch.inference_mode(), Count() as tracking:
        _masks(_track(tiny, features.frame(3), num_objects))
    assert 100 < sum(encoding.launched.values()) <= 200, encoding.launched.most_common(12)
    assert 100 < sum(tracking.launched.values()) <= 220, tracking.launched.most_common(12)
    assert not encoding.waits + tracking.waits


@pytest.mark.usefixtures("no_waiting_constants")
def test_clicks_boxes_and_corrections_do_not_make_the_host_wait_either(tiny: Sam2) -> None:
    prompts = (PointPrompt(((5.0, 6.0),), (1,)), BoxPrompt((1.0, 2.0, 30.0, 40.0)))
    features = _encode(tiny)
    prior = torch.empty(1, tiny.config.mask_size, tiny.config.mask_size, device="meta")
    with torch.inference_mode(), Count() as count:
        for prompt in prompts:
            segment_prompts(tiny, features, [Query(prompt, (64, 96))])
            segment_prompts(tiny, features, [Query(prompt, (64, 96), 0, _remembered(tiny.config, 1)[0], prior)])
    assert not count.waits


@pytest.mark.usefixtures("no_waiting_constants")
def test_a_labeled_video_has_one_transfer_for_each_frame_and_waits_for_nothing_else() -> None:
    """From the session through the masks' runs to the rows; the copies begin in the thread that counts."""
    copied = []

    def begin_copy(packed: torch.Tensor) -> Download:
        copied.append(packed)
        return download(packed)

    network = Sam2(small().config)  # `small` itself would not encode equal frames again
    network.load_state_dict(small().state_dict())
    session, rows = VideoSession(network, Frames()), MaskRows("v", SIZE_HW)
    for object_id, frame_index in ((1, 0), (2, 0), (3, 2)):
        session.add_prompt(object_id, frame_index, BoxPrompt((1.0, 1.0, 20.0, 20.0)))
    with (
        torch.inference_mode(),
        MaskEncoder(Frames(), rows, begin_copy=begin_copy) as encoder,
        Count() as count,
    ):
        for result in session.propagate("forward"):
            encoder.put(result)
        encoder.finish()
    assert rows.table().num_rows == 10 + 10 + 8
    assert len(copied) == 10
    assert count.launched["nonzero_static"] == 10
    assert not count.waits


def test_a_session_never_makes_the_host_wait_between_frames() -> None:
    """Masks, scores and memories of tracked frames are made without a look at any of them."""
    model = load_model("mini")
    session = VideoSession(model, ArrayFrames(torch.zeros(6, 64, 96, 3, dtype=torch.uint8)))
    for object_id in range(3):
        session.add_prompt(object_id, 0, PointPrompt(((20.0 + object_id, 30.0),), (1,)))
    totals = []
    for step in session.walk("forward"):
        with torch.inference_mode(), Count() as count:
            advance([step])
        totals.append(sum(count.launched.values()))
        assert not count.waits, (step.frame.index, count.waits)
    assert totals[0] == 0 or totals[0] < 10  # the prompted frame was segmented before the walk
    assert max(totals) <= 360  # the encoder takes each frame by itself


def test_flops_of_a_frame_are_those_on_paper(tiny: Sam2) -> None:
    with FlopCounterMode(display=False) as counter:
        features = _encode(tiny)
    assert counter.get_total_flops() == pytest.approx(frame_flops(tiny.config), rel=0.05)
    for num_objects in (1, 4):
        with FlopCounterMode(display=False) as counter:
            _track(tiny, features, num_objects)
        assert counter.get_total_flops() == pytest.approx(
            num_objects * object_flops(tiny.config, narrow_values=False), rel=0.05
        )


def test_the_table_bounds_a_batch() -> None:
    cuda = torch.device("cuda")
    assert (objects_per_batch(cuda, 64**2), frames_per_batch(cuda, 64**2)) == (32, 8)
    with as_on("cpu"):
        cpu = torch.device("cpu")
        assert (objects_per_batch(cpu, 64**2), objects_per_batch(cpu, 16**2), frames_per_batch(cpu, 64**2)) == (
            1,
            16,
            1,
        )
