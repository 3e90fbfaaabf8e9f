"""What happens at the venues behind the gateway's back: the row is right, and the correction says what it was and who says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exchanges.sim.server import Simulator
from tests.system.changes import often, only
from tests.system.conftest import at_database, execute
from tests.system.desk import Desk, Rows, desk, eventually, running_simulator, stored_at

ACCOUNTS = ("okx-main", "okx-isolated", "bybit-main", "bybit-isolated", "hl-main", "aster-main")
TABLES = ("positions", "accounts", "feeds", "reconciliations", "closed")
QUIET_S = 8  # longer than every account needs to be asked
SETTLED_S = 25.0


@dataclass(frozen=True, eq=False)
class Act:
    """Something that happens to an account, and what is to be on record where nothing was pushed.

    Attributes:
        wanted: For the simulator's control port, without kind and account.
        cls: Of the correction; "": there is none.
        words: What stands in its evidence.
        reason: Of the closed cycle; "": the position stays.
    """

    kind: str
    account: str
    symbol: str
    wanted: Mapping[str, str]
    cls: str
    words: tuple[str, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.account} {self.symbol}"


SHARE = {"share": "0.5"}
# The simulator's dated contracts are named by the day: the one that the account holds is meant.
DATED = "dated"

ACTS = (
    Act("close_position", "okx-main", "ETH-USDT-SWAP", {"side": "short"}, "missed_event", ("subType 6",), "trade"),
    Act("close_position", "okx-main", "SOL-USDT-SWAP", SHARE, "missed_event", ("subType 5",)),
    Act("open_position", "okx-main", "LTC-USDT-SWAP", {}, "missed_event", ("subType 3",)),
    Act("liquidate", "okx-main", "XRP-USDT-SWAP", {}, "liquidated", ("subType 105",), "liquidated"),
    Act("adl", "okx-main", "BTC-USDT-SWAP", {"share": "0.25"}, "adl", ("subType 125",)),
    Act("silent", "okx-main", "BTC-USD-SWAP", SHARE, "unknown"),
    Act("expire", "okx-main", DATED, {}, "settled", ("subType 113",), "settled"),
    Act("margin", "okx-isolated", "LTC-USDT-SWAP", {"amount": "10"}, "missed_event", ("bill type 6 subType 160",)),
    Act("split", "okx-isolated", "PEPE-USDT-SWAP", {"factor": "10"}, "unknown"),
    Act("close_position", "bybit-main", "ETHUSDT", {}, "missed_event", ("Trade",), "trade"),
    Act("close_position", "bybit-main", "SOLUSDT", SHARE, "missed_event", ("Trade",)),
    Act("open_position", "bybit-main", "LINKUSDT", {}, "missed_event", ("Trade",)),
    Act("liquidate", "bybit-main", "XRPUSDT", {}, "liquidated", ("BustTrade",), "liquidated"),
    Act("adl", "bybit-main", "BTCUSDT", {"share": "0.25"}, "adl", ("AdlTrade",)),
    Act("silent", "bybit-main", "BTCPERP", {}, "unknown", (), "reconciled"),
    Act("expire", "bybit-main", DATED, {}, "settled", ("Delivery",), "settled"),
    Act("close_position", "aster-main", "ETHUSDT", {}, "missed_event", (), "trade"),
    Act("open_position", "aster-main", "XRPUSDT", {}, "missed_event"),
    Act("liquidate", "aster-main", "1000PEPEUSDT", {}, "liquidated", (), "liquidated"),
    Act("adl", "aster-main", "BTCUSDT", SHARE, "adl"),
    # Hyperliquid's states are repeated whatever else is swallowed: they tell, and nothing is corrected.
    Act("close_position", "hl-main", "ETH", {}, "", (), "trade"),
    Act("close_position", "hl-main", "SOL", SHARE, ""),
    Act("open_position", "hl-main", "AVAX", {}, ""),
    Act("liquidate", "hl-main", "kPEPE", {}, "", (), "liquidated"),
)

# Other positions, so that both can follow one another: announced, these correct nothing.
ANNOUNCED = (
    Act("close_position", "okx-main", "DOGE-USDT-SWAP", {}, "", (), "trade"),
    Act("liquidate", "okx-main", "SOL-USDT-SWAP", SHARE, ""),
    Act("adl", "okx-main", "XRP-USDT-SWAP", SHARE, ""),
    Act("pay_funding", "okx-main", "BTC-USDT-SWAP", {}, ""),
    Act("margin", "okx-isolated", "BTC-USDT-SWAP", {"amount": "10"}, ""),
    Act("split", "okx-isolated", "PEPE-USDT-SWAP", {"factor": "10"}, ""),
    Act("close_position", "bybit-isolated", "LINKUSDT", {}, "", (), "trade"),
    Act("liquidate", "bybit-main", "SOLUSDT", SHARE, ""),
    Act("adl", "bybit-main", "XRPUSDT", SHARE, ""),
    Act("pay_funding", "bybit-main", "BTCUSDT", {}, ""),
    Act("margin", "bybit-isolated", "ETHUSDT", {"amount": "10"}, ""),
    Act("close_position", "hl-main", "DOGE", {}, "", (), "trade"),
    Act("liquidate", "hl-main", "SOL", SHARE, ""),
    Act("pay_funding", "hl-main", "BTC", {}, ""),
    Act("margin", "hl-main", "LINK", {"amount": "10"}, ""),
    Act("close_position", "aster-main", "SOLUSDT", SHARE, ""),
    Act("liquidate", "aster-main", "ETHUSDT", SHARE, ""),
    Act("pay_funding", "aster-main", "BTCUSDT", {}, ""),
)


def symbol_of(simulator: Simulator, act: Act) -> str:
    """Return the symbol that an act concerns."""
    if act.symbol != DATED:
        return act.symbol
    world = simulator.world
    held = [position.symbol for position in world.positions(act.account)]
    venue = world.account(act.account).venue
    return next(one for one in held if world.contract(venue, one).kind == "future" and "USDT" in one)


def carry_out(simulator: Simulator, act: Act, **more: object) -> str:
    """Let it happen; return the symbol."""
    symbol = symbol_of(simulator, act)
    wanted = {"kind": act.kind, "account": act.account, "symbol": symbol, **act.wanted, **more}
    simulator.control.fault(wanted)
    return symbol


class Told(NamedTuple):
    """What a gateway showed of the acts, and another one after it on the same database."""

    symbols: dict[Act, str]
    announced: Rows  # corrections of what was announced
    announced_left: list[str]  # how tables and truth differed
    left: list[str]  # … after the first round of verification since
    acted_at: int
    verified_at: dict[str, int]
    corrections: Rows
    closed: Rows
    served: dict[str, list[dict[str, Any]]]  # by query
    counters: Counter[str]
    metrics: str
    gaps: list[str]
    later: Rows  # the second gateway's corrections
    later_closed: Rows


@pytest.fixture(scope="module")
async def told(cluster: str, memory: Path) -> AsyncIterator[Told]:
    await execute(cluster, "CREATE DATABASE reconciliation TEMPLATE pristine")
    dsn = at_database(cluster, "reconciliation")
    changes = (often, only(*ACCOUNTS), stored_at(dsn))
    async with running_simulator(7) as simulator:
        async with desk(simulator, memory / "unused", changes=changes, tables=TABLES) as running:
            found = await _scenario(running)
        async with desk(simulator, memory / "unused", changes=changes, tables=TABLES) as second:
            tables = second.client.tables
            found["later"], found["later_closed"] = dict(tables["reconciliations"]), dict(tables["closed"])
    yield Told(**found)
    await execute(cluster, "DROP DATABASE reconciliation WITH (FORCE)")


async def _scenario(running: Desk) -> dict[str, Any]:
    simulator, client, gateway = running.simulator, running.client, running.gateway
    control, clock = simulator.control, gateway.clock
    await running.live()
    live_at = clock.now_ms()
    control.pause()
    await running.settled()
    # What happens in the first second of a connection may have been before it.
    await eventually(lambda: clock.now_ms() > live_at + 1_100, "the streams were live for a while")
    found: dict[str, Any] = {}

    for act in ANNOUNCED:
        carry_out(simulator, act)
    announced_at = clock.now_ms()
    await verified(running, announced_at)
    await eventually(lambda: not gateway.engine._reports.corrections.held, "no difference waits", SETTLED_S)
    found["announced"] = dict(client.tables["reconciliations"])
    found["announced_left"] = running.differences(await running.settled())

    acted_at = clock.now_ms()
    found["symbols"] = {act: carry_out(simulator, act, quiet=True, seconds=QUIET_S) for act in ACTS}
    found["acted_at"] = acted_at
    found["verified_at"] = await verified(running, acted_at)
    # A stream that did not tell is made anew meanwhile, and its account's rows say that it is away: they are right all the same.
    renewed, away = tuple(f"{name} " for name in gateway.feeds._renewed_at), "'reason': 'private_feed'}"
    left = [one for one in running.differences(await running.snapshot()) if not one.startswith("replica")]
    found["left"] = [one for one in left if not (one.startswith(renewed) and one.endswith(away))]

    def classified() -> bool:
        rows = client.tables["reconciliations"].values()
        judged = {(row["account"], row.get("symbol")) for row in rows if "class" in row}
        wanted = {(act.account, symbol) for act, symbol in found["symbols"].items() if act.cls}
        ended = {(row["account"], row["symbol"]) for row in client.tables["closed"].values() if "reason" in row}
        closed = {(act.account, symbol) for act, symbol in found["symbols"].items() if act.reason}
        return wanted <= judged and closed <= ended and not any(row.get("pending") for row in rows)

    def missing() -> str:
        rows = client.tables["reconciliations"].values()
        known = {(row["account"], row.get("symbol")): row.get("class") for row in rows}
        ended = {(row["account"], row["symbol"]): row.get("reason") for row in client.tables["closed"].values()}
        return f"every correction has its class: {known}; every close its reason: {ended}"

    await eventually(classified, missing, SETTLED_S)
    await eventually(lambda: not gateway.engine._reports.corrections.held, "no difference waits", SETTLED_S)
    found["corrections"] = dict(client.tables["reconciliations"])
    found["closed"] = dict(client.tables["closed"])
    queries = ("", "?account=okx-main", "?symbol=ETHUSDT", "?class=liquidated", "?class=adl,settled&account=bybit-main")
    found["served"] = {query: await _served(running, query) for query in queries}
    found["counters"] = Counter(gateway.engine.counters)
    found["metrics"] = await running.text("/metrics")
    found["gaps"] = running.gaps()
    return found


async def verified(running: Desk, since: int) -> dict[str, int]:
    """Wait until every account was asked since then, and return when."""

    def asked() -> dict[str, int]:
        return {name: row.get("verified_at", 0) for name, row in running.client.tables["accounts"].items()}

    await eventually(lambda: min(asked().values()) >= since, lambda: f"all are asked after {since}: {asked()}", 15.0)
    return asked()


async def _served(running: Desk, query: str) -> list[dict[str, Any]]:
    answer = await running.get(f"/v1/reconciliations{query}")
    return list(answer["reconciliations"].values())


def corrections_of(told: Told, act: Act) -> list[dict[str, Any]]:
    rows = told.corrections.values()
    return [row for row in rows if (row["account"], row.get("symbol")) == (act.account, told.symbols[act])]


async def test_what_is_announced_corrects_nothing(told: Told) -> None:
    assert told.announced == {}
    assert told.announced_left == []


async def test_every_row_is_right_after_one_round(told: Told) -> None:
    assert told.left == []
    assert told.gaps == []


@pytest.mark.parametrize("act", ACTS, ids=str)
async def test_the_correction_says_what_it_was_and_who_says_so(told: Told, act: Act) -> None:
    found = corrections_of(told, act)
    assert [row["class"] for row in found] == ([act.cls] if act.cls else [])
    for row in found:
        assert row["trigger"] in ("timer", "stream")
        assert row["before"] != row["after"]
        assert row["found_at"] >= told.acted_at
        assert bool(row["evidence"]) == (act.cls != "unknown")
        text = " ".join(row["evidence"])
        assert [word for word in act.words if word not in text] == []


@pytest.mark.parametrize("act", [act for act in ACTS if act.reason], ids=str)
async def test_the_closed_cycle_says_why(told: Told, act: Act) -> None:
    rows = [row for row in told.closed.values() if (row["account"], row["symbol"]) == (act.account, told.symbols[act])]
    assert [row.get("reason") for row in rows] == [act.reason]
    assert rows[0]["status"] == ("liquidated" if act.reason == "liquidated" else "closed")
    assert Decimal(rows[0]["size"]) > 0


async def test_they_are_served_by_account_symbol_and_class(told: Told) -> None:
    everything = told.served[""]
    assert len(everything) == len(told.corrections) > 0
    for query, fits in {
        "?account=okx-main": lambda row: row["account"] == "okx-main",
        "?symbol=ETHUSDT": lambda row: row.get("symbol") == "ETHUSDT",
        "?class=liquidated": lambda row: row["class"] == "liquidated",
        "?class=adl,settled&account=bybit-main": lambda row: (
            row["class"] in ("adl", "settled") and row["account"] == "bybit-main"
        ),
    }.items():
        assert told.served[query] == [row for row in everything if fits(row)] != []


async def test_they_are_counted(told: Told) -> None:
    classes = Counter(row["class"] for row in told.corrections.values())
    for cls, count in classes.items():
        assert told.counters[f"corrections_{cls}"] == count
        assert f"perpwire_engine_corrections_{cls}_total {float(count)}" in told.metrics
    assert told.counters["corrections"] == len(told.corrections)


async def test_another_gateway_on_the_same_database_shows_them(told: Told) -> None:
    assert told.later.items() >= told.corrections.items()
    assert told.later_closed.items() >= told.closed.items()


# --- While nobody listened ------------------------------------------------------------------------------------------------

CUT = (
    Act("close_position", "okx-main", "ETH-USDT-SWAP", {"side": "short"}, "closed_on_venue", (), "trade"),
    Act("close_position", "okx-main", "SOL-USDT-SWAP", SHARE, "size"),
    Act("open_position", "okx-main", "LTC-USDT-SWAP", {}, "opened_on_venue"),
    Act("close_position", "bybit-main", "ETHUSDT", {}, "closed_on_venue", (), "trade"),
    Act("close_position", "bybit-main", "SOLUSDT", SHARE, "size"),
    Act("open_position", "bybit-main", "LINKUSDT", {}, "opened_on_venue"),
    Act("close_position", "hl-main", "ETH", {}, "closed_on_venue", (), "trade"),
    Act("close_position", "hl-main", "SOL", SHARE, "size"),
    Act("open_position", "hl-main", "AVAX", {}, "opened_on_venue"),
    Act("liquidate", "hl-main", "kPEPE", {}, "liquidated", (), "liquidated"),
    Act("close_position", "aster-main", "ETHUSDT", {}, "closed_on_venue", (), "trade"),
    Act("close_position", "aster-main", "BTCUSDT", SHARE, "size"),
    Act("open_position", "aster-main", "XRPUSDT", {}, "opened_on_venue"),
)


async def test_what_happened_while_the_connections_were_cut_is_found_when_they_are_back(dsn: str, folder: Path) -> None:
    async with (
        running_simulator(8) as simulator,
        desk(simulator, folder, changes=(only(*ACCOUNTS), stored_at(dsn)), tables=TABLES) as running,
    ):
        await running.live()
        simulator.control.pause()
        await running.settled()
        running.fault("drop", connection="private", abort=True)
        symbols = {act: carry_out(simulator, act) for act in CUT}
        await eventually(lambda: not running.all_live(), "the cut is noticed")
        await running.live()
        await running.settled()
        keys = {(act.account, symbol): act for act, symbol in symbols.items()}

        def classes() -> dict[tuple[str, str], str | None]:
            rows = running.client.tables["reconciliations"].values()
            return {(row["account"], row["symbol"]): row.get("class") for row in rows}

        def ended() -> dict[tuple[str, str], str | None]:
            rows = running.client.tables["closed"].values()
            return {(row["account"], row["symbol"]): row.get("reason") for row in rows}

        await eventually(
            lambda: classes() == {key: act.cls for key, act in keys.items()},
            lambda: f"as it happened: {sorted(classes().items())}",
            SETTLED_S,
        )
        rows = running.client.tables["reconciliations"].values()
        assert {row["trigger"] for row in rows} == {"reconnect"}
        assert all(row["evidence"] for row in rows)
        reasons = {key: act.reason for key, act in keys.items() if act.reason}
        await eventually(
            lambda: ended() == reasons,
            lambda: f"every close has its reason: {ended()}",
            SETTLED_S,
        )
