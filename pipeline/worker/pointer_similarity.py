"""How much an object still looks like what was prompted, as the network sees it: the cosine of its object pointers.

Pointers come to the host in the buffer that a frame has anyway, and are compared there. On a GPU the masks' runs take
all operations that a frame may have, and a pointer is half a kilobyte.

Legend: B objects, P of them with a prompt to compare with, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model import FrameResult
from pipeline.masks.from_logits_gpu import unpack_along


def pointers_to_pack(result: FrameResult) -> list[torch.Tensor]:
    """What travels along with a frame's runs, on the device: the objects' pointers, then those of their prompts."""
    known = _at_prompts(result)
    return [result.pointers.here_BC, *known] if result.pointers and known else []


def similarities(
    result: FrameResult, object_scores: Sequence[float], packed: torch.Tensor | None = None
) -> list[float | None]:
    """The cosine for each object, -1 … 1; None for one that is prompted on this frame, or that the model does not see.

    `packed` is the frame's buffer, on the host, that `pointers_to_pack` went into; None: the result is on the host.
    """
    parts = pointers_to_pack(result)
    if not parts or result.pointers is None:
        return [None] * len(result.object_ids)
    num_objects, num_channels = result.pointers.here_BC.shape
    if packed is None:
        here_BC, there_PC = parts[0], torch.cat(parts[1:])
    else:
        rows = num_objects + len(parts) - 1
        both = unpack_along(packed, (rows, num_channels), result.pointers.here_BC.dtype)
        here_BC, there_PC = both[:num_objects], both[num_objects:]
    is_known = [one is not None for one in result.pointers.at_prompts]
    # By numpy, whose calls take a third of the time of torch's on so few numbers.
    here, there = here_BC.float().numpy(), there_PC.float().numpy()
    here = here if all(is_known) else here[is_known]
    lengths = np.sqrt(np.einsum("pc,pc->p", here, here) * np.einsum("pc,pc->p", there, there))
    cosines = iter((np.einsum("pc,pc->p", here, there) / np.maximum(lengths, 1e-12)).tolist())
    values = [next(cosines) if known else None for known in is_known]
    return [value if score > 0 else None for value, score in zip(values, object_scores, strict=True)]


def _at_prompts(result: FrameResult) -> list[torch.Tensor]:
    return [one for one in result.pointers.at_prompts if one is not None] if result.pointers else []
