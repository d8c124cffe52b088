"""The web client of videos: it connects to no address that a table may not name, also where a server redirects to it.

The check stands at the connection, because each redirection has a connection of its own, and because the address that
is checked there is the one that is connected to.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from pipeline.storage.addresses import AddressRules
from pipeline.storage.web_sessions import session_options


@dataclass(frozen=True)
class WebClient:
    """Makes the session of fsspec's file system of web servers (`get_client`). Equal rules give equal file systems."""

    rules: AddressRules

    async def __call__(self, *, loop: asyncio.AbstractEventLoop, **options: Any) -> aiohttp.ClientSession:
        """A session whose connections hold the rules."""
        return aiohttp.ClientSession(loop=loop, connector=_Connector(self.rules), **session_options(options))


class _Connector(aiohttp.TCPConnector):
    def __init__(self, rules: AddressRules) -> None:
        super().__init__(resolver=_Resolver(rules))
        self._rules = rules

    async def connect(self, req: aiohttp.ClientRequest, *arguments: Any, **keywords: Any) -> Any:
        self._rules.check(str(req.url))
        return await super().connect(req, *arguments, **keywords)


class _Resolver(AbstractResolver):
    """The system's names, without addresses that may not be connected to."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            self._rules.check_resolved(host, result["host"])
        return found

    async def close(self) -> None:
        await self._resolver.close()
