"""Who reviews, where nobody has said it."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """The user of this machine; empty in a container without users."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
