"""Whole components compiled, or recorded as CUDA graphs, from outside: without it nothing of the network changes.

There are four regions: image encoder, memory attention, mask decoder and memory encoder, each as a whole and for a few
shapes (`model.network.padding`). What a region gives is copied before the next call of a graph writes over it, so that
regions may feed one another and features may be kept. Only tracked frames go this way. Prompted ones are few and of
many shapes. Masks are the same up to rounding, not to the bit.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor

from model.network.features import ImageFeatures, MemoryTokens
from model.network.padding import FILLING, FRAMES, FULL, OBJECTS
from model.network.regions import Constants, Outputs, Region
from model.network.sam2 import Sam2

_log = logging.getLogger(__name__)

Backend = Callable[..., Any]
Key = tuple[object, ...]


class Capture(Protocol):
    """Records what a function computes, to do it again with other values in the same input tensors."""

    def __call__(self, run: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        """What does it again, and the tensors that it writes each time."""


class CudaGraphs:
    """Records CUDA graphs. They share one pool of memory, because only one of them runs at a time.

    They are tried and recorded on one stream. cuBLAS keeps a workspace for each stream that it has seen, 32 MiB on a
    Hopper, and one that it first needs in a recording would lie in the pool and keep it for ever.
    """

    def __init__(self) -> None:
        self._pool: Any = None
        self._graphs: WeakSet[Any] = WeakSet()
        self._stream: Any = None

    def __call__(self, run: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        if not self._graphs:  # torch gives a pool up with the last graph in it, and raises if it is asked for again
            self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
        stream = self._stream
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries choose their kernels and workspaces at the first calls
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Helper threads copy meanwhile, which must not end the recording.
        with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
            outputs = run()
        self._graphs.add(graph)
        return graph.replay, outputs


@dataclass
class RegionCounts:
    """What `CompiledRegions` did, by the name of the region.

    `made` counts shapes that were compiled or recorded, `remade` those for which torch compiled once more, and `plain`
    the calls that ran uncompiled, because their shape is none of those made.
    """

    made: Counter[str] = field(default_factory=Counter)
    remade: Counter[str] = field(default_factory=Counter)
    plain: Counter[str] = field(default_factory=Counter)


class CompiledRegions:
    """Runs regions compiled by a backend of `torch.compile`, or recorded by `capture`, or both.

    A shape is made when it first comes, until `seal`: from then on a new shape runs as it is, so that no video waits
    for a compiler.
    """

    def __init__(self, backend: str | Backend | None, capture: Capture | None) -> None:
        self._backend: Backend | None = torch._dynamo.lookup_backend(backend) if isinstance(backend, str) else backend
        self._capture = capture
        self._made: dict[Key, _Made] = {}
        self._is_sealed = False
        self.counts = RegionCounts()

    def run(self, region: Region, constants: Constants, *inputs: Tensor | int | None) -> Outputs:
        """See `model.network.regions.Regions`."""
        name = region.__name__.removeprefix("_")
        key = (name, *((x.shape, x.dtype) if isinstance(x, Tensor) else x for x in inputs))
        made = self._made.get(key)
        if made is None or not made.fits(constants):
            if self._is_sealed and made is None:
                self._tell_once(self.counts.plain, name, f"runs uncompiled for {_shapes(inputs)}")
                return region(constants, *inputs)
            made = self._made[key] = self._make(name, region, constants, inputs)
        return made(inputs)

    def seal(self) -> None:
        """From now on no further shape is made."""
        self._is_sealed = True

    def forget(self) -> None:
        """See `model.network.regions.Regions`."""
        self._made.clear()

    def _make(self, name: str, region: Region, constants: Constants, inputs: tuple[Tensor | int | None, ...]) -> _Made:
        self.counts.made[name] += 1
        run = region
        if self._backend is not None:
            # A copy of the code for each shape: torch gives a function up that it has compiled for too many.
            run = torch.compile(_copy_of(region), backend=self._counting(name), fullgraph=True, dynamic=False)
        return _Made(run, constants, inputs, self._capture)

    def _counting(self, name: str) -> Backend:
        """The backend for one shape, which counts when it is asked a second time."""
        num_calls = 0

        def compile_counted(graph: torch.fx.GraphModule, example_inputs: list[Any]) -> Any:
            nonlocal num_calls
            num_calls += 1
            if num_calls > 1:
                self._tell_once(self.counts.remade, name, "was compiled again for the same shape")
            assert self._backend is not None
            return self._backend(graph, example_inputs)

        return compile_counted

    def _tell_once(self, counter: Counter[str], name: str, what: str) -> None:
        counter[name] += 1
        if counter[name] == 1:
            _log.warning("the network's region %s %s", name, what)


class _Made:
    """One region for one shape. Its inputs have the strides of the first ones, which compiled code is made for."""

    def __init__(
        self, run: Region, constants: Constants, inputs: tuple[Tensor | int | None, ...], capture: Capture | None
    ) -> None:
        self._run, self._constants = run, constants
        self._strides = [x.stride() if isinstance(x, Tensor) else None for x in inputs]
        self._static: tuple[Tensor | int | None, ...] = ()
        self._replay: Callable[[], None] | None = None
        if capture is not None:
            self._static = tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)
            with _card_of(inputs):
                self._replay, self._outputs = capture(lambda: run(constants, *self._static))

    def fits(self, constants: Constants) -> bool:
        """Whether it was made with these constants. Compiled code takes others too, a recorded graph does not."""
        if self._replay is None:
            self._constants = constants
            return True
        return _are_same(self._constants, constants)

    def __call__(self, inputs: tuple[Tensor | int | None, ...]) -> Outputs:
        if self._replay is None:
            laid_out = [x if s is None else _with_strides(x, s) for x, s in zip(inputs, self._strides, strict=True)]
            return self._run(self._constants, *laid_out)
        targets = [x for x in self._static if isinstance(x, Tensor)]
        torch._foreach_copy_(targets, [x for x in inputs if isinstance(x, Tensor)])
        self._replay()
        return tuple(output.clone() for output in self._outputs)


def _card_of(inputs: tuple[Tensor | int | None, ...]) -> AbstractContextManager[object]:
    """Makes the GPU of these tensors the current one: only what runs there is recorded. Nothing changes on a CPU."""
    device = next(x.device for x in inputs if isinstance(x, Tensor))
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _are_same(one: object, other: object) -> bool:
    """Whether these are the same objects, or tuples and lists of the same ones: the network packs those anew."""
    if one is other or not isinstance(one, tuple | list) or not isinstance(other, tuple | list):
        return one is other
    return len(one) == len(other) and all(map(_are_same, one, other))


def _with_strides(x: Tensor | int | None, strides: tuple[int, ...]) -> Tensor:
    assert isinstance(x, Tensor)
    if x.stride() == strides:
        return x
    return torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)


def _copy_of(region: Region) -> Region:
    """The same method with code of its own."""
    assert isinstance(region, MethodType)
    plain = region.__func__
    assert isinstance(plain, FunctionType)
    copied = FunctionType(
        plain.__code__.replace(), plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__
    )
    return MethodType(copied, region.__self__)


def _shapes(inputs: tuple[Tensor | int | None, ...]) -> str:
    return ", ".join(str(list(x.shape)) for x in inputs if isinstance(x, Tensor))


def compile_model(model: Sam2, backend: str | Backend | None = "inductor", capture: Capture | None = None) -> Sam2:
    """Has the model's components compiled by a backend of `torch.compile`, or recorded by `capture` (`CudaGraphs()`).

    Each shape is made when it first comes, or by `warm_up`. With `backend=None` nothing is compiled, only recorded.
    Changes and returns the same model. Load and move the weights before.
    """
    if backend is None and capture is None:
        raise ValueError("compile_model needs a backend, a capture or both: there is nothing to do without them")
    model.regions = CompiledRegions(backend, capture)
    return model


@dataclass(frozen=True)
class WarmUp:
    """How far `warm_up` came: calls of the network, of all that it would have made, and in words what ended it."""

    num_done: int
    num_calls: int
    seconds: float
    ended_by: str = "its time limit"

    def __str__(self) -> str:
        if self.num_done == self.num_calls:
            return f"compiled for {self.num_done} shapes in {self.seconds:.0f} s"
        return (
            f"compiled for {self.num_done} of {self.num_calls} shapes in {self.seconds:.0f} s, {self.ended_by}; "
            "the others run uncompiled"
        )


@torch.inference_mode()
def warm_up(model: Sam2, max_seconds: float, *, max_objects: int | None = None, share_batches: bool = False) -> WarmUp:
    """Makes every shape of a compiled model that tracked frames have, the commonest first, and no further ones later.

    No new shape is begun after `max_seconds`, nor for more than `max_objects` in a batch, nor when one has found no
    memory: what is recorded keeps its own, and later shapes are larger. `share_batches`: objects of several videos
    share batches. Raises `ValueError` for a model that is not compiled.
    """
    regions = model.regions
    if not isinstance(regions, CompiledRegions):
        raise ValueError("warm_up is for a model that compile_model returned")
    started = time.monotonic()
    limit = min(model.objects_per_batch, max_objects or OBJECTS[-1])
    calls = list(_calls(model, limit, share_batches))
    num_done, ended_by = 0, WarmUp.ended_by
    for call in calls:
        if time.monotonic() - started >= max_seconds:
            break
        try:
            call()
        except torch.OutOfMemoryError:
            ended_by = "where the device has no memory left"
            break
        num_done += 1
    regions.seal()
    return WarmUp(num_done, len(calls), time.monotonic() - started, ended_by)


def _calls(model: Sam2, limit: int, share_batches: bool) -> Iterator[Callable[[], object]]:
    """Calls of the network with made-up values, one for each shape of a tracked frame."""
    size, frames = model.config.image_size, dict[int, ImageFeatures]()

    def encode(count: int) -> None:
        frames[count] = model.encode_image(torch.zeros(count, 3, size, size, device=model.device, dtype=model.dtype))

    def track(count: int, shape: tuple[int, int], rows: int) -> None:
        features = frames[1]
        if rows > 1:
            features = ImageFeatures.stack([features, features]).for_objects([index % 2 for index in range(rows)])
        segmentation = model.segment(features, memory=model.memory_tokens([_memory(model, shape)] * count))
        model.remember(features, segmentation, binarize=False)

    for count in FRAMES:
        yield lambda count=count: encode(count)  # type: ignore[misc]
    for count in (count for count in OBJECTS if count <= limit):
        # Full memories have no mask. A memory that fills one of these shapes only in part has one.
        shapes = [FULL[0], *((memories - 1, pointers) for memories, pointers in FILLING), *FULL[1:]]
        for rows in (1, count) if share_batches and count > 1 else (1,):
            for shape in shapes:
                yield lambda c=count, s=shape, r=rows: track(c, s, r)  # type: ignore[misc]


def _memory(model: Sam2, shape: tuple[int, int]) -> MemoryTokens:
    config, device = model.config, model.device
    spatial = torch.zeros(config.grid_size**2, config.memory_dim, device=device, dtype=model.memory_dtype)
    pointer = torch.zeros(1, config.hidden_dim, device=device, dtype=model.dtype)
    num_memories, num_pointers = shape
    rows, distances = (0,) * num_memories, tuple(range(1, num_pointers + 1))
    return MemoryTokens((spatial,) * num_memories, rows, (pointer,) * num_pointers, distances, config.max_pointers - 1)
