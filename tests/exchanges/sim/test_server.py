"""Starting and stopping: addresses, a port in use, a slow client, and the command line."""

import asyncio
import json
import re
import signal
import sys

import pytest
from websockets.asyncio.client import connect

from exchanges.sim import sockets
from exchanges.sim.catalog import VENUES
from exchanges.sim.server import PortTaken, start
from tests.exchanges.sim.raw import Clock, dial


async def test_it_describes_every_venue_and_differs_by_seed_only() -> None:
    one, same, other = [await start(seed) for seed in (3, 3, 4)]
    try:
        told = one.describe()
        assert set(told) == {*VENUES, "control", "seed"}
        for venue in VENUES:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", told[venue]["rest"])
            assert told[venue]["ws_public"] == told[venue]["ws_private"] == "ws" + told[venue]["rest"][4:]
            assert told[venue]["accounts"] == same.describe()[venue]["accounts"]
            assert told[venue]["accounts"] != other.describe()[venue]["accounts"]
        assert {"name", "key", "secret", "passphrase"} <= set(told["okx"]["accounts"][0])
        assert re.fullmatch("0x[0-9a-f]{40}", told["hyperliquid"]["accounts"][0]["address"])
        json.dumps(told)
    finally:
        await asyncio.gather(one.stop(), same.stop(), other.stop())


async def test_a_port_in_use_is_named_and_nothing_is_left_behind() -> None:
    first = await start(1)
    try:
        port = int(first.urls["okx"].rpartition(":")[2])
        with pytest.raises(PortTaken, match=rf"control cannot listen on 127\.0\.0\.1:{port}.*choose another"):
            await start(1, port)
        with pytest.raises(PortTaken, match="bybit cannot listen"):
            await start(1, ports={"bybit": port})
    finally:
        await first.stop()


async def test_stopping_closes_every_connection_within_a_second() -> None:
    simulator = await start(1)
    async with dial(simulator.describe()["okx"]["ws_public"] + "/ws/v5/public") as peer:
        simulator.control.fault({"kind": "stall"})
        async with asyncio.timeout(1):
            await simulator.stop()
        assert (await peer.closed())[0] == 1001


async def test_a_client_that_does_not_read_is_closed_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue fills; the venue's slow-consumer close follows, while another client is served as before."""
    monkeypatch.setattr(sockets, "QUEUE_FRAMES", 50)
    simulator = await start(1, clock=Clock())
    url = simulator.describe()["okx"]["ws_public"] + "/ws/v5/public"
    try:
        async with (
            connect(url, proxy=None, max_queue=1, ping_interval=None, close_timeout=0.1) as slow,
            dial(url) as other,
        ):
            await slow.send("ping")
            await slow.recv()
            target = min(simulator.fronts["okx"].sockets, key=lambda socket: socket.id)
            async with asyncio.timeout(20):
                while target.ending is None:
                    for _ in range(40):
                        target.send("x" * 60_000)
                    await other.say("ping")
                    assert await other.next() == "pong"
            assert target.ending[0] == 4005
            assert target.waiting == 0
    finally:
        await simulator.stop()


async def test_a_stalled_socket_that_missed_too_much_is_cut_when_it_may_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "QUEUE_FRAMES", 5)
    simulator = await start(1, clock=Clock())
    try:
        async with dial(simulator.describe()["okx"]["ws_public"] + "/ws/v5/public") as peer:
            await peer.say("ping")
            assert await peer.next() == "pong"
            simulator.control.fault({"kind": "stall"})
            (socket,) = simulator.fronts["okx"].sockets
            for _ in range(9):
                socket.send("more")
            assert (socket.waiting, socket.closed) == (5, False)
            simulator.control.resume()
            assert await peer.closed() == (None, "")
    finally:
        await simulator.stop()


async def test_what_breaks_inside_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = await start(1)
    try:
        monkeypatch.setattr(simulator.fronts["okx"], "tick", lambda now_ms: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(5):
                await simulator.failed()
    finally:
        await simulator.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_prints_one_line_and_stops_on_a_signal(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "exchanges.sim", "--seed", "9", "--json", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        told = json.loads(await process.stdout.readline())
    assert told["seed"] == 9
    process.send_signal(number)
    async with asyncio.timeout(2):
        rest = await process.stdout.read()
        assert (await process.wait(), rest) == (0, b"")


async def test_the_command_ends_with_whoever_holds_its_standard_input() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "exchanges.sim",
        "--until-stdin-closes",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert b"control" in await process.stdout.readline()
    process.stdin.write(b"not the end\n")
    await process.stdin.drain()
    process.stdin.close()
    async with asyncio.timeout(2):
        await process.stdout.read()
        assert await process.wait() == 0


async def test_the_command_says_that_a_port_is_in_use() -> None:
    simulator = await start(1)
    port = simulator.urls["control"].rpartition(":")[2]
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "exchanges.sim", "--port", port, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(20):
            _, says = await process.communicate()
        assert (process.returncode, f"127.0.0.1:{port}" in says.decode(), "Traceback" in says.decode()) == (
            1,
            True,
            False,
        )
    finally:
        await simulator.stop()
