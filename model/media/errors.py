"""What is wrong with a file of pictures."""

from __future__ import annotations


class MediaError(ValueError):
    """A video that cannot be read, through its own fault. The message names the file and the remedy, no secrets."""
