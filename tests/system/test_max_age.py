"""``max_age_ms``: figures that the venue was asked for; and late answers, or none, which close and revive nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exchanges.sim.server import Simulator
from gateway.config import VerifySettings
from tests.system.changes import only, replace
from tests.system.conftest import at_database, execute
from tests.system.desk import Desk, desk, eventually, running_simulator, stored_at

TABLES = ("positions", "accounts", "feeds", "reconciliations", "closed")
# Account and a symbol that it holds, per venue; and those that a late answer is to speak of.
HELD = {
    "okx-main": ("XRP-USDT-SWAP", ("SOL-USDT-SWAP", "BTC-USDT-SWAP", "BTC-USD-SWAP")),
    "bybit-main": ("ETHUSDT", ("SOLUSDT", "BTCUSDT", "BTCPERP")),
    "hl-main": ("ETH", ("SOL", "BTC", "LINK")),
    "aster-main": ("ETHUSDT", ("SOLUSDT", "BTCUSDT")),
}
ACCOUNTS = sorted(HELD)


def seldom(config: Any, specs: Any) -> tuple[Any, Any]:
    """Leave the timer out: only who asks, asks."""
    return replace(config, verify=VerifySettings(every_s=600)), specs


class Questions:
    """Counts the REST requests that arrive at a simulator, per venue."""

    def __init__(self, simulator: Simulator) -> None:
        self.count = dict.fromkeys(simulator.fronts, 0)
        for venue, front in simulator.fronts.items():
            self._watch(venue, front.faults)

    def _watch(self, venue: str, faults: Any) -> None:
        ask = faults.take_server_error

        def counted() -> int:
            self.count[venue] += 1
            return int(ask())

        faults.take_server_error = counted  # the server asks it once for every request


@pytest.fixture(scope="module")
async def questions(running: Desk) -> Questions:
    return Questions(running.simulator)


@pytest.fixture(scope="module")
async def running(cluster: str, memory: Path) -> AsyncIterator[Desk]:
    """A desk whose world stands still and whose timer is long, shared by this module."""
    await execute(cluster, "CREATE DATABASE max_age TEMPLATE pristine")
    changes = (seldom, only(*HELD), stored_at(at_database(cluster, "max_age")))
    async with (
        running_simulator(7) as simulator,
        desk(simulator, memory / "unused", changes=changes, tables=TABLES) as started,
    ):
        await started.live()
        simulator.control.pause()
        await started.settled()
        await eventually(
            lambda: all("verified_at" in row for row in started.client.tables["accounts"].values()),
            "all are asked once",
        )
        yield started
    await execute(cluster, "DROP DATABASE max_age WITH (FORCE)")


def venue_of(running: Desk, account: str) -> str:
    return running.gateway.config.accounts[account].venue


def symbols(running: Desk, account: str) -> set[str]:
    return {row["symbol"] for row in running.positions.values() if row["account"] == account}


async def aged(running: Desk, account: str, ms: int) -> None:
    """Wait until the account was asked longer ago than that."""
    rounds, clock = running.gateway.feeds.rounds[account], running.gateway.clock
    await eventually(lambda: not rounds.is_fresh(ms), f"{account} was asked longer ago than {ms} ms", 15)
    assert clock.now_ms() > 0


async def asked(running: Desk, path: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as http, http.get(running.gateway.url + path) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.mark.parametrize("account", ["okx-main", "bybit-main"])
async def test_those_who_ask_together_share_one_question(running: Desk, questions: Questions, account: str) -> None:
    venue, path = venue_of(running, account), f"/v1/positions?account={account}&max_age_ms=1000"

    async def settled_count() -> int:
        rounds, books = running.gateway.feeds.rounds[account], running.gateway.engine.books[account]
        await eventually(lambda: books.coverage.whole, "the records of the day are read", 60)
        await eventually(lambda: rounds._wanted_history is None and not rounds._waiters, "nothing else is asked")
        return questions.count[venue]

    async def cost(callers: int) -> int:
        await aged(running, account, 1_000)
        before = await settled_count()
        answers = await asyncio.gather(*(asked(running, path) for _ in range(callers)))
        assert {status for status, _ in answers} == {200}
        assert len({answer["verified_at"][account] for _, answer in answers}) == 1
        return questions.count[venue] - before

    alone = await cost(1)
    assert alone > 0
    assert await cost(12) == alone


async def test_figures_that_are_young_enough_cost_nothing(running: Desk, questions: Questions) -> None:
    before = dict(questions.count)
    status, answer = await asked(running, "/v1/positions?account=okx-main,bybit-main&max_age_ms=86400000")
    assert status == 200
    assert answer["verified_at"].keys() == {"okx-main", "bybit-main"}
    assert questions.count == before


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_what_nobody_pushed_is_in_the_answer(running: Desk, account: str) -> None:
    symbol = HELD[account][0]
    path = f"/v1/positions?account={account}&symbol={symbol}"
    status, known = await asked(running, path)
    assert (status, len(known["positions"])) == (200, 1)
    assert "verified_at" not in known
    before = running.gateway.clock.now_ms()
    running.fault("close_position", account=account, symbol=symbol, quiet=True, seconds=30)
    status, answer = await asked(running, f"{path}&max_age_ms=0")
    assert (status, answer["positions"], answer["flat"]) == (200, {}, [symbol])
    assert answer["verified_at"].keys() == {account}
    assert answer["verified_at"][account] >= before
    running.fault("gap", account=account, seconds=0)


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_a_late_answer_raises_no_dead(running: Desk, questions: Questions, account: str) -> None:
    """Answers are computed before a position is closed, and come after the push that says so."""
    venue = venue_of(running, account)
    await aged(running, account, 1_100)
    running.fault("late_rest", venue=venue, ms=300)
    asking = asyncio.create_task(asked(running, f"/v1/positions?account={account}&max_age_ms=0"))
    gone: list[str] = []
    ghosts: set[str] = set()

    def look() -> None:
        if gone:
            shown = symbols(running, account)
            ghosts.update(symbol for symbol in gone if symbol in shown)

    try:
        for symbol in HELD[account][1]:
            count = questions.count[venue]
            await eventually(lambda c=count: questions.count[venue] > c or asking.done(), "a question is under way")  # type: ignore[misc]
            running.fault("close_position", account=account, symbol=symbol)
            await eventually(lambda s=symbol: s not in symbols(running, account), f"{symbol} is closed")  # type: ignore[misc]
            gone.append(symbol)
        await eventually(lambda: look() or asking.done(), "the answer comes", 30)
    finally:
        running.fault("late_rest", venue=venue, ms=0)
    status, _ = await asking
    assert status == 200
    await running.settled()
    look()
    assert ghosts == set()
    reasons = {
        row["symbol"]: row.get("reason")
        for row in running.client.tables["closed"].values()
        if row["account"] == account
    }
    await eventually(lambda: set(gone) <= reasons.keys(), "every close is on record")
    assert not [
        row
        for row in running.client.tables["reconciliations"].values()
        if row["symbol"] in gone and row["account"] == account
    ]


@pytest.mark.parametrize(
    ("account", "kind", "wanted"),
    [
        ("okx-main", "server_error", {"count": 40}),
        ("bybit-main", "429", {"seconds": 30}),
        ("hl-main", "server_error", {"count": 40}),
        ("aster-main", "429", {"seconds": 30}),
    ],
)
async def test_a_venue_that_cannot_be_asked_is_not_flat(running: Desk, account: str, kind: str, wanted: Any) -> None:
    venue = venue_of(running, account)
    held = symbols(running, account)
    closed, corrected = len(running.client.tables["closed"]), len(running.client.tables["reconciliations"])
    before = running.client.tables["accounts"][account]["verified_at"]
    running.fault(kind, venue=venue, **wanted)
    status, answer = await asked(running, f"/v1/positions?account={account}&symbol=nothing&max_age_ms=0")
    assert (status, answer["code"]) == (503, "venue_unreachable")
    assert account in answer["detail"]
    assert "flat" not in answer
    assert answer["verified_at"] == {account: before}
    status, answer = await asked(running, f"/v1/positions?account={account}&max_age_ms=0")
    assert status == 503
    assert {row["symbol"] for row in answer["positions"].values()} == held
    assert symbols(running, account) == held
    assert len(running.client.tables["closed"]) == closed
    assert len(running.client.tables["reconciliations"]) == corrected
    assert running.feeds[f"{account}:private"]["state"] == "live"
    running.fault("lift", venue=venue)
