"""Sessions with web servers: a request may take as long as bytes come, and ends soon where none do.

By itself aiohttp ends each request after 5 minutes, whatever has come by then: a file that takes longer would never
arrive, if its server sends no ranges. A server that says nothing would hold a request for as long.
"""

from __future__ import annotations

import asyncio
from typing import Any

_CONNECT_SECONDS = 10.0
_SILENT_SECONDS = 30.0  # half of the patience of `Backoff`, so that it is asked once more


def session_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a session of aiohttp, with a patience of ours where none is given."""
    import aiohttp  # here, because a job without web servers does without it

    patience = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
    return {"timeout": patience, **options}


async def new_session(*, loop: asyncio.AbstractEventLoop, **options: Any) -> Any:
    """A session that connects to any address (`get_client` of fsspec's file system of web servers)."""
    import aiohttp

    return aiohttp.ClientSession(loop=loop, **session_options(options))
