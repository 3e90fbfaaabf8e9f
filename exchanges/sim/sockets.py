"""A venue's side of a WebSocket: sends that never wait, a bounded queue per socket, and the faults of a connection.

Owns open sockets and their writer tasks. Knows no venue. A client that does not read fills its queue and is closed with the
venue's code for slow consumers; nobody else notices.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

from aiohttp import WSMsgType, web

from exchanges.sim.faults import Faults

Connection = Literal["public", "private"]
# Frames that may wait for one client. A stalled socket fills it too, as a dead peer fills the kernel's buffers.
QUEUE_FRAMES = 4_000
_CLOSE_WAIT_S = 0.5


class Socket:
    """One accepted connection.

    Attributes:
        id: Counts up over the life of the simulator.
        connection: ``private`` when it carries an account's data.
        accounts: Whose data it carries; the front fills it (login, or Hyperliquid addresses).
        state: Whatever the front keeps per connection.
        faults: What its venue has been told to do wrong.
        pongs: How many protocol pongs came in.
        held: A private frame that waits for the next one, which is to go out before it (the fault ``reorder``).
    """

    def __init__(
        self, number: int, connection: Connection, slow_code: int, max_frame_bytes: int, faults: Faults
    ) -> None:
        self.id = number
        self.faults = faults
        self.pongs = 0
        self.held: str | None = None
        self.connection: Connection = connection
        self.accounts: set[str] = set()
        self.state: Any = None
        self.closed = False
        self._slow_code = slow_code
        self._queue: deque[tuple[str, str | bytes]] = deque()
        self._wake = asyncio.Event()
        self._ending: tuple[int, str] | None = None
        self._stalled = False
        self._lost = False
        self._response = web.WebSocketResponse(
            autoping=False, autoclose=True, timeout=_CLOSE_WAIT_S, max_msg_size=max_frame_bytes, compress=False
        )
        self._transport: asyncio.Transport | None = None

    @property
    def stalled(self) -> bool:
        """True while nothing at all is sent, not even a pong."""
        return self._stalled

    @property
    def response(self) -> web.WebSocketResponse:
        """What the request handler returns in the end."""
        return self._response

    @property
    def ending(self) -> tuple[int, str] | None:
        """Close code and reason once the end was decided."""
        return self._ending

    @property
    def waiting(self) -> int:
        """How many frames are queued."""
        return len(self._queue)

    def send(self, frame: str) -> None:
        """Queue a text frame; never waits. A full queue ends the connection with the venue's slow-consumer code."""
        self._put("text", frame)

    def release(self) -> None:
        """Send the frame that waits for its successor, if there is one."""
        if self.held is not None:
            frame, self.held = self.held, None
            self.send(frame)

    def ping(self) -> None:
        """Queue a protocol ping; ``pongs`` tells when it was answered."""
        self._put("ping", b"")

    def close(self, code: int, reason: str = "") -> None:
        """Close with a close frame, after what is queued already."""
        if self._ending is None and not self.closed:
            self._ending = (code, reason)
            self._wake.set()

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        self.closed = True
        self._wake.set()
        if self._transport is not None:
            self._transport.abort()

    def stall(self) -> None:
        """Stay open but silent until ``unstall``; frames wait as in a network that stands still, as many as the queue holds."""
        self._stalled = True

    def unstall(self) -> None:
        """Speak again, beginning with what waited; a socket that waited for too much is cut instead."""
        self._stalled = False
        if self._lost:
            self.abort()
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield the text frames of the client until the connection ends; protocol pings are answered."""
        async for message in self._response:
            if message.type is WSMsgType.TEXT:
                yield message.data
            elif message.type is WSMsgType.BINARY:
                yield message.data.decode("utf-8", "replace")
            elif message.type is WSMsgType.PING:
                self._put("pong", message.data)
            elif message.type is WSMsgType.PONG:
                self.pongs += 1

    def _put(self, kind: str, data: str | bytes) -> None:
        if self.closed or self._ending is not None:
            return
        if len(self._queue) >= QUEUE_FRAMES and self._stalled:
            self._lost = True  # a close frame now would break the silence
            return
        if len(self._queue) >= QUEUE_FRAMES:
            self._queue.clear()
            self.close(self._slow_code, "slow consumer")
            return
        self._queue.append((kind, data))
        self._wake.set()

    async def _begin(self, request: web.Request) -> None:
        self._transport = request.transport
        await self._response.prepare(request)

    async def _write(self) -> None:
        """Drain the queue until the connection ends; the only place that awaits the client."""
        with suppress(ConnectionError):
            while not self.closed:
                await self._wake.wait()
                self._wake.clear()
                while self._queue and not self._stalled and not self.closed:
                    kind, data = self._queue.popleft()
                    if kind == "text":
                        assert isinstance(data, str)
                        await self._response.send_str(data)
                    else:
                        assert isinstance(data, bytes)
                        await (self._response.ping(data) if kind == "ping" else self._response.pong(data))
                if self._ending is not None and not self._stalled and not self.closed:
                    self.closed = True
                    await self._response.close(code=self._ending[0], message=self._ending[1].encode())


def send_private(socket: Socket, frame: str, account: str | None = None, *, snapshot: bool = False) -> None:
    """Send a frame of an account's data, with the venue's faults applied: every private data frame goes through here.

    Args:
        socket: Where to.
        frame: The text.
        account: Whose data it is; needed where a socket carries several accounts, else the socket's own.
        snapshot: The frame is a whole state that the venue repeats or was asked for: never swallowed, it stays true.
    """
    faults = socket.faults
    whose = socket.accounts if account is None else {account}
    if not snapshot and whose & faults.suppressed:
        return
    if faults.half_frame > 0:
        faults.half_frame -= 1
        frame = frame[: len(frame) // 2]
    if faults.reorder > 0 and socket.held is None:
        faults.reorder -= 1
        socket.held = frame
        return
    socket.send(frame)
    if faults.duplicate > 0:
        faults.duplicate -= 1
        socket.send(frame)
    socket.release()


class Sockets:
    """The open sockets of one front. ``faults`` are the front's; the server joins the two."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._open: dict[int, Socket] = {}
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[Socket]:
        return iter(tuple(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def matching(self, connection: str | None = None, account: str | None = None) -> list[Socket]:
        """Return the sockets of that connection kind and account; None matches all."""
        return [
            socket
            for socket in self
            if connection in {None, socket.connection} and (account is None or account in socket.accounts)
        ]

    @asynccontextmanager
    async def accept(
        self, request: web.Request, connection: Connection, *, slow_code: int, max_frame_bytes: int = 1 << 20
    ) -> AsyncIterator[Socket]:
        """Accept a WebSocket for the time of a ``with`` block; iterate the socket inside it for the client's frames.

        Args:
            slow_code: The close code for a client that does not read.
            max_frame_bytes: A larger frame from the client closes with 1009.
        """
        socket = Socket(next(self._numbers), connection, slow_code, max_frame_bytes, self.faults)
        await socket._begin(request)
        writer = asyncio.create_task(socket._write(), name=f"sim-writer-{socket.id}")
        self._open[socket.id] = socket
        try:
            yield socket
        finally:
            del self._open[socket.id]
            socket.closed = True
            socket._wake.set()
            await asyncio.wait({writer}, timeout=_CLOSE_WAIT_S)
            writer.cancel()
