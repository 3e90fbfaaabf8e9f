"""Bybit's official SDK, unmodified, against the simulator: only the address differs from what a user would write.

``pybit`` builds its addresses from templates (``endpoint`` of an HTTP session, ``PRIVATE_WSS`` for streams): those are set to
the simulator's. It blocks, so it runs in threads.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pybit import unified_trading
from pybit.exceptions import InvalidRequestError

from exchanges.sim.server import Simulator, start

WAIT_S = 10.0
ACCOUNT = "bybit-main"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = await start(3)
    running.control.pause()  # pushes then come from what the test does alone
    yield running
    await running.stop()


def session(simulator: Simulator, secret: str | None = None) -> unified_trading.HTTP:
    account = simulator.world.account(ACCOUNT)
    made = unified_trading.HTTP(api_key=account.key, api_secret=secret or account.secret)
    made.endpoint = simulator.urls["bybit"]
    return made


@asynccontextmanager
async def stream(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> AsyncIterator[unified_trading.WebSocket]:
    """Connect and log in (pybit does both at once); afterwards close the socket and wait for pybit's thread."""
    address = "ws" + simulator.urls["bybit"].removeprefix("http")
    monkeypatch.setattr(unified_trading, "PRIVATE_WSS", f"{address}/v5/private")
    account = simulator.world.account(ACCOUNT)
    keys = {"testnet": False, "api_key": account.key, "api_secret": account.secret}
    quick = {"ping_interval": 2, "ping_timeout": 1}  # pybit's thread notices its own end only that often
    socket = await asyncio.to_thread(unified_trading.WebSocket, "private", **{**keys, **quick, **options})
    try:
        yield socket
    finally:
        await asyncio.to_thread(socket.exit)
        await asyncio.to_thread(socket.wst.join, WAIT_S)


async def subscribed(simulator: Simulator, topic: str) -> None:
    """Wait until the subscription has arrived: pybit tells nobody that it was confirmed."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not any(topic in socket.state.topics for socket in simulator.fronts["bybit"].sockets):
        assert asyncio.get_running_loop().time() < deadline, f"{topic} was not subscribed in {WAIT_S} s"
        await asyncio.sleep(0.005)


async def test_reads_positions_over_rest(simulator: Simulator) -> None:
    answer = await asyncio.to_thread(session(simulator).get_positions, category="linear", settleCoin="USDT", limit=200)
    shown = {(row["symbol"], row["side"]): (row["size"], row["unrealisedPnl"]) for row in answer["result"]["list"]}
    linear = {c.symbol for c in simulator.world.listed("bybit") if c.settle == "USDT" and c.kind != "option"}
    held = [p for p in simulator.control.truth()["positions"] if p["account"] == ACCOUNT and p["symbol"] in linear]
    assert len(held) == 5
    assert {(p["symbol"], "Buy" if p["side"] == "long" else "Sell") for p in held} == set(shown)


async def test_an_rsa_key_signs_what_it_asks(simulator: Simulator) -> None:
    account = next(a for a in simulator.describe()["bybit"]["accounts"] if a["name"] == ACCOUNT)
    made = unified_trading.HTTP(
        api_key=account["rsa_key"], api_secret=account["rsa_private_key"], rsa_authentication=True
    )
    made.endpoint = simulator.urls["bybit"]
    simulator.control.fault({"kind": "open_position", "account": ACCOUNT, "symbol": "BTCUSDT", "size": "0.1"})
    (fill,) = (await asyncio.to_thread(made.get_executions, category="linear"))["result"]["list"]
    assert (fill["symbol"], fill["execQty"], fill["execType"]) == ("BTCUSDT", "0.1", "Trade")


async def test_a_wrong_secret_is_refused_over_rest(simulator: Simulator) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        await asyncio.to_thread(
            session(simulator, "not the secret").get_positions, category="linear", settleCoin="USDT"
        )
    assert refusal.value.status_code == 10004


async def test_reads_positions_over_its_private_stream(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: queue.Queue[dict[str, Any]] = queue.Queue(maxsize=100)
    async with stream(simulator, monkeypatch) as socket:
        await asyncio.to_thread(socket.position_stream, seen.put)
        await subscribed(simulator, "position")
        simulator.control.fault({"kind": "open_position", "account": ACCOUNT, "symbol": "BTCUSDT", "size": "0.1"})
        frame = await asyncio.to_thread(seen.get, timeout=WAIT_S)
        assert socket.auth is True  # pybit's thread read the answer to the login before it read this frame
    position = next(p for p in simulator.world.positions(ACCOUNT) if p.symbol == "BTCUSDT")
    row = frame["data"][0]
    assert (frame["topic"], row["symbol"], row["side"], row["size"]) == (
        "position",
        "BTCUSDT",
        "Buy",
        str(position.size),
    )


async def test_a_wrong_secret_is_refused_on_the_stream(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: queue.Queue[dict[str, Any]] = queue.Queue(maxsize=100)
    # With a callback of one's own pybit hands the refusal over; its default raises it in a thread that nobody watches.
    async with stream(simulator, monkeypatch, api_secret="not the secret", callback_function=seen.put):
        answer = await asyncio.to_thread(seen.get, timeout=WAIT_S)
    assert (answer["op"], answer["success"]) == ("auth", False)
