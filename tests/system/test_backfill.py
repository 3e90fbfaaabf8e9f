"""The past of accounts at all four venues, read by ``perpwire backfill`` with and without a gateway, and by a start."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import msgspec
import pytest

from exchanges.sim import server as simulation
from exchanges.sim.books import books
from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec
from gateway import backfilling
from gateway.backfill import Status
from gateway.config import Config, HistorySettings, StorageSettings
from gateway.core.records import Backfill
from gateway.demo import configure
from tests.system.changes import only
from tests.system.conftest import SEED
from tests.system.desk import Change, desk, eventually, stored_at
from tests.system.programs import COMMAND, ROOT, ended
from tests.system.written import written

ACCOUNTS = ("okx-main", "bybit-main", "hl-main", "aster-main")
DAY_MS = 86_400_000
DAYS = 20  # three windows at the venues that answer for a week at a time
NOBODY = 9  # nobody listens on the discard port


class Late:
    """A clock that begins in the past and is let catch up."""

    def __init__(self) -> None:
        self.behind_ms = DAYS * DAY_MS

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 - self.behind_ms


@pytest.fixture
async def aged() -> AsyncIterator[Simulator]:
    """A simulator whose accounts have weeks behind them, and stand still now."""
    clock = Late()
    running = await simulation.start(SEED, clock=clock)
    try:
        running.control.pause()
        while clock.behind_ms > DAY_MS // 8:
            clock.behind_ms -= DAY_MS // 4
            running.world.step(clock())
            for account in ACCOUNTS:
                _trade(running, account)
        clock.behind_ms = 0
        running.world.step(clock())
        yield running
    finally:
        await running.stop()


def _trade(simulator: Simulator, account: str) -> None:
    world = simulator.world
    held = next(p for p in world.positions(account) if world.contract(p.venue, p.symbol).kind == "perp")
    lot = world.contract(held.venue, held.symbol).lot
    world.hands.open_position(account, held.symbol, held.side, lot * 2)
    world.hands.close_position(account, held.symbol, held.side, lot)
    world.hands.pay_funding(held.venue, held.symbol, Decimal("0.0001"))


def true_fills(simulator: Simulator, account: str, since: int, until: int) -> Counter[tuple[str, ...]]:
    rows = [row for row in books(simulator.world)["fills"] if row["account"] == account and since <= row["at"] < until]
    assert rows
    return Counter((row["trade_id"], row["order_id"], row["symbol"], str(row["at"])) for row in rows)


async def stored_fills(dsn: str, account: str) -> Counter[tuple[str, ...]]:
    states = [msgspec.json.decode(row["state"]) for row in await rows(dsn, "fills", account)]
    return Counter((row["trade_id"], row["order_id"], row["symbol"], str(row["at"])) for row in states)


async def rows(dsn: str, table: str, account: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        found: list[asyncpg.Record] = await connection.fetch(
            f"SELECT * FROM {table} WHERE account = $1 ORDER BY at, id", account
        )
        return found
    finally:
        await connection.close()


async def everything(dsn: str, account: str) -> dict[str, list[tuple[str, str]]]:
    tables = ("fills", "funding", "transfers", "pnl_records", "position_history")
    return {table: [(row["id"], row["state"]) for row in await rows(dsn, table, account)] for table in tables}


def settled(simulator: Simulator, dsn: str, folder: Path) -> tuple[Config, dict[str, AccountSpec]]:
    """Return the configuration of somebody who runs no gateway."""
    config, specs = configure(simulator.describe(), NOBODY, folder)
    storage = StorageSettings(dsn=dsn, data_dir=str(folder), flush_interval_s=0.1)
    return msgspec.structs.replace(config, storage=storage), {spec.name: spec for spec in specs}


def in_file(config: Config, specs: Sequence[AccountSpec], folder: Path, dsn: str, port: int = NOBODY) -> Path:
    path = written(config, specs, folder)
    more = {"server": {"port": port}, "storage": {"dsn": dsn, "data_dir": str(folder)}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    return path


async def put_backfill(dsn: str, one: Backfill) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "INSERT INTO backfills (id, account, at, state) VALUES ($1, $2, $3, $4)",
            one.id, one.account, one.at, msgspec.json.encode(one).decode(),
        )  # fmt: skip
    finally:
        await connection.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_every_fill_of_the_past_is_stored_once_and_reading_twice_changes_nothing(
    account: str, aged: Simulator, dsn: str, folder: Path
) -> None:
    config, specs = settled(aged, dsn, folder)
    until = now_ms()
    since, told = until - (DAYS - 1) * DAY_MS, list[Status]()
    status = await backfilling.alone(config, specs[account], since, until, told.append)
    assert (status.state, status.backfill.error) == ("done", None)
    assert (status.backfill.since, status.backfill.done) == (since, until)
    assert await stored_fills(dsn, account) == true_fills(aged, account, since, until)
    paid = [p for p in aged.world.payments(account) if since <= p.at < until]
    first = await everything(dsn, account)
    assert len(first["funding"]) == len(paid) > 0
    assert first["pnl_records"]
    again = await backfilling.alone(config, specs[account], since, until, told.append)
    assert again.backfill.records == status.backfill.records
    assert await everything(dsn, account) == first
    kept = [row for row in await rows(dsn, "journal", account) if row["kind"] == "rest"]
    assert {row["journal"] for row in await rows(dsn, "fills", account)} <= {row["id"] for row in kept}


async def test_one_that_was_killed_goes_on_where_it_was(aged: Simulator, dsn: str, folder: Path) -> None:
    account = "bybit-main"
    config, specs = settled(aged, dsn, folder)
    path = in_file(config, [specs[account]], folder, dsn)
    until = now_ms()
    since = until - (DAYS - 1) * DAY_MS
    aged.control.fault({"kind": "late_rest", "venue": "bybit", "ms": 150})
    arguments = ("backfill", "--config", str(path), "--account", account, "--from", str(since), "--to", str(until))
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, cwd=ROOT)
    try:
        state = await _broken_off(dsn, account)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert since < state["done"] < until
    aged.control.fault({"kind": "late_rest", "venue": "bybit", "ms": 0})
    told = await ended(*arguments, timeout_s=60)
    assert (told.status, told.err) == (0, "")
    assert "everything from" in told.out
    assert await stored_fills(dsn, account) == true_fills(aged, account, since, until)
    (record,) = [msgspec.json.decode(row["state"]) for row in await rows(dsn, "backfills", account)]
    assert (record["done"], record["until"]) == (until, until)
    assert 0 < state["records"] < record["records"]


async def _broken_off(dsn: str, account: str) -> dict[str, Any]:
    """Return the record of a reading once one of its windows is behind it."""
    async with asyncio.timeout(30):
        while True:
            for row in await rows(dsn, "backfills", account):
                state: dict[str, Any] = msgspec.json.decode(row["state"])
                if state["done"] > state["since"]:
                    return state
            await asyncio.sleep(0.02)


async def test_the_command_speaks_to_a_gateway_that_runs(aged: Simulator, dsn: str, folder: Path) -> None:
    account = "bybit-main"
    async with desk(aged, folder, changes=(only(account), stored_at(dsn))) as running:
        port = running.gateway.server.port
        path = in_file(running.gateway.config, running.gateway.specs, folder, dsn, port)
        since = datetime.fromtimestamp((now_ms() - 10 * DAY_MS) / 1000, UTC).isoformat()
        told = await ended("backfill", "--config", path, "--account", account, "--from", since, timeout_s=60)
        assert (told.status, told.err) == (0, "")
        first = now_ms() - 10 * DAY_MS + 60_000
        true = true_fills(aged, account, first, now_ms())
        assert true <= await stored_fills(dsn, account)
        (row,) = (await running.get("/internal/backfills"))["backfills"]
        assert (row["state"], row["account"]) == ("done", account)


async def test_a_start_reads_the_past_of_a_new_account(aged: Simulator, dsn: str, folder: Path) -> None:
    account = "aster-main"

    def three_days(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
        return msgspec.structs.replace(config, history=HistorySettings(backfill_days=3)), specs

    began = now_ms()
    async with desk(aged, folder, changes=(only(account), three_days, stored_at(dsn))) as running:

        def done() -> bool:
            return [status.state for status in running.gateway.backfills.statuses()] == ["done"]

        await eventually(done, "the past is read", 20.0)
    found = await stored_fills(dsn, account)
    assert true_fills(aged, account, now_ms() - 3 * DAY_MS, began) <= found
    assert not true_fills(aged, account, 0, began - 4 * DAY_MS) & found


async def test_a_start_without_a_database_reads_nothing_until_it_is_there_and_then_what_is_missing(
    aged: Simulator, dsn: str, folder: Path
) -> None:
    account = "aster-main"

    def days(count: float) -> Change:
        return lambda config, specs: (
            msgspec.structs.replace(config, history=HistorySettings(backfill_days=count)),
            specs,
        )

    async with desk(aged, folder / "one", changes=(only(account), days(0), stored_at(dsn))) as running:
        await running.live()
    ended_at = now_ms()
    broken = Backfill(
        id=f"{account}:{ended_at - 5 * DAY_MS}:{ended_at}", account=account, at=ended_at,
        since=ended_at - 5 * DAY_MS, until=ended_at, done=ended_at - DAY_MS,
    )  # fmt: skip
    await put_backfill(dsn, broken)
    sockets = Path(parse_qs(urlsplit(dsn).query)["host"][0])
    name = folder / "sockets"
    away = dsn.replace(quote(str(sockets), safe=""), quote(str(name), safe=""))
    async with desk(aged, folder / "two", changes=(only(account), days(DAYS - 1), stored_at(away))) as running:
        gateway = running.gateway
        await eventually(lambda: gateway.engine.books.whole_since(account) is not None, "its records are whole", 20.0)
        assert list(gateway.backfills.statuses()) == []
        name.symlink_to(sockets)
        await eventually(
            lambda: {status.key for status in gateway.backfills.statuses() if status.state == "done"} >= {broken.id},
            "what was broken off is read", 30.0,
        )  # fmt: skip
        begun = [status.backfill for status in gateway.backfills.statuses() if status.key != broken.id]
    assert all(ended_at - one.since < DAY_MS // 2 for one in begun)  # not as if it were new


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--account", "nobody", "--from", "2026-01-01"), "there is no account nobody; there are: okx-main"),
        (("--account", "okx-main", "--from", "soon"), "is no moment: write 2026-11-01"),
        (("--account", "okx-main", "--from", "2100-01-01"), "does not lie after"),
        (("--account", "okx-main", "--from", "2026-01-02", "--to", "2026-01-01"), "does not lie after"),
        (("--account", "okx-main", "--from", "2026-01-02", "--to", "2100-01-01"), "lies in the future"),
        (("--account", "okx-main", "--from", "2020-01-01"), "the last 90 days alone"),
    ],
)
async def test_bad_input_is_one_line_that_says_what_would_do(
    arguments: Sequence[str], why: str, simulator: Simulator, folder: Path
) -> None:
    config, specs = configure(simulator.describe(), NOBODY, folder)
    path = in_file(config, [spec for spec in specs if spec.name == "okx-main"], folder, "postgresql:///nowhere")
    told = await ended("backfill", "--config", path, *arguments)
    assert told.status == 1
    assert why in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
