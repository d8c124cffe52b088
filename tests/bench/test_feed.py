"""The bench of feeding a device, in small: the real worker and a device with a clock of its own."""

from __future__ import annotations

import pytest

from tests.bench.feed import QUICK, feed
from tests.support.fake_device import FakeDevice


class Clock:
    """Time that passes when somebody sleeps."""

    now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_fake_device_works_in_order_and_the_host_waits_only_for_results() -> None:
    import torch

    clock = Clock()
    device = FakeDevice(lambda: clock.now, clock.sleep)
    device.launch(2.0)
    first = device.download(torch.zeros(1))
    device.launch(3.0)
    second = device.download(torch.ones(1))
    assert (clock.now, first.is_done()) == (100.0, False)
    assert first.result().item() == 0
    assert (clock.now, first.is_done(), second.is_done()) == (102.0, True, False)
    assert second.result().item() == 1
    assert clock.now == 105.0
    clock.sleep(5.0)
    device.launch(1.0)
    assert (device.busy_seconds, device.free_at) == (6.0, 111.0)


@pytest.mark.slow
def test_every_video_is_labeled_on_a_fake_device_and_its_work_is_counted() -> None:
    found = feed(QUICK, rounds=1)
    for row in found["in flight"].values():
        seconds = QUICK.total_frames / row["frames_per_second"]
        # 4 ms a frame, and the prompted frame of each video once more.
        least = 0.004 * QUICK.total_frames + 0.001 * QUICK.num_videos
        assert row["busy"] * seconds >= least * 0.9
        assert row["busy"] <= 1.0
        assert row["copied_frames"] == 0, "each frame waits in pinned memory"
    assert found["ratio"] > 0
    steps = {name: found["alone"][name] for name in ("decode", "rgb", "resize", "copy")}
    assert min(steps.values()) > 0
    assert found["alone"]["all"] == pytest.approx(sum(steps.values()))
    assert found["most_busy"] <= 1
