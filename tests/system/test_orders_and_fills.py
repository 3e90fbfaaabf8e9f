"""Orders while they are open, fills once each, funding, and what money is worth: from the simulated venues to the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import msgspec
import pytest

from exchanges.sim.world import World
from gateway.client import Frame
from tests.system.changes import only
from tests.system.conftest import at_database, execute
from tests.system.desk import Desk, desk, eventually, running_simulator, stored_at

TABLES = ("positions", "accounts", "feeds", "orders", "fills", "reconciliations")


CENT = Decimal("0.0001")


class Place(NamedTuple):
    """An account, a perpetual that it holds, and one that it does not; ``rebate``: what its makers are paid."""

    account: str
    held: str
    other: str
    rebate: bool


PLACES = (
    Place("okx-hedge", "BTC-USDT-SWAP", "ETH-USDT-SWAP", True),
    Place("okx-isolated", "LTC-USDT-SWAP", "SOL-USDT-SWAP", False),
    Place("bybit-main", "SOLUSDT", "LINKUSDT", True),
    Place("hl-main", "SOL", "AVAX", True),
    Place("aster-main", "BTCUSDT", "XRPUSDT", False),
)
BY_VENUE = [place for place in PLACES if place.account != "okx-isolated"]


@pytest.fixture(scope="module")
async def running(cluster: str, memory: Path) -> AsyncIterator[Desk]:
    """A desk whose world stands still, shared by this module."""
    await execute(cluster, "CREATE DATABASE orders TEMPLATE pristine")
    changes = (only(*(place.account for place in PLACES), "aster-multi"), stored_at(at_database(cluster, "orders")))
    async with (
        running_simulator(7) as simulator,
        desk(simulator, memory / "unused", changes=changes, tables=TABLES) as started,
    ):
        await started.live()
        simulator.control.pause()
        await started.settled()
        yield started
    await execute(cluster, "DROP DATABASE orders WITH (FORCE)")


def rows(running: Desk, table: str, **wanted: object) -> list[dict[str, Any]]:
    found = running.client.tables[table].values()
    return [row for row in found if all(row.get(name) == value for name, value in wanted.items())]


def world_of(running: Desk) -> World:
    return running.simulator.world


async def history_read(running: Desk, account: str, symbol: str) -> None:
    """Have the account's past read, and wait until it was told."""
    rounds = running.gateway.feeds.rounds[account]
    read, ask = asyncio.Event(), rounds.inquiry.history

    async def history(since: int, symbols: Any) -> Any:
        found = await ask(since, symbols)
        asyncio.get_running_loop().call_soon(read.set)
        return found

    rounds.inquiry.history = history  # type: ignore[method-assign]
    try:
        rounds.want_history(running.gateway.clock.wall_ms() - 3_600_000, [symbol])
        async with asyncio.timeout(15):
            await read.wait()
    finally:
        del rounds.inquiry.history


# --- Orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", BY_VENUE, ids=lambda place: place.account)
async def test_an_order_is_shown_while_it_is_open_and_its_fills_once(running: Desk, place: Place) -> None:
    world, symbol = world_of(running), place.other
    contract = world.contract(world.account(place.account).venue, symbol)
    size, mark = contract.lot * 4, world.mark(contract.venue, symbol)
    price = mark * Decimal("0.9")
    running.fault("order", account=place.account, symbol=symbol, side="buy", price=str(price), size=str(size))
    (order,) = [one for one in world.orders(place.account) if one.symbol == symbol]

    def shown() -> list[dict[str, Any]]:
        return rows(running, "orders", account=place.account, symbol=symbol)

    await eventually(lambda: len(shown()) == 1, "it is shown")
    row = shown()[0]
    assert (row["side"], Decimal(row["price"]), Decimal(row["size"])) == ("buy", order.price, size)
    assert Decimal(row.get("filled", "0")) == 0

    world.hands.fill_order(order, contract.lot)
    await eventually(lambda: Decimal(shown()[0].get("filled", "0")) == contract.lot, lambda: f"filled: {shown()}")
    world.hands.fill_order(world.orders(place.account)[-1], contract.lot)
    await eventually(lambda: Decimal(shown()[0].get("filled", "0")) == 2 * contract.lot, lambda: f"filled: {shown()}")
    running.fault("cancel", account=place.account, symbol=symbol)
    await eventually(lambda: not shown(), "it is gone")

    # Both fills, once each, though the history brings them again.
    await history_read(running, place.account, symbol)
    true = [fill for fill in world.fills(place.account) if fill.symbol == symbol]
    told = rows(running, "fills", account=place.account, symbol=symbol)
    assert len(told) == len(true) == 2
    assert {row["order_id"] for row in told} == {told[0]["order_id"]}
    for row in told:
        assert (row["side"], row["role"], Decimal(row["size"])) == ("buy", "maker", contract.lot)
        assert Decimal(row["price"]) == order.price
        assert Decimal(row["fee"]) == pytest.approx(true[0].trade.fee, abs=CENT / 1000)  # Bybit rounds to eight digits
        assert (Decimal(row["fee"]) > 0) == place.rebate
    await running.settled()
    assert running.gaps() == []


@pytest.mark.parametrize("place", BY_VENUE, ids=lambda place: place.account)
async def test_a_taker_pays_and_a_reduction_says_its_profit(running: Desk, place: Place) -> None:
    world = world_of(running)
    before = {row["trade_id"] for row in rows(running, "fills", account=place.account, symbol=place.held)}
    side = {"side": "long"} if place.account == "okx-hedge" else {}
    running.fault("close_position", account=place.account, symbol=place.held, share="0.5", **side)
    fill = [one for one in world.fills(place.account) if one.symbol == place.held][-1]

    def told() -> list[dict[str, Any]]:
        found = rows(running, "fills", account=place.account, symbol=place.held)
        return [row for row in found if row["trade_id"] not in before]

    await eventually(lambda: len(told()) == 1, lambda: f"the fill is told: {told()}")
    await history_read(running, place.account, place.held)
    # OKX tells the profit of a fill beside it, in the history at the latest.
    (row,) = told()
    assert (row["role"], row["side"], Decimal(row["size"])) == ("taker", "sell", fill.trade.size)
    assert Decimal(row["fee"]) == pytest.approx(fill.trade.fee, abs=CENT)
    assert Decimal(row["fee"]) < 0
    if "realized_pnl" in row:
        assert Decimal(row["realized_pnl"]) == pytest.approx(fill.trade.pnl, abs=Decimal("0.0001"))
    await running.settled()


async def test_a_fill_that_the_position_does_not_show_yet_marks_the_row(
    running: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hyperliquid tells a fill at once and the state it led to seconds later; it is never computed from the fill."""
    account, symbol = "hl-main", "BTC"
    seen: list[tuple[str, str | None]] = []

    def look() -> str:
        (row,) = rows(running, "positions", account=account, symbol=symbol)
        seen.append((row["size"], row.get("stale", {}).get("reason")))
        return str(row["size"])

    receive = running.client.replica.receive

    def received(frame: Frame) -> list[Frame]:  # the state may follow within the time between two looks
        answers = receive(frame)
        look()
        return answers

    monkeypatch.setattr(running.client.replica, "receive", received)
    before = look()
    running.fault("close_position", account=account, symbol=symbol, share="0.5")
    await eventually(lambda: look() != before, "the state has come")
    await running.settled()
    look()
    assert (before, "fill_pending") in seen
    assert seen[-1][1] is None
    assert {size for size, _ in seen} == {before, seen[-1][0]}


# --- Funding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", BY_VENUE, ids=lambda place: place.account)
async def test_funding_is_stored_once_with_its_sign(running: Desk, place: Place, cluster: str) -> None:
    """The long pays where the rate is positive, and receives where it is negative."""
    world = world_of(running)
    for rate in ("0.0005", "-0.0002"):
        running.fault("pay_funding", account=place.account, symbol=place.held, rate=rate)
        paid_at = world.now_ms  # Hyperliquid tells payments apart by their time alone
        await eventually(lambda at=paid_at: world.now_ms > at, "time goes on")  # type: ignore[misc]
    true = [one for one in world.payments(place.account) if one.position.symbol == place.held]
    if place.account != "hl-main":  # whose weight for questions is spent by now: its stream alone tells it
        await history_read(running, place.account, place.held)
    checkpoint = running.gateway.store.checkpoint
    found: list[Mapping[str, Any]] = []
    deadline = asyncio.get_running_loop().time() + 10
    connection = await asyncpg.connect(at_database(cluster, "orders"))
    try:
        while len(found) < len(true):
            assert asyncio.get_running_loop().time() < deadline, f"{len(found)} of {len(true)}: {found}"
            await asyncio.sleep(0.02)
            query = "SELECT state FROM funding WHERE account = $1 AND symbol = $2 ORDER BY at"
            found = [
                msgspec.json.decode(row["state"]) for row in await connection.fetch(query, place.account, place.held)
            ]
        await eventually(lambda: not checkpoint.status.waiting, "everything is stored")
        assert len(await connection.fetch(query, place.account, place.held)) == len(true)
    finally:
        await connection.close()
    assert sorted(Decimal(row["amount"]) for row in found) == pytest.approx(
        sorted(one.amount for one in true), abs=Decimal("0.000001")
    )
    signs = {(one.position.side, one.rate > 0): one.amount > 0 for one in true}
    assert signs[("long", True)] is False
    assert signs[("long", False)] is True


@pytest.mark.parametrize("place", BY_VENUE, ids=lambda place: place.account)
async def test_rows_say_what_the_next_funding_costs(running: Desk, place: Place) -> None:
    def told() -> list[dict[str, Any]]:
        found = rows(running, "positions", account=place.account, symbol=place.held)
        return [row for row in found if {"funding_rate", "next_funding_at", "next_funding"} <= row.keys()]

    await eventually(told, "the row says it")
    now = running.gateway.clock.wall_ms()
    for row in told():
        assert now < row["next_funding_at"] <= now + 8 * 3_600_000
        pays = (row["funding_rate"] > 0) == (row["side"] == "long")
        assert (row["next_funding"] < 0) == pays or row["funding_rate"] == 0


# --- What money is worth ----------------------------------------------------------------------------------------------


async def test_a_stablecoin_has_a_price(running: Desk) -> None:
    account = "bybit-main"

    def usdt() -> float:
        row = running.client.tables["accounts"][account]
        return (
            float(rows(running, "positions", account=account, symbol="SOLUSDT")[0]["notional_usd"])
            / float(rows(running, "positions", account=account, symbol="SOLUSDT")[0]["notional"])
            if "assumed_dollars" not in row or "USDT" not in row["assumed_dollars"]
            else 1.0
        )

    await eventually(
        lambda: usdt() != 1.0, lambda: f"{account}: {usdt()}, {running.client.tables['accounts'][account]}"
    )
    assert usdt() == pytest.approx(float(world_of(running).usd("USDT")), rel=1e-6)


@pytest.mark.parametrize("account", ["aster-multi", "okx-hedge", "bybit-main"])
async def test_collateral_in_bitcoin_moves_equity(running: Desk, account: str) -> None:
    def row() -> dict[str, Any]:
        return running.client.tables["accounts"][account]

    def bitcoin() -> Decimal:
        return world_of(running).usd("BTC")

    before, price = row(), bitcoin()
    # What positions in bitcoin add besides, by their own signed size.
    held = [
        one for one in rows(running, "positions", account=account) if one.get("base") == "BTC" and one["kind"] == "perp"
    ]
    exposure = float(before["equity"]["BTC"]) + sum(
        float(one.get("base_quantity", 0)) for one in held if one["contract_type"] == "linear"
    )
    assert float(before["equity"]["BTC"]) > 0
    running.fault("shock", underlying="BTC", fraction="0.02")
    moved = float(bitcoin() - price)
    assert moved > 0
    if account == "bybit-main":  # futures, options and inverse contracts too: only the direction is plain
        await eventually(lambda: row()["equity_usd"] > before["equity_usd"], "equity rises")
    else:
        await eventually(
            lambda: row()["equity_usd"] - before["equity_usd"] == pytest.approx(exposure * moved, rel=0.05),
            lambda: f"{row()['equity_usd'] - before['equity_usd']}, expected {exposure * moved}",
        )
