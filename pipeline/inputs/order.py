"""The order in which videos are dispatched: in windows of about 1024 videos, the longest first within a window.

Videos of one place (one tar, or one row group of `bytes`) stay together, because a worker reads a place forward once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.arrays import Float64Array, Int64Array


def windows(places: Int64Array, size: int) -> Iterator[Int64Array]:
    """`N` videos in groups of about `size`, in their order. Videos of one place are in one group.

    `places` are numbered 0, 1, 2 … in order of their first video. A group holds indexes into `places`.
    """
    if not len(places):
        return
    num_in_place = np.bincount(places)
    window_of_video = ((np.cumsum(num_in_place) - num_in_place) // size)[places]
    order = np.argsort(window_of_video, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(window_of_video[order])) + 1)


def long_first(places: Int64Array, seconds: Float64Array) -> Int64Array:
    """An order of `N` videos in which places with longer videos come first, so that no long video is left for the end.

    Videos of one place stay together, in the order in which they are given.
    """
    _, places = np.unique(places, return_inverse=True)
    longest = np.zeros(places.max(initial=-1) + 1)
    np.maximum.at(longest, places, seconds)
    return np.asarray(np.lexsort((places, -longest[places])))
