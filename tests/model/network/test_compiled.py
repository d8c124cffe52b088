"""Compiled or recorded components give the same masks, are made before the first video, and never again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from weakref import WeakSet

import pytest
import torch
from torch import Tensor

from model.network.compiled import CompiledRegions, CudaGraphs, compile_model, warm_up
from model.network.config import named_config
from model.network.kernels import attention
from model.network.regions import Outputs
from model.network.sam2 import Sam2
from model.prompts import BoxPrompt, PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.session import VideoSession
from model.tracking.steps import advance
from model.weights.checkpoint import load_model
from tests.support.pretended_gpu import pretended_gpu
from tests.support.sessions import LAST_BITS, Logits, by_object, click, clip, frames_of, gap, small, small_exact

NUM_FRAMES = 20  # all sizes of a filling memory, and three frames with a full one


@pytest.fixture(autouse=True)
def _no_code_of_others() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _copy(network: Sam2) -> Sam2:
    """The same network, which knows no results of others."""
    copied = Sam2(network.config).to(network.dtype)
    copied.memory_dtype = network.memory_dtype
    copied.load_state_dict(network.state_dict())
    return copied


def _regions(model: Sam2) -> CompiledRegions:
    assert isinstance(model.regions, CompiledRegions)
    return model.regions


def _track(model: Sam2, num_frames: int = NUM_FRAMES) -> Logits:
    """Object 1 from the start with a late prompt, object 2 from the third frame on."""
    video = clip(num_frames)
    session = VideoSession(model, frames_of(video), encode_ahead=8)
    for object_id, frame_index in ((1, 0), (2, 1), (1, max(num_frames - 4, 2))):
        session.add_prompt(object_id, frame_index, click(video, object_id, frame_index))
    return by_object(session.propagate("forward"))


class Recorded:
    """Records as a CUDA graph does: what it computes comes out of the same tensors in, into the same tensors out."""

    def __init__(self) -> None:
        self.num_recorded = 0
        self.num_replayed = 0

    def __call__(self, run: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        outputs = run()
        self.num_recorded += 1

        def replay() -> None:
            self.num_replayed += 1
            for output, value in zip(outputs, run(), strict=True):
                output.copy_(value)

        for output in outputs:
            output.fill_(torch.nan)  # nothing is there before it is replayed
        return replay, outputs


@pytest.mark.slow
@pytest.mark.parametrize(("is_compiled", "num_frames"), [(False, NUM_FRAMES), (True, 3)])
def test_masks_are_those_of_the_network_as_it_is(is_compiled: bool, num_frames: int) -> None:
    """In float64, so that rounding decides nothing. Memories are filled up. What is compiled is recorded as well."""
    capture = Recorded()
    model = compile_model(_copy(small_exact()), backend="eager" if is_compiled else None, capture=capture)
    truth = _track(_copy(small_exact()), num_frames)
    assert gap(truth, _track(model, num_frames)) <= LAST_BITS
    assert any((logits > 0).any() for logits in truth.values())
    counts = _regions(model).counts
    assert set(counts.made) == {"encode", "attend", "decode", "memorize"}
    assert not counts.remade
    assert not counts.plain
    assert capture.num_recorded == counts.made.total()
    assert capture.num_replayed > 2 * num_frames


def _tiny() -> Sam2:
    """The real trunk, all twelve blocks of tiny, at a small picture; one layer of memory attention instead of four."""
    torch.manual_seed(0)
    config = named_config("tiny", image_size=64)
    model = Sam2(replace(config, memory=replace(config.memory, attention_layers=1)))
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    return model


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_after_the_warm_up_nothing_is_compiled_and_nothing_runs_uncompiled() -> None:
    """Real trunk, one object and then two, prompted early and late, encoded one by one and eight at a time."""
    num_compiled = 0

    def backend(graph: torch.fx.GraphModule, example_inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal num_compiled
        num_compiled += 1
        return graph.forward

    model = compile_model(_tiny(), backend=backend)
    regions = _regions(model)
    done = warm_up(model, 1e9, max_objects=2)
    assert done.num_done == done.num_calls
    made = regions.counts.made.copy()
    # Attention: 1 and 2 objects with eight shapes of memory.
    assert made == {"encode": 2, "attend": 16, "decode": 2, "memorize": 2}
    assert num_compiled == made.total()  # each as a whole, in one graph
    frames = torch.randint(0, 255, (20, 64, 96, 3), dtype=torch.uint8)
    for num_objects, encode_ahead in ((1, 8), (2, 1)):
        session = VideoSession(model, ArrayFrames(frames), encode_ahead=encode_ahead)
        for object_id in range(num_objects):
            session.add_prompt(object_id, 0, PointPrompt(((40.0 + object_id, 30.0), (50.0, 34.0)), (1, 1)))
            session.add_prompt(object_id, 18, BoxPrompt((5.0, 5.0, 30.0, 30.0)))
        assert len(list(session.propagate("forward"))) == 20
    assert num_compiled == made.total()
    assert regions.counts.made == made
    assert not regions.counts.remade
    assert not regions.counts.plain


@pytest.mark.slow
def test_what_the_warm_up_has_no_time_for_runs_uncompiled_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    model = compile_model(_copy(small()), backend="eager")
    done = warm_up(model, 0.0)
    assert (done.num_done, str(done)) == (
        0,
        f"compiled for 0 of {done.num_calls} shapes in 0 s, its time limit; the others run uncompiled",
    )
    _track(model, 6)
    assert not _regions(model).counts.made
    assert set(_regions(model).counts.plain) == {"encode", "attend", "decode", "memorize"}
    messages = [record.getMessage() for record in caplog.records]
    assert sum("region attend runs uncompiled" in message for message in messages) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_after_the_warm_up_nothing_is_recorded() -> None:
    """To record takes a GPU as long as hundreds of frames, and all else waits meanwhile."""
    capture = Recorded()
    model = compile_model(_copy(small()), backend=None, capture=capture)
    warm_up(model, 1e9, max_objects=2)
    num_recorded = capture.num_recorded
    _track(model)
    _track(model, 6)
    assert capture.num_recorded == num_recorded
    assert not _regions(model).counts.plain


class RecordedOnASmallDevice(Recorded):
    """Finds no memory for another recording after some of them."""

    def __call__(self, run: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        if self.num_recorded == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().__call__(run)


@pytest.mark.slow
def test_shapes_for_which_the_device_has_no_memory_run_uncompiled_and_the_model_starts() -> None:
    model = compile_model(_copy(small()), backend=None, capture=RecordedOnASmallDevice())
    done = warm_up(model, 1e9)
    assert 0 < done.num_done < done.num_calls
    assert f"compiled for {done.num_done} of {done.num_calls} shapes" in str(done)
    assert str(done).endswith("s, where the device has no memory left; the others run uncompiled")
    _track(model, 6)
    assert _regions(model).counts.plain, "nothing more is recorded"


@pytest.mark.slow
def test_videos_that_share_a_batch_find_their_shapes_made_as_well() -> None:
    model = compile_model(_copy(small()), backend=None, capture=Recorded())
    warm_up(model, 1e9, max_objects=2, share_batches=True)
    sessions = [VideoSession(model, frames_of(clip(3))) for _ in range(2)]
    for session in sessions:
        session.add_prompt(1, 0, click(clip(3), 1, 0))
    for steps in zip(*(session.walk("forward") for session in sessions), strict=True):
        advance(steps)
    # Frames of two videos, encoded together, are filled up to eight.
    assert not _regions(model).counts.plain


@pytest.mark.slow
def test_weights_that_changed_are_recorded_anew() -> None:
    model = compile_model(_copy(small()), backend=None, capture=Recorded())
    before = _track(model, 3)
    other = {name: tensor * 1.05 for name, tensor in small().state_dict().items()}
    model.load_state_dict(other)
    plain = Sam2(small().config)
    plain.load_state_dict(other)
    assert gap(_track(plain, 3), _track(model, 3)) <= 1e-4
    assert gap(before, _track(plain, 3)) > 1e-2


@pytest.mark.slow
def test_graphs_are_recorded_on_the_card_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another card a graph would record nothing, and give at each replay what it gave before."""
    cards: list[torch.device] = []

    class Current(Recorded):
        def __call__(self, run: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
            assert current == [torch.device("cuda:0")]
            return super().__call__(run)

    current: list[torch.device] = []

    @contextmanager
    def on(device: torch.device) -> Iterator[None]:
        current.append(device)
        cards.append(device)
        yield
        current.pop()

    capture = Current()
    with pretended_gpu():
        monkeypatch.setattr(torch.cuda, "device", on)
        model = compile_model(_copy(small()).to("cuda"), backend=None, capture=capture)
        _track(model, 3)
    assert len(cards) == capture.num_recorded > 3


class RecordingCard:
    """Stands for `torch.cuda` while graphs are recorded: which streams and pools it is asked for.

    As torch does, it refuses a pool that all graphs have left.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.used: list[object] = []
        self._in_pools: dict[object, WeakSet[object]] = {}
        card = self

        class Stream:
            def wait_stream(self, other: object) -> None:
                pass

        class Graph:
            def replay(self) -> None:
                pass

        @contextmanager
        def on(stream: object) -> Iterator[None]:
            card.used.append(stream)
            yield

        @contextmanager
        def recording(graph: Graph, pool: object, stream: object = None, **_: object) -> Iterator[None]:
            card.used.append(stream)
            graphs = card._in_pools.setdefault(pool, WeakSet())
            assert graphs or not hasattr(graphs, "was_used"), "use_count > 0 INTERNAL ASSERT FAILED"
            graphs.was_used = True  # type: ignore[attr-defined]
            graphs.add(graph)
            yield

        replaced = {"Stream": Stream, "CUDAGraph": Graph, "stream": on, "graph": recording}
        for name, value in (replaced | {"current_stream": Stream, "graph_pool_handle": object}).items():
            patch.setattr(torch.cuda, name, value)

    @property
    def num_pools(self) -> int:
        return len(self._in_pools)


def test_graphs_are_tried_and_recorded_on_one_stream_and_share_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    card, capture = RecordingCard(monkeypatch), CudaGraphs()
    kept = [capture(lambda: (torch.zeros(1),)) for _ in range(3)]
    assert len(kept) == 3
    assert len(card.used) == 6
    assert len(set(map(id, card.used))) == 1
    assert card.num_pools == 1


def test_after_the_last_graph_is_gone_another_one_can_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a network was moved: all that was recorded is dropped."""
    card, capture = RecordingCard(monkeypatch), CudaGraphs()
    for _ in range(2):
        capture(lambda: (torch.zeros(1),))
    assert card.num_pools == 2


@pytest.mark.slow
def test_only_a_model_that_is_compiled_is_warmed_up() -> None:
    with pytest.raises(ValueError, match="compile_model"):
        warm_up(_copy(small()), 1.0)
    with pytest.raises(ValueError, match="backend, a capture or both"):
        compile_model(_copy(small()), backend=None)


@pytest.mark.slow
@pytest.mark.parametrize(("num_keys", "dtype"), [(512, torch.float32), (512, torch.bfloat16), (8, torch.bfloat16)])
def test_attention_compiles_for_many_keys_and_in_16_bits(num_keys: int, dtype: torch.dtype) -> None:
    """What it computes by follows the processor, which a compiler cannot ask for."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, rows, 16, generator=generator).to(dtype) for rows in (4, num_keys, num_keys))
    made = torch.compile(attention, backend="eager", fullgraph=True)
    assert (made(q, k, v) - attention(q, k, v)).abs().max() <= (1e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs a C++ compiler")
@pytest.mark.timeout(900)
def test_code_of_inductor_gives_the_same_values() -> None:
    """The memory encoder alone, because compiling takes long; how regions are put together is shown above."""
    plain, model = _copy(small()), compile_model(_copy(small()))
    features = plain.encode_image(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    segmentation = plain.segment(features)
    one, other = (network.remember(features, segmentation, binarize=False).float() for network in (plain, model))
    assert one.std() > 0
    assert (one - other).abs().max() <= 1e-2 * one.std()  # kept in bfloat16
    assert _regions(model).counts.made == {"memorize": 1}


@pytest.mark.slow
def test_compiling_keeps_the_names_of_the_weights() -> None:
    model = load_model("mini")
    names = list(model.state_dict())
    assert list(compile_model(model).state_dict()) == names
