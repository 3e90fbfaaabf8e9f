"""What was realised today, against the simulator's own books: over a reconnect, a restart and midnight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from exchanges.sim import bybit_figures
from exchanges.sim import server as simulation
from exchanges.sim.server import Simulator
from exchanges.sim.world import World
from gateway.core.coverage import DAY_MS
from tests.system.changes import only
from tests.system.desk import Desk, desk, stored_at
from tests.system.leaping import LeapingClock

LEAP_MS = 200
LIMIT_S = 60.0
TABLES = ("positions", "accounts", "feeds", "summary")

# An account, a contract that it holds, and one that it does not.
PLACES = {
    "okx-main": ("BTC-USDT-SWAP", "LTC-USDT-SWAP"),
    "bybit-main": ("SOLUSDT", "LINKUSDT"),
    "hl-main": ("SOL", "AVAX"),
    "aster-main": ("BTCUSDT", "XRPUSDT"),
}


def realized(world: World, account: str, since: int) -> dict[str, Decimal]:
    """Return what the venue books for an account's positions from a moment on, with the digits that it tells."""
    venue = world.account(account).venue
    found: dict[str, Decimal] = {}
    for symbol, at, amounts in _booked(world, account):
        if at < since:
            continue
        settle = world.contract(venue, symbol).settle
        for amount in amounts:
            told = Decimal(bybit_figures.figure(amount)) if venue == "bybit" else amount
            found[settle] = found.get(settle, Decimal(0)) + told
    return {ccy: amount for ccy, amount in found.items() if amount}


def _booked(world: World, account: str) -> Iterator[tuple[str, int, tuple[Decimal, ...]]]:
    for fill in world.fills(account):
        yield fill.symbol, fill.at, (fill.trade.pnl, fill.trade.fee)
    for payment in world.payments(account):
        yield payment.position.symbol, payment.at, (payment.amount,)
    for change in world.settlements(account):
        before = change.before.settled if change.before else Decimal(0)
        yield change.position.symbol, change.at, (change.position.settled - before,)


async def after(shown: Desk, clock: LeapingClock, condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Let time pass until a condition holds: quickly while nothing is being asked, so that no answer seems to take minutes."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LIMIT_S
    while not condition():
        assert loop.time() < deadline, what()
        if shown.quiet():
            clock.leap(LEAP_MS)
        await asyncio.sleep(0.01)


async def equal(shown: Desk, clock: LeapingClock, since: int) -> None:
    """Let time pass until all books are whole and every account's sum is the venue's to the digit."""
    books, world = shown.gateway.engine.books, shown.simulator.world

    def state() -> dict[str, tuple[int | None, object, object]]:
        begins = clock.now_ms() // DAY_MS * DAY_MS
        return {
            name: (
                books.since(name) if books[name].coverage.whole else None,
                {ccy: amount for ccy, amount in books.total(name, begins).items() if amount},
                realized(world, name, begins),
            )
            for name in PLACES
        }

    def agrees() -> bool:
        return all(from_ == since and ours == theirs for from_, ours, theirs in state().values())

    await after(shown, clock, agrees, lambda: f"whole since {since} and equal: {state()}")
    engine = shown.gateway.engine

    def row() -> dict[str, Any]:
        return shown.client.tables["summary"].get("demo", {})

    def published() -> bool:
        found = row()
        usd = sum(
            float(amount) * engine.accounts[name].usd(ccy)
            for name in PLACES
            for ccy, amount in realized(world, name, clock.now_ms() // DAY_MS * DAY_MS).items()
        )
        told = found.get("total_realized_pnl_usd", float("nan"))
        return found.get("realized_since") == since and "realized_incomplete" not in found and abs(told - usd) < 0.01

    await after(shown, clock, published, lambda: f"published since {since}: {row()}")


def trade(simulator: Simulator, *, funding: bool = True) -> None:
    """Let every account pay funding, take profit of a half, and go in and out of a contract that it does not hold."""
    for account, (held, other) in PLACES.items():
        venue = simulator.world.account(account).venue
        if funding:
            simulator.control.fault({"kind": "pay_funding", "venue": venue, "symbol": held, "rate": "0.0003"})
        simulator.control.fault({"kind": "close_position", "account": account, "symbol": held, "share": "0.5"})
        round_trip(simulator, account, other)


def round_trip(simulator: Simulator, account: str, symbol: str) -> None:
    """Open and close a position."""
    simulator.control.fault({"kind": "open_position", "account": account, "symbol": symbol})
    simulator.control.fault({"kind": "close_position", "account": account, "symbol": symbol})


async def test_todays_result_is_the_venues_over_a_reconnect_a_restart_and_midnight(dsn: str, folder: Path) -> None:
    # Noon of tomorrow: the database goes by the machine's clock, and of its day nothing may be left out.
    today = (time.time_ns() // 1_000_000 // DAY_MS + 1) * DAY_MS
    clock = LeapingClock(today + DAY_MS // 2)
    simulator = await simulation.start(7, clock=clock.now_ms)
    changes = (only(*PLACES), stored_at(dsn))
    try:
        simulator.world.pause()
        round_trip(simulator, "okx-main", "LTC-USDT-SWAP")  # before anybody listens
        async with desk(simulator, folder, changes=changes, clock=clock, tables=TABLES) as first:
            await after(first, clock, first.all_live, first._troubles)
            await equal(first, clock, today)
            trade(simulator)
            simulator.control.fault({"kind": "settle", "venue": "bybit"})
            simulator.control.fault({"kind": "liquidate", "account": "aster-main", "symbol": "ETHUSDT", "share": "0.5"})
            await equal(first, clock, today)
            for venue in ("okx", "bybit", "hyperliquid", "aster"):
                simulator.control.fault({"kind": "drop", "venue": venue})
            dropped_at = clock.now_ms()
            trade(simulator, funding=False)  # flat again before anybody is back
            await equal(first, clock, today)
            memory = first.gateway.engine.accounts["okx-main"].memory
            pieces = memory.of("okx-main:LTC-USDT-SWAP:net:cross:USDT", "LTC-USDT-SWAP", dropped_at - 1, clock.now_ms())
            assert [piece.told for piece in pieces] == [False, False]
        trade(simulator, funding=False)  # while no gateway runs
        async with desk(simulator, folder, changes=changes, clock=clock, tables=TABLES) as second:
            await equal(second, clock, today)
            midnight = today + DAY_MS
            clock.leap(midnight - clock.now_ms() - 1_000)  # no stream outlives such a leap
            trade(simulator)
            clock.leap(2_000)
            trade(simulator)
            await equal(second, clock, midnight)
            books = second.gateway.engine.books
            assert all(books.total(name, midnight) for name in PLACES)
    finally:
        await simulator.stop()
