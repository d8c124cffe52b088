"""What the machine leaves possible: the matrix products of a frame at the best rate that it reaches."""

from __future__ import annotations

import time

import torch

from model.network.config import named_config
from model.network.kernels import linear
from tests.bench.implementations import Setting
from tests.reference.flops import frame_flops, object_flops

# A layer of the trunk's third stage, whose products are the largest of the network's.
_ROWS, _INPUT, _OUTPUT = 4096, 1536, 384


def products_alone(setting: Setting) -> dict[str, float]:
    """Products of a frame with full memory, in 10⁹ operations, and the seconds that they alone would take here."""
    assert setting.model is not None
    config = named_config(setting.model.size, image_size=setting.model.image_size)
    gflop = (frame_flops(config) + setting.num_objects * object_flops(config, narrow_values=True)) / 1e9
    rate = product_rate(setting.torch_dtype)
    return {"gflop": gflop, "gflop_per_second": rate, "seconds": gflop / rate}


def product_rate(dtype: torch.dtype, rounds: int = 20) -> float:
    """The best rate of a large product, in 10⁹ operations a second, with torch's threads."""
    x, weight = torch.randn(_ROWS, _INPUT).to(dtype), torch.randn(_OUTPUT, _INPUT).to(dtype)
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        linear(x, weight)
        seconds.append(time.perf_counter() - started)
    return 2 * _ROWS * _INPUT * _OUTPUT / min(seconds) / 1e9
