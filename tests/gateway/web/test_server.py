from __future__ import annotations

import asyncio
import signal
import socket

import pytest

from gateway.core.protocol import Limits
from gateway.hub import Hub
from gateway.web.server import CannotListen, Server
from gateway.web.state import ServerState
from gateway.web.stream import StreamProtocol
from tests.gateway.toy import Toy
from tests.gateway.web.serving import gateway


def fresh_state() -> ServerState:
    hub = Hub.on(asyncio.get_running_loop(), Toy().tables, Limits())
    return ServerState(hub=hub, version="9.9.9", accounts=tuple)


async def test_a_port_in_use_is_told_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotListen) as caught:
            await Server().start("127.0.0.1", port, fresh_state())
    message = str(caught.value)
    assert f"127.0.0.1:{port}" in message
    assert "in use" in message
    assert "choose another port" in message


async def test_an_address_that_is_not_ours_is_told() -> None:
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1.*address of this machine"):
        await Server().start("192.0.2.1", 0, fresh_state())  # reserved for documentation (RFC 5737)


async def test_signal_handlers_stay_those_of_the_application() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with gateway():
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_the_port_is_free_after_stop_and_stop_may_be_repeated() -> None:
    server = Server()
    await server.stop()
    await server.start("127.0.0.1", 0, fresh_state())
    port = server.port
    await server.stop()
    await server.stop()
    again = Server()
    await again.start("127.0.0.1", port, fresh_state())
    await again.stop()


async def test_the_seam_to_uvicorn_is_as_we_use_it() -> None:
    """Its ``ws=`` class is no public promise: called with these names, then fed the rebuilt upgrade request."""
    async with gateway() as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        writer.write(
            f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{running.server.port}\r\nUpgrade: websocket\r\n"
            "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        async with asyncio.timeout(5):
            while len(running.hub) == 0:  # noqa: ASYNC110  (a condition of foreign code: nothing sets an event)
                await asyncio.sleep(0.005)
        inner = running.server._server
        assert inner is not None
        (connection,) = inner.server_state.connections
        assert isinstance(connection, StreamProtocol)
        assert connection._transport.get_protocol() is connection
        writer.close()
        await writer.wait_closed()
