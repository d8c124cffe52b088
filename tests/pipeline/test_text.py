"""Text on the standard output."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import os
from pipeline.text import say
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(reader)
say("nobody reads this")
say("nor this")
"""


def test_a_reader_that_has_gone_is_no_error() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
