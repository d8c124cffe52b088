"""How good the tracks are at which nobody looked: a random few of them are checked, and an interval is told."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Float64Array

_Z = 1.959964  # 95 %


def lots(video_ids: Iterable[str], object_ids: Iterable[int], seed: int) -> Float64Array:
    """A number from 0 to 1 for each track, by a hash: the same in each run, and as good as drawn by lot."""
    drawn = [
        int.from_bytes(hashlib.blake2b(f"{seed}\0{object_id}\0{video_id}".encode(), digest_size=8).digest())
        for video_id, object_id in zip(video_ids, object_ids, strict=True)
    ]
    return np.array(drawn, np.float64) / 2**64


@dataclass(frozen=True)
class Rate:
    """A share that was seen in a sample: `num_bad` of `num`, with the bounds of 95 % by Wilson's score interval."""

    num_bad: int
    num: int

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest share that the sample speaks for (Wilson, 1927); 0 and 1 without a sample."""
        if not self.num:
            return 0.0, 1.0
        share, z2 = self.num_bad / self.num, _Z * _Z
        middle = (share + z2 / (2 * self.num)) / (1 + z2 / self.num)
        half = _Z / (1 + z2 / self.num) * math.sqrt(share * (1 - share) / self.num + z2 / (4 * self.num**2))
        return max(0.0, middle - half), min(1.0, middle + half)


NO_SAMPLE = Rate(0, 0)
