"""A server on a port of the kernel's choice, with toy tables, and a bare socket that speaks just enough WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import orjson

from gateway.core.protocol import Limits
from gateway.hub import Hub
from gateway.web.server import Server
from gateway.web.state import ServerState
from tests.gateway.toy import ACCOUNTS, Toy


class Gateway:
    """Toy tables behind a real server."""

    def __init__(self, toy: Toy, state: ServerState, server: Server) -> None:
        self.toy, self.state, self.server = toy, state, server

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def stream(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}/v1/stream"

    @property
    def hub(self) -> Hub:
        return self.state.hub

    def turn(self) -> None:
        self.toy.commit()
        self.hub.flush()


@contextlib.asynccontextmanager
async def served(state: ServerState) -> AsyncIterator[Server]:
    """A running server."""
    server = Server()
    await server.start("127.0.0.1", 0, state)
    try:
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def gateway(limits: Limits | None = None, toy: Toy | None = None, **state: Any) -> AsyncIterator[Gateway]:
    """A running gateway with three positions."""
    toy = toy or Toy()
    if not toy.rows:
        for id_ in ("main:A", "main:B", "other:A"):
            toy.put(id_, x=1, side="long")
        toy.commit()
    hub = Hub.on(asyncio.get_running_loop(), toy.tables, limits or Limits())
    shared = ServerState(hub=hub, version="9.9.9", accounts=lambda: ACCOUNTS, **state)
    async with served(shared) as server:
        yield Gateway(toy, shared, server)


async def until(condition: Any, timeout_s: float = 5.0) -> None:
    """Wait for a condition of the server in this loop, which has no event to tell it."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  (a condition of foreign code: nothing sets an event)
            await asyncio.sleep(0.005)


HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


class BareSocket:
    """A client that reads only when told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(
        cls, port: int, *, path: str = "/v1/stream", host: str | None = None, more: str = "", receive_buffer: int = 0
    ) -> tuple[BareSocket, int]:
        """Connect and send the handshake; returns the socket and the HTTP status."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=2**10)
        bare = cls(reader, writer)
        writer.write(HANDSHAKE.format(path=path, host=host or f"127.0.0.1:{port}", more=more).encode())
        head = await bare.reader.readuntil(b"\r\n\r\n")
        return bare, int(head.split()[1])

    def send(self, payload: bytes, opcode: int = 1, *, fin: bool = True) -> None:
        """Send one masked frame (the mask is zero, which is allowed and keeps the bytes readable)."""
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else struct.pack("!BQ", 0x80 | 127, size)
        self.writer.write(bytes(((0x80 if fin else 0) | opcode,)) + length + b"\0\0\0\0" + payload)

    def ask(self, **command: object) -> None:
        self.send(orjson.dumps(command))

    async def frame(self) -> tuple[int, bytes]:
        """Read one frame: opcode and payload."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 15, await self.reader.readexactly(size)

    async def message(self) -> dict[str, Any]:
        """Read the next text frame."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 1:
                return orjson.loads(payload)  # type: ignore[no-any-return]
            assert opcode == 9, f"closed: {payload!r}"

    async def close_code(self) -> int:
        """Read on to the close frame and return its code."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")

    async def __aenter__(self) -> BareSocket:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
