"""One digest for the pixels of a frame, whoever makes it: the job, an export, or somebody who opens the file later."""

from __future__ import annotations

import hashlib

import numpy as np

from pipeline.arrays import UInt8Array


def frame_digest(pixels_HW3: UInt8Array) -> str:
    """SHA-256 of a frame, in hex: of its bytes, RGB, row by row, upright and at the size of the video."""
    return hashlib.sha256(np.ascontiguousarray(pixels_HW3).data).hexdigest()
