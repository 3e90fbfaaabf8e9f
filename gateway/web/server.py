"""The one port: uvicorn in the running loop, with our WebSocket protocol, under our own start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import resource
import socket
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from starlette.types import Scope
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.web.app import Guard, RawHeader, build_app
from gateway.web.export import ABORT
from gateway.web.state import ServerState
from gateway.web.stream import stream_protocol

# Connections that may wait to be accepted; with fewer, a storm of reconnects meets SYN retries of a second.
BACKLOG = 4_096


class CannotListen(Exception):
    """The address cannot be bound."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(host, port, error)
        self.host, self.port, self.error = host, port, error

    def __str__(self) -> str:
        where = f"{self.host}:{self.port}"
        if self.error.errno == errno.EADDRINUSE:
            return f"{where} is in use: another program, perhaps another gateway, listens there. Stop it or choose another port"
        if self.error.errno == errno.EACCES:
            return f"{where} may not be bound by this user. Choose a port from 1024 on"
        return f"cannot listen on {where}: {self.error.strerror}. Choose an address of this machine"


class _Uvicorn(uvicorn.Server):
    """Without signal handlers (the application has its own), and with an event instead of a flag to be polled."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Http(HttpToolsProtocol):
    """Tells handlers how to cut a connection: closing one waits for a client that may never read.

    What the application can answer ``at_once`` needs no task, which would cost more than the answer.
    """

    def __init__(self, app: Guard, **given: Any) -> None:
        super().__init__(**given)
        self._at_once = app.at_once

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][ABORT] = self.transport.abort

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # With more requests waiting, each answer would begin the next one within its own call.
        plain = cycle.keep_alive and not self.flow.write_paused and not self.pipeline
        answer = self._answer(cycle.scope) if plain else None
        if answer is None:
            super()._start_asgi_task(cycle, app)
            return
        headers, body = answer
        lines = [b"%b: %b\r\n" % header for header in (*cycle.default_headers, *headers)]
        self.transport.write(b"".join((b"HTTP/1.1 200 OK\r\n", *lines, b"\r\n", body)))
        cycle.response_started = cycle.response_complete = True
        cycle.on_response()

    def _answer(self, scope: HTTPScope) -> tuple[list[RawHeader], bytes] | None:
        try:
            return self._at_once(cast(Scope, scope))
        except Exception:  # noqa: BLE001  a bug, which the long way meets again and tells; the parser would blame the client
            return None


class Server:
    """Serves REST, the dashboard and the stream on one port.

    ``start`` first; ``stop`` ends it and may be called at any time.
    """

    def __init__(self) -> None:
        self._server: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None
        self._state: ServerState | None = None
        self.port = 0

    async def start(self, host: str, port: int, state: ServerState) -> None:
        """Listen; returns when clients can connect. ``port`` 0 lets the kernel choose; ``Server.port`` says which.

        Raises:
            CannotListen: The address is in use or not ours.
        """
        assert self._task is None, "start is called once"
        raise_open_files()
        listener = _listen(host, port, state.limits.send_buffer_bytes)
        self.port = listener.getsockname()[1]
        app = build_app(state)
        config = uvicorn.Config(
            app,
            http=functools.partial(_Http, app),  # type: ignore[arg-type]  # called like the class that the annotation asks for
            ws=stream_protocol(state),  # type: ignore[arg-type]  # called like the class that the annotation asks for
            # Ours are neither negotiated nor sent by uvicorn, but by the stream protocol.
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=1,
        )
        self._server, self._state = _Uvicorn(config), state
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="web server")
        up = asyncio.create_task(self._server.up.wait())
        try:
            await asyncio.wait({self._task, up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
        if self._task.done():
            listener.close()
            self._task.result()
        state.hub.start()

    async def stop(self) -> None:
        """Say goodbye to all clients (4000), close everything; done within 2 s."""
        if self._task is None or self._server is None or self._state is None:
            return
        self._state.hub.stop()
        self._server.should_exit = True
        await self._task
        self._task = None


def _listen(host: str, port: int, send_buffer_bytes: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise CannotListen(host, port, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it. Left to itself the kernel takes megabytes on loopback: seconds of stale figures.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        listener.bind(address)
        # Before uvicorn does: two that bind the same port both succeed, and only listening tells.
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise CannotListen(host, port, error) from None
    return listener


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one: each client is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # not everywhere allowed; then the soft limit stands
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
