from __future__ import annotations

import asyncio
import signal
import socket

import orjson
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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


ASKED = "/v1/positions?account=main"


async def exchanged(port: int, *requests: str) -> list[tuple[str, list[str], str]]:
    """Send requests in one piece, the last of which closes the connection; return status line, headers (but the date), body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("".join(f"{one}\r\n\r\n" for one in requests).encode())
    left, found = (await reader.read()).decode(), []
    while left:
        head, _, left = left.partition("\r\n\r\n")
        status, *headers = head.split("\r\n")
        size = next(int(one.split(":")[1]) for one in headers if one.startswith("content-length"))
        found.append((status, [one for one in headers if not one.startswith("date")], left[:size]))
        left = left[size:]
    writer.close()
    return found


async def test_what_was_asked_before_is_answered_as_the_first_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, one after the other in one piece, and behind a request that takes its time."""
    tasks: list[str] = []
    start = HttpToolsProtocol._start_asgi_task
    monkeypatch.setattr(
        HttpToolsProtocol,
        "_start_asgi_task",
        lambda self, cycle, app: tasks.append(cycle.scope["path"]) or start(self, cycle, app),  # type: ignore[func-returns-value]
    )
    ask, end = (f"GET {ASKED} HTTP/1.1\r\nHost: localhost{more}" for more in ("", "\r\nConnection: close"))
    slow = "GET /healthz HTTP/1.1\r\nHost: localhost"
    async with gateway() as running:
        port = running.server.port
        (long_way,) = await exchanged(port, end)
        first = (long_way[0], [one for one in long_way[1] if one != "connection: close"], long_way[2])
        assert await exchanged(port, ask, ask, end) == [first, first, long_way]
        assert tasks == ["/v1/positions"] * 2, "of five, those that end their connection"
        assert [one[2] for one in await exchanged(port, slow, *[ask] * 500, end)][1:] == [first[2]] * 501


async def test_another_site_is_refused_what_was_asked_before() -> None:
    ask = f"GET {ASKED} HTTP/1.1\r\nHost: "
    async with gateway() as running:
        mine, another = f"{ask}localhost\r\nConnection: ", f"{ask}evil.example\r\nConnection: "
        found = await exchanged(running.server.port, mine + "close")
        found += await exchanged(running.server.port, another + "keep-alive", mine + "close")
        assert [one[0].split()[1] for one in found] == ["200", "403", "200"]


async def test_a_bug_in_an_answer_at_once_is_ours_and_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = f"GET {ASKED} HTTP/1.1\r\nHost: localhost\r\nConnection: "
    async with gateway() as running:
        assert (await exchanged(running.server.port, ask + "close"))[0][0] == "HTTP/1.1 200 OK"
        monkeypatch.setattr(running.toy.tables["positions"], "members", lambda selection: 1 / 0)
        running.toy.put("main:A", x=2)
        running.turn()  # the page is made again
        (found,) = await exchanged(running.server.port, ask + "keep-alive")  # the server ends the connection
        assert (found[0], orjson.loads(found[2])["code"]) == ("HTTP/1.1 500 Internal Server Error", "internal")
