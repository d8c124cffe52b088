"""Whether the host ever waits for the device while objects are tracked."""

from __future__ import annotations

from typing import Any

import torch

from model.tracking.steps import advance
from tests.bench.gpu.subjects import Options, filled_session, frames


def waits(options: Options) -> dict[str, Any]:
    """Tracks frames from pinned memory with torch's watch for waits set to raise; it does not see pageable copies."""
    network, warm_up, watched = options.network(options.sizes[0]), options.frames(4), options.frames(9)
    pixels = frames(16 + warm_up + watched + 8, options.image_size, pinned=options.is_gpu)
    walk = filled_session(network, pixels, 2, options.encode_ahead).walk("forward", resume=True)
    for _ in range(warm_up):
        advance([next(walk)])
    if options.is_gpu:
        torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(watched):
            advance([next(walk)])
    finally:
        if options.is_gpu:
            torch.cuda.set_sync_debug_mode("default")
    return {"frames_without_a_wait": watched}
