"""A gateway over the simulated venues for some hours of the world: whatever can happen to books happens, then they are verified.

Time is virtual. Afterwards one fill is deleted, one fee altered and one funding doubled of every venue in the database.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import msgspec

from exchanges.choice import keeps_records
from exchanges.sim import server as simulation
from exchanges.sim.catalog import VENUES
from exchanges.sim.dated import accounts as accounts_of
from exchanges.sim.roster import ACCOUNTS
from exchanges.sim.server import Simulator
from exchanges.sim.world import Impossible, UnknownName
from exchanges.venue import AccountSpec
from gateway.config import Config, HistorySettings
from gateway.core.journal import DAY_MS
from gateway.core.records import Finding, Verification
from gateway.core.verified import unexplained, verify
from gateway.storage import verification
from tests.system.changes import only
from tests.system.desk import Desk, desk, eventually, stored_at
from tests.system.leaping import LeapingClock

HOUR_MS = 3_600_000
# Takes the desk, and from when to when its books are.
Look = Callable[[Desk, int, int], Awaitable[None]]
_LEAP_MS = 1_500
_SAMPLE_MS = 80_000  # equity is sampled once a minute, and what is compared stands apart from everything that happened
_LIMIT_S = 120.0


class Touched(NamedTuple):
    """A row that was tampered with."""

    kind: str
    account: str
    symbol: str
    id: str


class Outcome(NamedTuple):
    """What verifications said.

    Attributes:
        rows: By account, of untouched books. ``tampered``: the lines that nothing explains, after the tampering.
        venues: By account. ``touched``: what was done to which row.
        done: How often what was made to happen.
    """

    venues: dict[str, str]
    rows: dict[str, list[Verification]]
    tampered: list[tuple[str, Finding]]
    touched: list[Touched]
    done: Counter[str]

    def exact(self) -> bool:
        """Say whether each tampering is one line of its account and symbol, and there is no other line."""
        told = sorted((name, finding.symbol or "balance") for name, finding in self.tampered)
        return told == sorted((row.account, row.symbol) for row in self.touched)


async def lived(
    dsn: str, folder: Path, seed: int, rounds: int, accounts: Sequence[str] = (), look: Look | None = None
) -> Outcome:
    """Live through some rounds from flat accounts on, verify, tamper, verify again.

    Args:
        accounts: Those that are read; none: all.
        look: Called before the tampering, and behind it.
    """
    today = (time.time_ns() // 1_000_000 // DAY_MS + 1) * DAY_MS
    clock = LeapingClock(today + DAY_MS // 4)
    simulator = await simulation.start(seed, clock=clock.now_ms)
    whim, done = random.Random(seed), Counter[str]()
    try:
        _flatten(simulator)
        clock.leap(HOUR_MS)
        began = clock.now_ms()  # what was closed before is nothing that the gateway ever hears of
        changes = [stored_at(dsn), _without_past]
        if accounts:
            changes.insert(0, only(*accounts))
        async with desk(
            simulator, folder, changes=changes, clock=clock, tables=("positions", "accounts", "feeds")
        ) as shown:
            names = list(shown.gateway.config.accounts)
            await _pass(shown, clock, 10_000)
            await shown.live(60.0)
            await _pass(shown, clock, _SAMPLE_MS)
            for name, ccy in _FEES_IN.items():
                if name in names:
                    _do(simulator, done, {"kind": "fees", "account": name, "ccy": ccy})
            for name in names:
                _open_all(simulator, name, done)
            simulator.world.resume()
            await _pass(shown, clock, 30_000)
            for number in range(rounds):
                await _round(shown, clock, whim, done, last=number == rounds - 1)
            simulator.world.pause()
            await _pass(shown, clock, _SAMPLE_MS)
            for name in names:
                reading = shown.gateway.backfills.read(name, began, clock.now_ms())
                status = await _while_time_passes(shown, clock, reading)
                assert status.state == "done", f"{name}: {status}"
                assert not status.backfill.error, f"{name}: {status.backfill.error}"
            await _in_database(shown)
            until = clock.now_ms()
            venues = {name: settings.venue for name, settings in shown.gateway.config.accounts.items()}
            connection = await asyncpg.connect(dsn)
            try:
                rows = {name: await _verified(connection, name, began, until) for name in names}
                if look is not None:
                    await look(shown, began, until)
                touched = await tamper(connection, venues, began, until)
                again = {name: await _verified(connection, name, began, until) for name in names}
                if look is not None:
                    await look(shown, began, until)
            finally:
                await connection.close()
    finally:
        await simulator.stop()
    return Outcome(venues, rows, [(name, one) for name, of in again.items() for one in unexplained(of)], touched, done)


async def _round(shown: Desk, clock: LeapingClock, whim: random.Random, done: Counter[str], *, last: bool) -> None:
    """Close, let everything happen, open again; then some minutes in which the accounts trade by themselves."""
    simulator = shown.simulator
    simulator.world.pause()
    names = shown.gateway.config.accounts
    gone = [(name, symbol) for name in names for symbol in _close(simulator, name, whim, done)]
    _events(simulator, list(names), whim, done)
    for name in names:
        _close_unheard(simulator, name, whim, done)
    if last:
        for venue in ("okx", "bybit"):
            _do(simulator, done, {"kind": "expire", "venue": venue})
    simulator.world.resume()
    await _pass(shown, clock, 5_000)
    simulator.world.pause()
    for name, symbol in gone:
        side = "short" if whim.random() < 0.5 else "long"
        _do(simulator, done, {"kind": "open_position", "account": name, "symbol": symbol, "side": side})
    simulator.world.resume()
    await _pass(shown, clock, 60_000)


def _without_past(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
    """Leave out what lies before the world: its positions were opened days ago, by fills that nobody can tell of."""
    return msgspec.structs.replace(config, history=HistorySettings(backfill_days=0, verify=False)), specs


async def _verified(connection: Any, name: str, since: int, until: int) -> list[Verification]:
    return verify(await verification.material(connection, name, since, until, until, keeps_records), until)


def _flatten(simulator: Simulator) -> None:
    """Let everybody close everything, and nothing happen from then on."""
    simulator.world.pause()
    for name in simulator.world.accounts:
        for symbol in {position.symbol for position in simulator.world.positions(name)}:
            simulator.world.hands.close_position(name, symbol)


def _open_all(simulator: Simulator, name: str, done: Counter[str]) -> None:
    """Let an account open whatever it plans to hold."""
    for spec in accounts_of(ACCOUNTS, simulator.world.now_ms):
        for plan in spec.openings if spec.name == name else ():
            fault = {"kind": "open_position", "account": name, "symbol": plan.symbol, "side": plan.side}
            assert _do(simulator, done, fault), plan


# --- what happens ----------------------------------------------------------------------------------------------------------


def _close(simulator: Simulator, name: str, whim: random.Random, done: Counter[str]) -> list[str]:
    """Let an account close a part of something, and two symbols whole; return what may be opened again."""
    world = simulator.world
    perps = [one for one in _held(simulator, name) if world.contract(world.account(name).venue, one).kind == "perp"]
    if not perps:
        return []
    _do(simulator, done, {"kind": "close_position", "account": name, "symbol": whim.choice(perps), "share": "0.5"})
    whole = perps[:2]  # round after round, so that some positions are opened and closed before our eyes
    return [one for one in whole if _do(simulator, done, {"kind": "close_position", "account": name, "symbol": one})]


def _close_unheard(simulator: Simulator, name: str, whim: random.Random, done: Counter[str]) -> None:
    """Let an account close a part of an option, or of anything, of which no push tells: REST says less of it (Bybit)."""
    held, venue = _held(simulator, name), simulator.world.account(name).venue
    options = [one for one in held if simulator.world.contract(venue, one).kind == "option"]
    if held:
        symbol = whim.choice(options or held)
        fault = {"kind": "close_position", "account": name, "symbol": symbol, "share": "0.5", "quiet": True}
        done["unheard"] += _do(simulator, done, fault)


def _events(simulator: Simulator, names: Sequence[str], whim: random.Random, done: Counter[str]) -> None:
    """On every venue: funding is paid, profit settled, money comes and goes, and positions are closed by the venue."""
    world = simulator.world
    for venue in VENUES:
        mine = [name for name in names if world.account(name).venue == venue]
        held = {name: _held(simulator, name) for name in mine}
        perps = sorted({one for of in held.values() for one in of if world.contract(venue, one).kind == "perp"})
        for symbol in perps and whim.sample(perps, min(len(perps), 2)):
            _do(simulator, done, {"kind": "pay_funding", "venue": venue, "symbol": symbol, "rate": "0.0003"})
        if venue in ("okx", "bybit"):
            _do(simulator, done, {"kind": "settle", "venue": venue})
        for kind in ("liquidate", "adl"):
            name = whim.choice(mine)
            symbols = _held(simulator, name)
            if symbols:
                share = whim.choice(("0.5", "1"))
                _do(simulator, done, {"kind": kind, "account": name, "symbol": whim.choice(symbols), "share": share})
        for what, amount in (("deposit", "25"), ("withdrawal", "-3"), ("rebate", "0.7"), ("interest", "-0.02")):
            if what in _TOLD[venue]:
                name = whim.choice(mine)
                purse = next(iter(world.account(name).cash))
                fault = {"kind": "transfer", "account": name, "purse": purse, "what": what, "amount": amount}
                _do(simulator, done, fault)


# Accounts that pay fees in another coin than their contracts settle in.
_FEES_IN = {"bybit-main": "BTC", "aster-multi": "BTC"}
# What a venue books of its own accord has no word of its own everywhere.
_TOLD = {
    "okx": ("deposit", "withdrawal", "rebate", "interest"),
    "bybit": ("deposit", "withdrawal", "rebate", "interest"),
    "hyperliquid": ("deposit", "withdrawal", "rebate"),
    "aster": ("deposit", "withdrawal", "rebate"),
}


def _held(simulator: Simulator, name: str) -> list[str]:
    account = simulator.world.account(name)
    return sorted({position.symbol for position in account.positions.values()})


def _do(simulator: Simulator, done: Counter[str], fault: dict[str, Any]) -> bool:
    try:
        simulator.control.fault(fault)
    except (Impossible, UnknownName, ValueError) as error:
        done[f"not {fault['kind']}: {type(error).__name__}"] += 1
        return False
    done[fault["kind"]] += 1
    return True


# --- time -----------------------------------------------------------------------------------------------------------------


async def _pass(shown: Desk, clock: LeapingClock, ms: int) -> None:
    """Let time pass: quickly while nothing is being asked, so that no answer seems to take minutes."""
    until, loop = clock.now_ms() + ms, asyncio.get_running_loop()
    deadline = loop.time() + _LIMIT_S
    while clock.now_ms() < until:
        assert loop.time() < deadline, f"time does not pass: {shown._troubles()}"
        if shown.quiet():
            clock.leap(_LEAP_MS)
        await asyncio.sleep(0.01)


async def _in_database(shown: Desk) -> None:
    """Wait until nothing lies in the spool, where batches go while the database is slow."""
    store = shown.gateway.store
    await eventually(lambda: store.whole, "the spool is empty", _LIMIT_S)
    assert await store.stored()


async def _while_time_passes(shown: Desk, clock: LeapingClock, work: Any) -> Any:
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(_LIMIT_S):
        while not task.done():
            clock.leap(500)
            await asyncio.sleep(0.01)
    return task.result()


# --- tampering ----------------------------------------------------------------------------------------------------------------


async def tamper(connection: Any, venues: Mapping[str, str], since: int, until: int) -> list[Touched]:
    """On every venue delete one fill, alter one fee and double one funding, each of another account where there are so many."""
    touched = []
    for venue in sorted(set(venues.values())):
        names, free = [name for name, of in venues.items() if of == venue], list[tuple[str, str]]()
        for kind, statement in (("funding doubled", _PAID), ("fill deleted", _CLOSING), ("fee altered", _CLOSING)):
            row = await _pick(connection, names, statement, since, until, free)
            free.append((row["account"], row["symbol"]))
            names = [*(name for name in names if name != row["account"]), row["account"]]
            await _TAMPERINGS[kind](connection, row)
            touched.append(Touched(kind, row["account"], row["symbol"], row["id"]))
    return touched


async def _delete(connection: Any, row: Any) -> None:
    await connection.execute("DELETE FROM fills WHERE id = $1", row["id"])


async def _alter(connection: Any, row: Any) -> None:
    state = json.loads(row["state"])
    state["fee"] = str(2 * abs(Decimal(state["fee"])) + 1)
    await connection.execute("UPDATE fills SET state = $2::jsonb WHERE id = $1", row["id"], json.dumps(state))


async def _double(connection: Any, row: Any) -> None:
    await connection.execute(
        "INSERT INTO funding (id, account, at, state, user_name, journal) "
        "SELECT id || '#2', account, at, state, user_name, journal FROM funding WHERE id = $1", row["id"],
    )  # fmt: skip


_TAMPERINGS = {"fill deleted": _delete, "fee altered": _alter, "funding doubled": _double}
# Of a position that was opened and closed since: what closes is in the records of every venue.
_CLOSING = """
    SELECT f.id, f.account, f.symbol, f.state FROM fills f JOIN position_history h
    ON h.account = f.account AND h.symbol = f.symbol AND f.at = h.at AND (h.state ->> 'complete')::boolean
    WHERE f.account = $1 AND f.at >= $2 AND f.at < $3 AND (f.state ->> 'fee')::numeric <> 0 ORDER BY f.id
"""
_PAID = """
    SELECT id, account, symbol, state FROM funding WHERE account = $1 AND at >= $2 AND at < $3
    AND (state ->> 'amount')::numeric <> 0 ORDER BY id
"""


async def _pick(
    connection: Any, names: Sequence[str], statement: str, since: int, until: int, taken: Sequence[tuple[str, str]]
) -> Any:
    """Return a row of the first account that has one, and of no symbol that was tampered with."""
    for name in names:
        for row in await connection.fetch(statement, name, since, until):
            if (row["account"], row["symbol"]) not in taken:
                return row
    raise AssertionError(f"nothing to tamper with in {names}")
