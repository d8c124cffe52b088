"""Who may talk to the server: whoever knows the token in the address, from a page of this server.

The token is the first part of every path, so that a page's own relative addresses carry it, no cookie is needed, and
servers on other ports of this machine never see it. A page of another site cannot learn it. It could have its own name
point to 127.0.0.1 (DNS rebinding), so that names of other hosts are refused as well; an address in numbers has no name
that anybody could have moved.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HEADERS = {
    "cache-control": "no-store",
    # Nothing of another host is ever loaded, and no other page may hold this one in a frame.
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware: takes the token off the path, and answers 403 where it is missing or the host is another's."""

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":  # the third kind that there is; a page of this server opens none
            return
        rest = self._rest(scope["path"])
        if rest is None or not self._is_ours(Headers(scope=scope)):
            refusal = PlainTextResponse("403: open the link that the command has printed, with its token.\n", 403)
            await refusal(scope, receive, send)
            return
        if not rest:  # copied without its last letter: relative addresses of the page need it
            await RedirectResponse(f"{scope['path']}/", headers=_HEADERS)(scope, receive, send)
            return

        async def with_headers(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                raw = list(message.get("headers", ()))  # type: ignore[call-overload]
                known = {name.lower() for name, _ in raw}
                raw += [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in known]
                message["headers"] = raw
            await send(message)

        await self._app({**scope, "path": rest, "raw_path": rest.encode()}, receive, with_headers)  # type: ignore[arg-type]

    def _rest(self, path: str) -> str | None:
        """The path behind the token, empty where not even a slash follows; None without the right token.

        The comparison takes as long whatever was guessed.
        """
        first, slash, rest = path.removeprefix("/").partition("/")
        if not hmac.compare_digest(first.encode("utf-8", "surrogatepass"), self._token):
            return None
        return f"{slash}{rest}"

    def _is_ours(self, headers: Headers) -> bool:
        if not self._is_known(headers.get("host", "")):
            return False
        origin = headers.get("origin")
        return origin is None or self._is_known(urlsplit(origin).netloc)

    def _is_known(self, netloc: str) -> bool:
        try:
            host = (urlsplit(f"//{netloc}").hostname or "").lower()
        except ValueError:
            return False
        if host in self._hosts:
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True


def own_names(host: str) -> tuple[str, ...]:
    """Names under which browsers may ask for this server: that of `host=`, and where others may ask, this machine's."""
    if host in ("127.0.0.1", "localhost", "::1"):
        return (host,)
    return host, socket.gethostname(), socket.getfqdn()
