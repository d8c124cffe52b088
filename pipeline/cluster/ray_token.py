"""The token by which the processes of a Ray of this machine know one another, where Ray cannot keep one.

Ray 2.52 and later writes it to `~/.ray` and does not start where that fails. Containers often run as a user without an
account, whose home is `/` or is not there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_TOKEN = "RAY_AUTH_TOKEN"  # Ray's processes inherit it from the one that starts them
_SETTINGS = (_TOKEN, "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")


@contextlib.contextmanager
def token_of_a_local_ray() -> Iterator[None]:
    """Gives Ray a token while it starts, unless the environment says something about tokens or Ray can keep its own."""
    if any(name in os.environ for name in _SETTINGS) or _can_keep_one():
        yield
        return
    os.environ[_TOKEN] = secrets.token_hex(32)
    try:
        yield
    finally:
        os.environ.pop(_TOKEN, None)


def _can_keep_one() -> bool:
    try:
        token = Path.home() / ".ray" / "auth_token"
        if token.exists():
            return os.access(token, os.R_OK)
        token.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home at all
        return False
    return os.access(token.parent, os.W_OK)
