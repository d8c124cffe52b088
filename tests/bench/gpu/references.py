"""Ours, `sam2` and `transformers` on the same frames and weights in turn, with full memory.

`sam2` runs under autocast as its documentation has it, once as it is and once with `vos_optimized`, which compiles for
minutes and is therefore asked for by `--vos`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.bench.frames import FULL
from tests.bench.gpu.subjects import SIDE_OF_MINI, Options, spec
from tests.bench.implementations import Setting
from tests.bench.runners import Runner, pt_shapes
from tests.reference.cases import FramesSpec

_OBJECTS = (1, 4, 16)
_WARM_UP, _TIMED, _ROUNDS = 4, 12, 2


def references(options: Options) -> Iterator[dict[str, Any]]:
    """A row for each size and number of objects: frames a second of each, and ours against the fastest other."""
    objects = (1,) if options.quick else _OBJECTS
    return (_in_turn(options, size, num_objects) for size in options.sizes for num_objects in objects)


def _in_turn(options: Options, size: str, num_objects: int) -> dict[str, Any]:
    setting = _setting(options, size, num_objects)
    # sam2 cannot run mini.
    names = ["ours", "transformers", *(["sam2"] if setting.model else []), *(["sam2 vos"] if options.with_vos else [])]
    row: dict[str, Any] = {"size": size, "objects": num_objects}
    found: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            try:
                found[name] = _rate(options, stack.enter_context(Runner(name, setting)))
            except RuntimeError as error:
                row[f"{name} failed"] = str(error)[-300:]
    others = [rate for name, rate in found.items() if name != "ours"]
    if "ours" in found and others:
        row["ratio"] = found["ours"] / max(others)
    return row | {"frames_per_second": found}


def _rate(options: Options, runner: Runner) -> float:
    """Frames a second with full memory: the best of two spans, neither of which waits between its frames."""
    warm_up, timed = (1, 2) if options.quick else (_WARM_UP, _TIMED)
    runner.step()
    runner.step()
    runner.fill(FULL)
    runner.span(warm_up)
    return timed / min(runner.span(timed) for _ in range(_ROUNDS))


def _setting(options: Options, size: str, num_objects: int) -> Setting:
    model = None if size == "mini" else spec(size, options.image_size)
    dtype = "bfloat16" if options.is_gpu else "float32"
    clip = FramesSpec(
        FULL + _WARM_UP + _ROUNDS * _TIMED + 8, SIDE_OF_MINI if size == "mini" else options.image_size, num_images=3
    )
    return Setting(model, clip, num_objects, dtype, 1, pt_shapes(model) if model else {}, options.device)
