"""How far a command is, in a log and on a terminal."""

from __future__ import annotations

import io

from pipeline.text import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_10_seconds_with_the_time_that_is_left() -> None:
    now, log = [0.0], io.StringIO()
    line = ProgressLine(50, "video", num_done=10, stream=log, clock=lambda: now[0])
    for _ in range(20):
        now[0] += 1.0
        line.advance(1)
    line.close()
    assert log.getvalue().splitlines() == ["20 of 50 videos · 0:00:30 left", "30 of 50 videos · 0:00:20 left"]


def test_what_has_no_end_that_is_known_is_counted() -> None:
    now, log = [0.0], io.StringIO()
    line = ProgressLine(None, "label", stream=log, clock=lambda: now[0])
    for _ in range(20):
        now[0] += 1.0
        line.advance(500)
    line.close()
    assert log.getvalue().splitlines() == ["5000 labels", "10000 labels"]


def test_a_message_takes_the_place_of_the_line_on_a_terminal() -> None:
    now, terminal, log = [0.0], Terminal(), io.StringIO()
    for stream in (terminal, log):
        line = ProgressLine(4, "video", stream=stream, clock=lambda: now[0])
        now[0] += 2.0
        line.advance(1)
        line.clear()
    assert terminal.getvalue().endswith("left\r\x1b[K")
    assert log.getvalue() == ""


def test_a_terminal_has_one_line_that_is_rewritten_each_second() -> None:
    now, terminal = [0.0], Terminal()
    line = ProgressLine(4, "video", stream=terminal, clock=lambda: now[0])
    for step in (0.4, 0.4, 0.4, 0.4):
        now[0] += step
        line.advance(1)
    line.close()
    assert terminal.getvalue() == "\r\x1b[K3 of 4 videos · 0:00:00 left\n"
