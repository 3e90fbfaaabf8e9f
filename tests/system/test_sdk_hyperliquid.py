"""Hyperliquid's official SDK, unmodified, against the simulator: only ``base_url`` differs from what a user would write.

It blocks and has threads of its own, so it runs in threads here.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from hyperliquid.info import Info
from hyperliquid.utils.error import ClientError

from exchanges.sim.server import Simulator, start

WAIT_S = 10.0
MAIN, SINGLE, DEX = "hl-main", "hl-single", "hl-dex"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = await start(3)
    running.control.pause()  # pushes then come from what the test does alone
    yield running
    await running.stop()


def address(simulator: Simulator, account: str) -> str:
    return simulator.world.account(account).address


@asynccontextmanager
async def client(simulator: Simulator, **options: Any) -> AsyncIterator[Info]:
    """Make a client without a socket; the SDK itself never closes its HTTP connections."""
    info = await asyncio.to_thread(Info, simulator.urls["hyperliquid"], skip_ws=True, **options)
    try:
        yield info
    finally:
        info.session.close()


@asynccontextmanager
async def stream(simulator: Simulator) -> AsyncIterator[Info]:
    """Connect its WebSocket; afterwards let the venue close it and wait for both of its threads.

    Closed by the SDK, its reader may notice only ten seconds later; closed by the venue, it forgets its socket.
    """
    info = await asyncio.to_thread(Info, simulator.urls["hyperliquid"])
    try:
        yield info
    finally:
        connection = info.ws_manager.ws.sock.sock
        for socket in simulator.fronts["hyperliquid"].sockets:
            socket.close(1000)
        await asyncio.to_thread(info.ws_manager.join, WAIT_S)
        await asyncio.to_thread(info.disconnect_websocket)
        connection.close()
        info.session.close()


def held(simulator: Simulator, account: str) -> dict[str, Decimal]:
    """Return the signed sizes that are true."""
    mine = [p for p in simulator.control.truth()["positions"] if p["account"] == account]
    return {p["symbol"]: Decimal(p["size"]) * (1 if p["side"] == "long" else -1) for p in mine}


async def test_reads_the_states_of_every_dex(simulator: Simulator) -> None:
    async with client(simulator, perp_dexs=["", "xyz"]) as info:
        assert {"BTC", "xyz:GOLD"} <= set(info.coin_to_asset)
        user = address(simulator, DEX)
        shown: dict[str, Decimal] = {}
        for dex in ("", "xyz"):
            state = await asyncio.to_thread(info.user_state, user, dex)
            shown |= {row["position"]["coin"]: Decimal(row["position"]["szi"]) for row in state["assetPositions"]}
        assert shown == held(simulator, DEX)
        spot = await asyncio.to_thread(info.spot_user_state, user)
        assert [(row["coin"], row["total"]) for row in spot["balances"]] == [("USDC", "300.0")]


async def test_reads_orders_fills_and_fundings(simulator: Simulator) -> None:
    user = address(simulator, SINGLE)
    async with client(simulator) as info:
        simulator.control.fault({"kind": "open_position", "account": SINGLE, "symbol": "HYPE", "size": "20"})
        placed = {"kind": "order", "account": SINGLE, "symbol": "HYPE", "side": "buy", "price": "20", "size": "1"}
        simulator.control.fault(placed)
        simulator.control.fault({"kind": "pay_funding", "venue": "hyperliquid", "symbol": "HYPE"})
        (order,) = await asyncio.to_thread(info.open_orders, user)
        (long,) = await asyncio.to_thread(info.frontend_open_orders, user)
        assert (order["coin"], order["side"], order["limitPx"], long["oid"]) == ("HYPE", "B", "20.0", order["oid"])
        status = await asyncio.to_thread(info.query_order_by_oid, user, order["oid"])
        assert status["order"]["status"] == "open"
        fill = (await asyncio.to_thread(info.user_fills, user))[0]
        assert (fill["coin"], fill["side"], fill["sz"]) == ("HYPE", "A", "20.0")
        (funding,) = await asyncio.to_thread(info.user_funding_history, user, 0)
        assert funding["delta"]["coin"] == "HYPE"
        assert (await asyncio.to_thread(info.user_role, user)) == {"role": "user"}


async def test_subscribes_to_states_and_to_fills(simulator: Simulator) -> None:
    user = address(simulator, SINGLE)
    fills: queue.Queue[Any] = queue.Queue(maxsize=100)
    states: queue.Queue[Any] = queue.Queue(maxsize=100)
    async with stream(simulator) as info:
        await asyncio.to_thread(info.subscribe, {"type": "userFills", "user": user}, fills.put)
        await asyncio.to_thread(info.subscribe, {"type": "webData2", "user": user}, states.put)
        first = await asyncio.to_thread(fills.get, timeout=WAIT_S)
        assert (first["channel"], first["data"]["isSnapshot"]) == ("userFills", True)
        simulator.control.fault({"kind": "open_position", "account": SINGLE, "symbol": "HYPE", "size": "20"})
        second = await asyncio.to_thread(fills.get, timeout=WAIT_S)
    assert (second["data"]["fills"][0]["sz"], "isSnapshot" in second["data"]) == ("20.0", False)
    # The venue took this subscription away; the SDK still offers it, and nothing ever comes.
    assert states.empty()


async def test_an_address_that_is_none_is_refused(simulator: Simulator) -> None:
    async with client(simulator) as info:
        with pytest.raises(ClientError) as refusal:
            await asyncio.to_thread(info.user_state, "0x1")
        assert refusal.value.status_code == 422
