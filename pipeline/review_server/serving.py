"""Serves the app of a review on a port, until a signal comes."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from pipeline.errors import ConfigError
from pipeline.review_server.app import make_app
from pipeline.review_server.state import ReviewState

_SECONDS_TO_END = 5


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `ConfigError` for a port that is taken, and for a host of another machine."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"host={host}: no address of this machine ({error})") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port={port} is taken on {host}: another review may run there; give another port=, or port=0 for any"
            ) from error
        raise ConfigError(f"host={host} port={port}: {error.strerror}") from error
    return listener


def link_of(listener: socket.socket, token: str) -> str:
    """The address of the page."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:  # all addresses of this machine
        host = socket.gethostname()
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/{token}/"


class Server(uvicorn.Server):
    """A server that a signal, or `stop`, ends, and that returns then."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ctrl-C is how a review ends, so that no signal is raised anew at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Have the server end; may be called in any thread."""
        self.should_exit = True


def make_server(state: ReviewState) -> Server:
    """A server of the app. It logs no addresses, because they hold the token."""
    config = uvicorn.Config(
        make_app(state),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SECONDS_TO_END,
        ws="none",
        loop="asyncio",
        http="h11",
    )
    return Server(config)


def serve(state: ReviewState, listener: socket.socket, tell: Callable[[str], object]) -> None:
    """Serve, and `tell` the link, until SIGINT or SIGTERM comes."""
    server = make_server(state)
    tell(link_of(listener, state.options.token))
    server.run(sockets=[listener])
