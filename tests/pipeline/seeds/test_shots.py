"""Shots: which frames lie in one, where hard cuts are found, and that a search begins anew in each."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model import ArrayFrames
from pipeline.config.compose import job_config
from pipeline.driver.job import open_job
from pipeline.errors import ConfigError
from pipeline.records import FramePosition
from pipeline.seeds.cuts import find_cuts
from pipeline.seeds.discovery import Discovered, Discovery, DiscoveryRules
from pipeline.seeds.shots import ShotFrames, Shots
from pipeline.seeds.walk import at_times
from tests.pipeline.seeds.test_discovery import block, found


class Frames(ArrayFrames):
    """Ten frames, 0.2 s apart."""

    num_frames: int | None = 10

    def __init__(self) -> None:
        super().__init__(np.zeros((10, 8, 8, 3), np.uint8))

    def locate(self, position: FramePosition) -> int | None:
        return position.frame_index

    def absence(self, position: FramePosition) -> str:
        return ""

    def position(self, index: int) -> FramePosition:
        return FramePosition(index, 0.2 * index)


@pytest.mark.parametrize(("cut", "first"), [(0.6, 3), (0.51, 3), (0.69, 3), (0.71, 4), (0.49, 2)])
def test_a_shot_begins_with_the_frame_that_is_nearest_to_its_time(cut: float, first: int) -> None:
    shots = Shots((cut,), 0.2)
    assert [shots.shot_of(FramePosition(index, 0.2 * index)) for index in range(10)] == [0] * first + [1] * (10 - first)
    assert shots.shot_of(FramePosition(3, None)) == 0


@pytest.mark.parametrize(("cut", "first"), [(0.198, 6), (0.19, 6), (0.18, 5), (3.33, 11), (2.0, 11), (0.0, 0)])
def test_a_shot_begins_there_also_where_frames_do_not_come_at_the_rate_of_the_file(cut: float, first: int) -> None:
    """Eleven frames 33 ms apart, 3 s of nothing, and nine more: 6 frames a second on average."""
    times = [*(0.033 * index for index in range(11)), *(3.33 + 0.033 * index for index in range(9))]
    gaps = [math.inf, *np.diff(times).tolist(), math.inf]
    shots = Shots((cut,), 1 / 6, lambda index: (gaps[index], gaps[index + 1]))
    numbers = [shots.shot_of(FramePosition(index, at)) for index, at in enumerate(times)]
    assert numbers == [0] * first + [1] * (20 - first)


def test_frames_of_a_shot_end_where_it_does_in_both_directions_and_keep_their_indexes() -> None:
    middle = ShotFrames(Frames(), Shots((0.6, 1.4), 0.2), 1)
    assert [frame.index for frame in middle.forward(4)] == [4, 5, 6]
    assert [frame.index for frame in middle.backward(5)] == [4, 3]
    assert [frame.index for frame in middle.forward(2)] == [3, 4, 5, 6]
    assert [frame.index for frame in middle.backward(9)] == [6, 5, 4, 3]
    assert [frame.index for frame in ShotFrames(Frames(), Shots((0.6,), 0.2), 1).forward(8)] == [8, 9]


def test_what_decodes_ahead_is_stopped_at_the_end_of_a_shot() -> None:
    class Ahead(Frames):
        is_stopped = False

        def forward(self, start: int) -> Iterator[object]:  # type: ignore[override]
            try:
                yield from super().forward(start)
            finally:
                self.is_stopped = True

    frames = Ahead()
    assert len(list(ShotFrames(frames, Shots((0.6,), 0.2), 0).forward(0))) == 3
    assert frames.is_stopped


def test_each_shot_begins_with_a_key_frame_and_counts_from_there() -> None:
    is_key = at_times(lambda index: float(index), 4.0, lambda index: int(index >= 6))
    assert [index for index in range(13) if is_key(index)] == [0, 4, 6, 10]


def test_ids_and_the_bound_on_objects_go_on_in_the_next_shot_and_its_only_look_suffices() -> None:
    first = Discovery(DiscoveryRules(max_objects=3))
    first.look(0, [found(0, 0, 20, 20), found(50, 0, 20, 20)], {})
    first.look(8, [found(0, 0, 20, 20)], {1: block(0, 0, 20, 20), 2: block(50, 0, 20, 20)})
    ended = [first.end()]
    second = first.next_shot()
    second.look(9, [found(0, 0, 20, 20), found(50, 0, 20, 20), found(30, 30, 20, 20)], {})
    video = Discovered.of_shots([*ended, second.end()])
    assert [(one.object_id, one.frame_index) for one in video.objects] == [(1, 0), (3, 9), (4, 9)]
    assert (video.num_unconfirmed, video.num_left_out, video.num_looks) == (1, 1, 3)


@pytest.mark.slow
def test_a_hard_cut_is_found_where_the_picture_changes_and_a_pan_is_none() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (40, 120, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    pan = [wide[:, 2 * number : 2 * number + 480] for number in range(12)]
    other = [255 - wide[:, :480] for _ in range(12)]
    times = [None if number == 30 else number / 10 for number in range(24)]
    assert find_cuts(zip(times, [*pan, *other], strict=True)) == (1.2,)
    assert find_cuts((None, picture) for picture in [*pan, *other]) == ()


def test_without_the_library_a_job_that_detects_cuts_is_refused_before_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    words = [f"videos={tmp_path / 'videos'}", f"output={tmp_path / 'out'}", "shots=detect"]
    with pytest.raises(ConfigError, match=r'shots=detect needs PySceneDetect: pip install "maskmill\[shots\]"'):
        open_job(job_config("discover", words))
