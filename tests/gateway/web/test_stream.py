from __future__ import annotations

import asyncio
import socket

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway.core.access import Principal
from gateway.core.protocol import Limits
from tests.gateway.web.serving import BareSocket, Gateway, gateway, until


async def connected(running: Gateway, **options: object) -> BareSocket:
    bare, status = await BareSocket.open(running.server.port, **options)  # type: ignore[arg-type]
    assert status == 101
    return bare


async def test_a_library_client_subscribes_and_gets_deltas() -> None:
    async with gateway() as running, connect(running.stream, proxy=None) as ws:
        assert orjson.loads(await ws.recv())["server"] == "perpwire/9.9.9"
        await ws.send('{"op":"subscribe","id":1,"table":"positions"}')
        assert orjson.loads(await ws.recv())["type"] == "subscribed"
        assert len(orjson.loads(await ws.recv())["rows"]) == 3
        running.toy.put("main:A", x=2, side="long")
        running.turn()
        assert orjson.loads(await ws.recv())["patch"] == {"main:A": {"x": 2}}
        assert ws.response is not None
        assert "Sec-WebSocket-Extensions" not in ws.response.headers, "compression would be per client"


@pytest.mark.parametrize(
    ("status", "options"),
    [
        (404, {"path": "/v1/other"}),
        (404, {"path": "/"}),
        (403, {"host": "evil.example"}),
        (403, {"host": "127.0.0.1.evil.example"}),
        (101, {"host": "localhost:1"}),
        (101, {"path": "/v1/stream?x=1"}),
        (400, {"more": "Sec-WebSocket-Key: twice\r\n"}),
    ],
)
async def test_the_handshake_is_for_one_path_and_our_own_names(status: int, options: dict[str, str]) -> None:
    async with gateway() as running:
        bare, got = await BareSocket.open(running.server.port, **options)
        async with bare:
            assert got == status
            if status in (403, 404):
                problem = orjson.loads(await bare.reader.read())
                assert problem["status"] == status
                assert problem["detail"]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:1", "null", "http://localhost.evil.example"]
)
async def test_a_page_of_another_site_is_told_not_to_come_back(origin: str) -> None:
    async with gateway() as running, await connected(running, more=f"Origin: {origin}\r\n") as bare:
        assert await bare.frame() == (8, (4104).to_bytes(2, "big") + b"forbidden origin")
        assert len(running.hub) == 0


async def test_our_own_page_and_configured_ones_are_welcome() -> None:
    async with gateway(allowed_origins=("https://desk.example",)) as running:
        port = running.server.port
        for origin in (f"http://127.0.0.1:{port}", f"http://localhost:{port}", "https://desk.example"):
            async with await connected(running, more=f"Origin: {origin}\r\n") as bare:
                assert (await bare.message())["type"] == "hello"


async def test_who_is_not_known_gets_no_stream() -> None:
    async with gateway(
        principal=lambda headers: Principal("joe") if headers.get("x-who") == "joe" else None
    ) as running:
        bare, status = await BareSocket.open(running.server.port)
        async with bare:
            assert status == 401
        async with await connected(running, more="X-Who: joe\r\n") as bare:
            assert (await bare.message())["type"] == "hello"


@pytest.mark.parametrize(
    ("code", "payload", "opcode"),
    [
        (4102, b"not json", 1),
        (4102, b"[]", 1),
        (4102, b'{"op":"ping","id":"\xff"}', 1),
        (4102, b"\x00\x01", 2),
        (4103, b"x" * 70_000, 1),
        (1002, b"", 3),
        (1000, (1000).to_bytes(2, "big"), 8),
    ],
)
async def test_what_ends_a_stream_and_with_which_code(code: int, payload: bytes, opcode: int) -> None:
    async with gateway() as running, await connected(running) as bare:
        await bare.message()
        bare.send(payload, opcode)
        assert await bare.close_code() == code
        if opcode != 8:
            bare.send(code.to_bytes(2, "big"), 8)
        assert await bare.reader.read() == b"", "the server closes the connection"
        await until(lambda: len(running.hub) == 0)


async def test_control_frames_and_fragments() -> None:
    async with gateway() as running, await connected(running) as bare:
        await bare.message()
        bare.send(b"hello?", 9)
        assert await bare.frame() == (10, b"hello?")
        bare.send(b'{"op":', 1, fin=False)
        bare.send(b"between", 9)
        bare.send(b'"ping"', 0, fin=False)
        assert await bare.frame() == (10, b"between")
        bare.send(b',"id":5}', 0)
        assert await bare.message() == {"type": "pong", "id": 5}


async def test_a_fragmented_message_is_limited_as_a_whole() -> None:
    async with gateway(Limits(max_message_bytes=1_000)) as running, await connected(running) as bare:
        bare.send(b"x" * 600, 1, fin=False)
        bare.send(b"x" * 600, 0)
        assert await bare.close_code() == 4103


async def test_commands_are_limited() -> None:
    async with gateway(Limits(commands_per_s=5)) as running, await connected(running) as bare:
        await bare.message()
        for _ in range(40):
            bare.ask(op="ping")
        answers = [await bare.message() for _ in range(15)]
        assert [answer["type"] for answer in answers] == ["pong"] * 10 + ["error"] * 5
        assert await bare.close_code() == 4103


async def test_connections_are_limited() -> None:
    async with gateway(Limits(max_connections=1)) as running, await connected(running) as first:
        await first.message()
        second, status = await BareSocket.open(running.server.port)
        async with second:
            assert status == 503
    async with gateway(Limits(max_connections_per_principal=1)) as running, await connected(running) as first:
        await first.message()
        async with await connected(running) as second:
            assert await second.close_code() == 4103


async def test_pings_and_heartbeats_come_and_a_dead_client_goes() -> None:
    limits = Limits(heartbeat_ms=80, dead_after_ms=400)
    async with gateway(limits) as running, await connected(running) as silent, await connected(running) as alive:
        await silent.message()
        await alive.message()

        async def answer() -> None:
            while True:
                opcode, payload = await alive.frame()
                if opcode == 9:
                    alive.send(payload, 10)
                else:
                    assert orjson.loads(payload) == {"type": "heartbeat", "seq": 1}

        answering = asyncio.create_task(answer())
        assert await silent.frame() == (1, b'{"type":"heartbeat","seq":1}')
        assert await silent.frame() == (9, b"")
        assert await silent.close_code() == 4002
        assert len(running.hub) == 1
        answering.cancel()


def big_turn(running: Gateway, number: int) -> None:
    """One change set of about 20 KB."""
    running.toy.put("main:A", x=number, text=str(number) * (20_000 // len(str(number))))
    running.turn()


async def fill(running: Gateway) -> None:
    """Change things until the only client, who does not read, is full."""
    for number in range(1_000):
        if running.hub.statistics().lagging:
            return
        big_turn(running, number)
        await asyncio.sleep(0)
    raise AssertionError("a client that does not read was never full")


async def test_a_slow_reader_stays_bounded_conflates_and_catches_up() -> None:
    limits = Limits(send_buffer_bytes=32 * 1024, write_buffer_bytes=32 * 1024)
    async with gateway(limits) as running, await connected(running, receive_buffer=8 * 1024) as bare:
        bare.ask(op="subscribe", id=1, table="positions")
        await until(lambda: running.hub.statistics().subscriptions == 1)
        for number in range(1_000):
            big_turn(running, number)
            await asyncio.sleep(0)
        statistics = running.hub.statistics()
        assert statistics.lagging == 1
        assert statistics.deliveries < 60, "20 MB were made and never queued"
        (connection,) = [c for c in running.server._server.server_state.connections if hasattr(c, "waiting")]  # type: ignore[union-attr]
        assert connection.waiting() < 32 * 1024 + 2 * 25_000
        cursor, seen = 0, 0
        while cursor < running.toy.tables.seq:
            message = await bare.message()
            if message["type"] in ("snapshot", "delta"):
                assert message.get("prev", cursor) <= cursor
                cursor, seen = message["seq"], seen + 1
        assert seen < 60
        assert message["rows"]["main:A"]["x"] == 999
        big_turn(running, 1_000)
        message = await bare.message()
        assert (message["patch"]["main:A"]["x"], message["prev"]) == (1_000, cursor)


async def test_who_never_drains_is_closed_with_4001() -> None:
    limits = Limits(send_buffer_bytes=16 * 1024, write_buffer_bytes=16 * 1024, drain_ms=150, close_ms=2_000)
    async with gateway(limits) as running, await connected(running, receive_buffer=8 * 1024) as bare:
        bare.ask(op="subscribe", id=1, table="positions")
        await until(lambda: running.hub.statistics().subscriptions == 1)
        await fill(running)
        await until(lambda: running.hub.closed["not drained"] == 1)
        assert running.hub.statistics().subscriptions == 0
        assert await bare.close_code() == 4001


async def test_who_does_not_even_read_the_goodbye_is_cut() -> None:
    limits = Limits(send_buffer_bytes=16 * 1024, write_buffer_bytes=16 * 1024, drain_ms=50, close_ms=100)
    async with gateway(limits) as running, await connected(running, receive_buffer=8 * 1024) as bare:
        bare.ask(op="subscribe", id=1, table="positions")
        await until(lambda: running.hub.statistics().subscriptions == 1)
        await fill(running)
        await until(lambda: not running.server._server.server_state.connections)  # type: ignore[union-attr]


async def test_stopping_says_4000_and_takes_less_than_two_seconds() -> None:
    loop = asyncio.get_running_loop()
    async with gateway() as running:
        async with await connected(running) as deaf, connect(running.stream, proxy=None) as ws:
            await deaf.message()
            await ws.recv()
            before = loop.time()
            await running.server.stop()
            assert loop.time() - before < 2
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4000
            assert await deaf.close_code() == 4000
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", running.server.port)) != 0


async def test_the_kernels_send_buffer_is_bounded() -> None:
    async with gateway(Limits(send_buffer_bytes=128 * 1024)) as running, await connected(running) as bare:
        await bare.message()
        (connection,) = [c for c in running.server._server.server_state.connections if hasattr(c, "waiting")]  # type: ignore[union-attr]
        kernel = connection._transport.get_extra_info("socket")
        assert kernel.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 128 * 1024  # Linux doubles what is asked
        assert kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
