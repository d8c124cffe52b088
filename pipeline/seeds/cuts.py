"""Hard cuts of a film, found in its pictures by PySceneDetect (`maskmill[shots]`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

import numpy as np

from pipeline.arrays import UInt8Array
from pipeline.errors import ConfigError

# Pictures are looked at with about as many pixels in a row, as PySceneDetect itself does, because a cut changes all.
_MOST_COLUMNS = 256
# Shots are at least as many frames long, because a flash changes the whole picture twice.
_LEAST_FRAMES = 5
_ANY_RATE = 24.0


def check_installed() -> None:
    """Raises `ConfigError` if PySceneDetect is not there."""
    if importlib.util.find_spec("scenedetect") is None:
        raise ConfigError('shots=detect needs PySceneDetect: pip install "maskmill[shots]"')


def find_cuts(pictures: Iterable[tuple[float | None, UInt8Array]]) -> tuple[float, ...]:
    """The times at which shots begin after the first one, of pictures with their times, RGB `[H, W, 3]`, in order.

    The rule is `ContentDetector` with its default threshold: hue, saturation and brightness change by 27 of 255 from
    one picture to the next. Dissolves and fades are no cuts. A video without times has none.
    """
    from scenedetect import FrameTimecode
    from scenedetect.detector import FlashFilter
    from scenedetect.detectors import ContentDetector

    detector = ContentDetector(min_scene_len=_LEAST_FRAMES, filter_mode=FlashFilter.Mode.SUPPRESS)
    found = []
    for number, (seconds, picture_HW3) in enumerate(pictures):
        step = max(1, picture_HW3.shape[1] // _MOST_COLUMNS)
        small_bgr = np.ascontiguousarray(picture_HW3[::step, ::step, ::-1])
        if detector.process_frame(FrameTimecode(number, _ANY_RATE), small_bgr) and seconds is not None:
            found.append(seconds)
    return tuple(found)
