"""One process for each implementation, which takes one step when it is told to.

In processes of their own peak memory belongs to one implementation, and importing `sam2` sets up Hydra for good.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from unittest import mock

import torch

from model.pixels.transforms import upsample_logits
from tests.bench.implementations import IMPLEMENTATIONS, Implementation, Setting, Shapes
from tests.bench.measure import held_bytes, measured, peak_mib, reset_peak
from tests.reference.sam2_runner import Sam2Process
from tests.reference.variants import ModelSpec


@dataclass(frozen=True)
class Frame:
    """One frame of one implementation.

    `part_seconds` are the seconds inside its parts; `memory_tokens` are the lengths of memory that its memory attention
    saw and `num_attended` for how many objects; `peak_mib` is the process's peak since the model was loaded, `held_mib`
    what is remembered of all objects after the frame, `kept_mib` how much more each further frame takes; `coverage` is
    the share of the frame that each mask covers.
    """

    seconds: float
    cpu_seconds: float
    part_seconds: dict[str, float]
    memory_tokens: tuple[int, ...]
    num_attended: int
    peak_mib: float
    held_mib: float
    kept_mib: float
    coverage: tuple[float, ...]


class Runner:
    """The process of one implementation; its model is loaded when `prompt` is called first."""

    def __init__(self, name: str, setting: Setting) -> None:
        self.name = name
        self.next_index = 0
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, setting, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(("stop", 0))
        # Whoever was interrupted has no time left, and the process may be at work for minutes.
        self._process.join(30 if error_type is None else 1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def step(self) -> Frame:
        """Frame 0 with its prompts, or the next frame."""
        frame: Frame = self._ask("prompt" if self.next_index == 0 else "track", self.next_index)
        self.next_index += 1
        return frame

    def restart(self) -> None:
        """The next step is frame 0 again, with nothing remembered."""
        self.next_index = 0

    def fill(self, stop: int) -> None:
        """Behaves from now on as if frames 2 … `stop` - 1 had been tracked; see `Implementation.fill`."""
        assert self.next_index == 2
        self._ask("fill", stop)
        self.next_index = stop

    def span(self, num_frames: int) -> float:
        """Seconds of the next frames together; the host waits for the device only at their end."""
        seconds: float = self._ask("span", (self.next_index, num_frames))
        self.next_index += num_frames
        return seconds

    def _ask(self, order: str, argument: Any) -> Any:
        try:
            self._pipe.send((order, argument))
            answer = self._pipe.recv()
        except (EOFError, OSError):  # it read to the end, or died with an order unread
            self._process.join(5)
            raise RuntimeError(f"the process of {self.name} is gone ({self._process.exitcode})") from None
        if isinstance(answer, str):
            raise RuntimeError(f"{self.name}: {answer}")
        return answer


@functools.cache
def pt_shapes(model: ModelSpec) -> Shapes:
    """Names and shapes of the original checkpoint's tensors, from `sam2` in a process of its own."""
    process = Sam2Process()
    try:
        return process.layout(model.sam2_config_name)
    finally:
        process.close()


def _serve(name: str, setting: Setting, pipe: Any) -> None:
    torch.set_num_threads(setting.threads)
    warnings.filterwarnings("ignore")
    order, argument = pipe.recv()
    if order == "stop":
        return
    try:
        implementation: Implementation = IMPLEMENTATIONS[name](setting)
        watch = _Watch(implementation)
        reset_peak()
        with torch.inference_mode(), implementation.regime():
            while order != "stop":
                pipe.send(_obey(setting, implementation, watch, order, argument))
                order, argument = pipe.recv()
    except Exception as error:
        pipe.send(repr(error))


def _obey(setting: Setting, implementation: Implementation, watch: _Watch, order: str, argument: Any) -> Any:
    if order == "fill":
        implementation.fill(argument)
        return None
    if order == "span":
        return _span(setting, implementation, *argument)
    with watch.frame(), measured() as span:
        logits_BHW = implementation.prompt() if order == "prompt" else implementation.track(argument)
        _synchronize(setting)
    return Frame(
        seconds=span.seconds,
        cpu_seconds=span.cpu_seconds,
        part_seconds=dict(watch.part_seconds),
        memory_tokens=tuple(sorted({tokens for tokens, _ in watch.memory_shapes})),
        num_attended=sum(objects for _, objects in watch.memory_shapes),
        peak_mib=peak_mib(),
        held_mib=held_bytes(implementation.state()) / (1 << 20),
        kept_mib=implementation.kept_bytes_per_frame() / (1 << 20),
        coverage=_coverage(logits_BHW, setting.frames.image_size),
    )


def _span(setting: Setting, implementation: Implementation, start: int, num_frames: int) -> float:
    _synchronize(setting)
    with measured() as span:
        for index in range(start, start + num_frames):
            implementation.track(index)
        _synchronize(setting)
    return span.seconds


def _synchronize(setting: Setting) -> None:
    if setting.device == "cuda":
        torch.cuda.synchronize()


def _coverage(logits_BHW: torch.Tensor, size: int) -> tuple[float, ...]:
    """Share of the frame that each mask covers, at the size of the frame (sam2 enlarges its masks by itself)."""
    masks_BHW = upsample_logits(logits_BHW, (size, size)) > 0
    return tuple(masks_BHW.float().mean(dim=(1, 2)).tolist())


class _Watch:
    """Sees from outside how long the parts of a frame take, and how much memory is looked at."""

    def __init__(self, implementation: Implementation) -> None:
        self._parts = implementation.parts
        self.part_seconds: defaultdict[str, float] = defaultdict(float)
        self.memory_shapes: list[tuple[int, int]] = []

        def note(_: object, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self.memory_shapes.append(implementation.memory_shape(arguments, keywords))

        implementation.memory_attention.register_forward_pre_hook(note, with_kwargs=True)

    @contextlib.contextmanager
    def frame(self) -> Iterator[None]:
        """Begins anew and watches what runs inside."""
        self.part_seconds.clear()
        self.memory_shapes.clear()
        with contextlib.ExitStack() as stack:
            for part, (owner, attribute) in self._parts.items():
                timed = self._timed(part, getattr(owner, attribute))
                stack.enter_context(mock.patch.object(owner, attribute, timed))
            yield

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                self.part_seconds[part] += time.perf_counter() - started

        return run
