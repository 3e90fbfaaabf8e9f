"""``/v1/stream``: a WebSocket as an asyncio protocol. The handshake and all that comes in go through the sans-I/O protocol
of ``websockets``; frames go out pre-built, straight to the transport, since they are the same bytes for many clients.

uvicorn makes one per upgrade request (its ``ws=`` class): ``connection_made``, then ``data_received`` with the rebuilt
request, and only then ``transport.set_protocol``. So nothing large may be written during the handshake: a pause would be
told to the HTTP protocol.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from http import HTTPStatus
from typing import Any, cast

from websockets.datastructures import Headers, MultipleValuesError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from gateway.core.access import Principal
from gateway.core.protocol import Close, Refusal
from gateway.hub import Write
from gateway.session import Session
from gateway.web.auth import check_host, check_origin
from gateway.web.problem import problem_body
from gateway.web.state import ServerState

PATH = "/v1/stream"
# When the server stops, goodbyes may take this long: the whole stop is to be done within 2 s.
_GOODBYE_S = 0.8

# The library tells each opening and closing at level INFO; what matters is counted by the hub.
_logger = logging.getLogger("perpwire.stream")
_logger.setLevel(logging.WARNING)


class _Protocol(ServerProtocol):
    """Closes with the codes of our contract where RFC 6455 would do as well: 1009 would invite to come back and repeat."""

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        if code == CloseCode.MESSAGE_TOO_BIG:
            code, reason = Close.LIMITS.value
        super().fail(code, reason)


class StreamProtocol(asyncio.Protocol):
    """One client connection, from its upgrade request to its end. The ``Outlet`` of its session."""

    __slots__ = (
        "_connections",
        "_cut",
        "_message",
        "_protocol",
        "_session",
        "_state",
        "_streams",
        "_transport",
        "write",
    )

    def __init__(
        self,
        state: ServerState,
        streams: Counter[str],
        *,
        config: object,
        server_state: Any,
        app_state: object,
        _loop: object = None,
    ) -> None:
        self._state, self._streams = state, streams
        self._connections: set[object] = server_state.connections
        self._protocol = _Protocol(max_size=state.limits.max_message_bytes, logger=_logger)
        self._session: Session | None = None
        self._message: list[bytes] | None = None  # the parts of a fragmented message
        self._cut: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self.write: Write

    # --- From the event loop ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection."""
        self._transport = cast(asyncio.Transport, transport)
        # Small on purpose: what waits here or in the kernel can no longer be conflated. The kernel's buffer is bounded by
        # the listening socket (server.py).
        high = self._state.limits.write_buffer_bytes
        self._transport.set_write_buffer_limits(high=high, low=high // 4)
        self.write = self._transport.write
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take in what the client sent."""
        if self._session is not None:
            self._session.heard()
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif isinstance(event, Request):
                self._handshake(event)
        self._send_protocol_data()

    def eof_received(self) -> None:
        """Let the transport close: a client that half-closes is gone."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        self._connections.discard(self)
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
        if self._session is not None:
            self._streams[self._session.principal.name] -= 1
            self._session.lost()
            self._session = None

    def pause_writing(self) -> None:
        """The socket is full."""
        if self._session is not None:
            self._session.pause()

    def resume_writing(self) -> None:
        """The socket has drained."""
        if self._session is not None:
            self._session.resume()

    def shutdown(self) -> None:
        """Say goodbye: the server stops (called by uvicorn)."""
        self._cut_later(_GOODBYE_S)
        if self._session is not None:
            self._session.close(Close.GOING_AWAY)
        else:
            self._transport.close()

    # --- From the session -------------------------------------------------------------------------------------------

    def waiting(self) -> int:
        """Return how many bytes wait in our own memory for the socket."""
        return self._transport.get_write_buffer_size()

    def hold_reading(self, hold: bool) -> None:
        """Stop or go on taking in what the client sends."""
        if self._transport.is_closing():
            return
        if hold:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self, why: Close) -> None:
        """Start the closing handshake, and cut the connection where it takes too long (RFC 6455, section 7.1.1)."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(*why.value)
            self._send_protocol_data()
        if self._transport.is_closing():
            return
        self._cut_later(self._state.limits.close_ms / 1000)
        self._transport.resume_reading()  # the client's own close frame is awaited

    # --- Inside -----------------------------------------------------------------------------------------------------

    def _cut_later(self, delay_s: float) -> None:
        if self._cut is None:
            self._cut = asyncio.get_running_loop().call_later(delay_s, self._transport.abort)

    def _send_protocol_data(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._say_end()

    def _say_end(self) -> None:
        """Send no more, but read on until the client closes, too: closing over unread bytes resets the connection, and
        the close frame could be lost with it (RFC 6455, section 7.1.1)."""
        if self._session is not None:
            self._session.lost()
        self._cut_later(self._state.limits.close_ms / 1000)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:  # TLS
            self._transport.close()

    def _handshake(self, request: Request) -> None:
        try:
            principal = self._admit(request)
        except Refusal as refusal:
            self._protocol.send_response(_refused(refusal))
            return
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        self._send_protocol_data()
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return
        session = Session(self._state.hub, self, principal, self._state.accounts, server=self._state.server_name)
        self._session = session
        self._streams[principal.name] += 1
        # A browser's script never sees the status of a refused handshake, only close codes. Nothing was said yet.
        why = self._unwelcome(request, principal)
        if why is None:
            session.open()
        else:
            session.close(why)

    def _admit(self, request: Request) -> Principal:
        """Return for whom the stream is. Raises Refusal."""
        if request.path.partition("?")[0] != PATH:
            raise Refusal("not_found", f"the only WebSocket here is {PATH}")
        check_host(_header(request.headers, "Host"), self._state.allowed_hosts)
        if len(self._state.hub) >= self._state.limits.max_connections:
            raise Refusal("too_many_connections", "the gateway serves as many streams as it may; try again later")
        principal = self._state.principal({name.lower(): value for name, value in request.headers.raw_items()})
        if principal is None:
            raise Refusal("unauthorized", "the request carries no token that is known here")
        return principal

    def _unwelcome(self, request: Request, principal: Principal) -> Close | None:
        origin, host = _header(request.headers, "Origin"), _header(request.headers, "Host")
        try:
            check_origin(origin, host, self._state.allowed_origins, self._state.allowed_hosts)
        except Refusal:
            return Close.FORBIDDEN_ORIGIN
        if self._streams[principal.name] > self._state.limits.max_connections_per_principal:
            return Close.LIMITS
        return None

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self._malformed()
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
            self._text(bytes(frame.data), frame.fin)

    def _text(self, part: bytes, final: bool) -> None:
        if self._message is not None:
            self._message.append(part)
        elif not final:
            self._message = [part]
        if not final:
            return
        message, self._message = (part if self._message is None else b"".join(self._message)), None
        if self._session is not None:
            self._session.receive(message)

    def _malformed(self) -> None:
        if self._session is not None:
            self._session.close(Close.MALFORMED)


def stream_protocol(state: ServerState) -> functools.partial[StreamProtocol]:
    """Return what uvicorn takes as its ``ws=`` class."""
    return functools.partial(StreamProtocol, state, Counter())


def _header(headers: Headers, name: str) -> str | None:
    try:
        return headers.get(name)
    except MultipleValuesError:
        return ""  # matches nothing


def _refused(refusal: Refusal) -> Response:
    body = problem_body(refusal)
    status = HTTPStatus(refusal.kind.status)
    headers = Headers(
        {"Content-Type": "application/problem+json", "Content-Length": str(len(body)), "Connection": "close"}
    )
    if refusal.kind.retry:
        headers["Retry-After"] = "1"
    return Response(status.value, status.phrase, headers, body)
