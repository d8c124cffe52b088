"""How the pixels that FFmpeg gives back become those that are displayed.

Legend: H, W pixels; pixels are uint8 RGB `[H, W, 3]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type as SideDataType


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become displayed ones: rows and columns swapped, then turned left-right, then upside down."""

    swap: bool
    mirror_x: bool
    mirror_y: bool

    @staticmethod
    def of(picture: av.VideoFrame) -> Orientation:
        """From the display matrix that comes with a frame. Angles are rounded to multiples of 90°."""
        try:
            side_data = cast(Any, picture.side_data)[SideDataType.DISPLAYMATRIX]  # the types of PyAV 18 do not know it
        except KeyError:
            return Orientation(False, False, False)
        except ValueError:  # beside side data of a kind that PyAV does not know (EXIF) it gives the angle only
            quarter_turns = round(picture.rotation / 90) % 4  # counterclockwise
            return Orientation(quarter_turns % 2 == 1, quarter_turns in (2, 3), quarter_turns in (1, 2))
        # Stored (x, y) is displayed at (a x + c y, b x + d y); the matrix is a b u, c d v, x y w.
        a, b, _, c, d = np.frombuffer(bytes(side_data), dtype=np.int32)[:5].tolist()
        swap = abs(b) > abs(a)
        return Orientation(swap, (c if swap else a) < 0, (b if swap else d) < 0)

    def size_hw(self, picture: av.VideoFrame) -> tuple[int, int]:
        """Height and width of a picture as displayed."""
        return (picture.width, picture.height) if self.swap else (picture.height, picture.width)

    def apply(self, pixels_HW3: UInt8Array) -> UInt8Array:
        """Pixels as displayed."""
        if self.swap:
            pixels_HW3 = pixels_HW3.swapaxes(0, 1)
        if self.mirror_x:
            pixels_HW3 = pixels_HW3[:, ::-1]
        if self.mirror_y:
            pixels_HW3 = pixels_HW3[::-1]
        return np.ascontiguousarray(pixels_HW3)


UInt8Array = npt.NDArray[np.uint8]
