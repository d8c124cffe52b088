"""What the frames of a clip cost the processor before a network gets them, each step alone and in one thread.

It says what bounds `tests.bench.feed`: cores that decode no faster than this cannot keep a faster device busy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import av
import torch

from model import resize_frame
from model.media.film_pictures import RgbConverter

T = TypeVar("T")
IMAGE_SIZE = 1024


def alone(path: Path, num_frames: int = 60, rounds: int = 3) -> dict[str, float]:
    """Milliseconds of the processor a frame, medians of several rounds: decoding, RGB, resizing, copying, and all."""
    found = [_one_round(path, num_frames) for _ in range(rounds)]
    steps = {name: statistics.median(one[name] for one in found) for name in found[0]}
    return {**steps, "all": sum(steps.values())}


def _one_round(path: Path, num_frames: int) -> dict[str, float]:
    spent = dict.fromkeys(("decode", "rgb", "resize", "copy"), 0.0)

    def timed(name: str, function: Callable[[], T]) -> T:
        started = time.thread_time()
        result = function()
        spent[name] += 1000 * (time.thread_time() - started) / num_frames
        return result

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    buffer = torch.empty((IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8)
    converter = RgbConverter(str(path))
    try:
        with av.open(str(path)) as container:
            pictures = _pictures(container)
            for _ in range(num_frames):
                picture = timed("decode", lambda: next(pictures))  # called at once
                size_hw = (picture.height, picture.width)
                pixels = timed("rgb", lambda: converter.pixels(picture, size_hw))  # noqa: B023
                small = timed("resize", lambda: resize_frame(torch.from_numpy(pixels), IMAGE_SIZE))  # noqa: B023
                timed("copy", lambda: buffer.copy_(small))  # noqa: B023
    finally:
        torch.set_num_threads(num_threads)
    return spent


def _pictures(container: Any) -> Iterator[Any]:
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    yield from container.decode(stream)
