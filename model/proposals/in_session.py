"""Proposals on a frame of a session, whose features are computed once for both."""

from __future__ import annotations

import torch

from model.proposals.everything import UInt8Array, propose
from model.proposals.found import FoundMask
from model.proposals.options import Everything
from model.tracking.frames import Frame
from model.tracking.session import VideoSession


@torch.inference_mode()
def propose_on(
    session: VideoSession, frame: Frame, options: Everything, image_HW3: UInt8Array | None = None
) -> list[FoundMask]:
    """Masks of everything on a frame of the session's video, at the size of the video, the best first.

    A session that keeps features (`num_cached_frames` of 1) encodes the frame once for this and for its objects. Crops
    are cut from `image_HW3`, the frame at the size of the video: without it grids on crops raise `ValueError`.
    """
    network, features = session.model, session.state.features.of(frame)
    still = network.prepare_still((features.stride4, features.stride8, network.without_memory(features.stride16)))
    return propose(network, still, session.frames.size_hw, options, image_HW3)
