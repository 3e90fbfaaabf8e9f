"""Accounts that must not be counted together: rehearsals beside live ones, and one account under two names."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec
from gateway.config import Config
from gateway.storage.errors import ExecutionSwitched
from gateway.store import forget_rows
from tests.system.changes import only, settings
from tests.system.desk import Desk, desk, eventually, stored_at

LIVE, PAPER = ("okx-main", "bybit-main"), ("okx-isolated", "bybit-isolated")


async def stored(running: Desk) -> None:
    """Wait until the database has taken everything."""
    checkpoint = running.gateway.store.checkpoint
    await eventually(lambda: checkpoint.status.writes > 0 and not checkpoint.status.waiting, "everything is stored")


async def test_rehearsals_never_enter_live_totals(simulator: Simulator, dsn: str, folder: Path) -> None:
    paper = [settings(name, execution="paper") for name in PAPER]
    backtest = settings("hl-main", execution="backtest")
    changes = (only(*LIVE, *PAPER, "hl-main"), *paper, backtest, stored_at(dsn))
    simulator.control.pause()
    async with desk(simulator, folder, changes=changes, tables=("positions", "accounts", "summary")) as running:
        await running.live()

        def counts() -> dict[str, int]:
            return {name: row["total_positions"] for name, row in running.client.tables["summary"].items()}

        def of(*names: str) -> int:
            return sum(row["account"] in names for row in running.positions.values())

        await eventually(
            lambda: counts() == {"demo": of(*LIVE), "demo:paper": of(*PAPER), "demo:backtest": of("hl-main")} and of(*LIVE),
            lambda: f"each is counted apart: {counts()}",
        )  # fmt: skip
        shown = {row["account"]: row["execution"] for row in running.positions.values()}
        assert shown == {**dict.fromkeys(LIVE, "live"), **dict.fromkeys(PAPER, "paper"), "hl-main": "backtest"}
        rows = running.client.tables["summary"]
        assert set(rows["demo"]["exchange_distribution"]) == {"okx", "bybit"}
        assert set(rows["demo:backtest"]["exchange_distribution"]) == {"hyperliquid"}
        accounts = running.client.tables["accounts"]
        await eventually(lambda: all("equity_usd" in row for row in accounts.values()), "every account is priced")
        for name, members in (("demo", LIVE), ("demo:paper", PAPER)):
            equity = sum(accounts[one]["equity_usd"] for one in members)
            assert rows[name]["total_equity_usd"] == pytest.approx(equity, rel=1e-6)
        for name, members in (("demo", LIVE), ("demo:paper", PAPER)):
            weights = [row.get("weight", 0) for row in running.positions.values() if row["account"] in members]
            assert sum(weights) == pytest.approx(1, abs=1e-2), name


async def test_a_switch_over_open_rows_does_not_start_until_they_are_closed_by_hand(
    simulator: Simulator, dsn: str, folder: Path
) -> None:
    accounts = only("okx-isolated", "bybit-isolated")
    async with desk(simulator, folder, changes=(accounts, stored_at(dsn))) as running:
        await running.live()
        simulator.control.pause()
        await running.settled()
        held = sum(row["account"] == "okx-isolated" for row in running.positions.values())
        await stored(running)
        settled = running.gateway.config.storage
    switched = (accounts, settings("okx-isolated", execution="paper"), stored_at(dsn))
    with pytest.raises(ExecutionSwitched) as refused:
        async with desk(simulator, folder, changes=switched):
            pass
    for words in ("okx-isolated", "from live to paper", "perpwire reconcile --account okx-isolated --force"):
        assert words in str(refused.value)
    assert refused.value.rows == held > 0
    assert await forget_rows(settled, ["okx-isolated"], "it rehearses from now on") == {"okx-isolated": held}
    async with desk(simulator, folder, changes=switched, tables=("positions", "reconciliations")) as second:
        forced = list(second.client.tables["reconciliations"].values())
        assert len(forced) == held
        assert {tuple(row["evidence"]) for row in forced} == {("forced: it rehearses from now on",)}
        await second.live()
        assert {row["execution"] for row in second.positions.values() if row["account"] == "okx-isolated"} == {"paper"}
        assert {row["execution"] for row in second.positions.values() if row["account"] == "bybit-isolated"} == {"live"}


def twice(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
    """Read every account under a second name too."""
    replace = msgspec.structs.replace
    accounts = {**config.accounts, **{f"{name}-again": entry for name, entry in config.accounts.items()}}
    return replace(config, accounts=accounts), [*specs, *(replace(one, name=f"{one.name}-again") for one in specs)]


async def test_one_account_under_two_names_is_said_on_both(simulator: Simulator, dsn: str, folder: Path) -> None:
    names = ("okx-isolated", "bybit-isolated", "hl-single", "aster-main")
    async with desk(simulator, folder, changes=(only(*names, "okx-hedge"), twice, stored_at(dsn))) as running:

        def same() -> dict[str, list[str]]:
            rows = running.client.tables["accounts"].items()
            return {name: row["same_owner_as"] for name, row in rows if "same_owner_as" in row}

        wanted = {name: [f"{name}-again"] for name in (*names, "okx-hedge")}
        wanted |= {f"{name}-again": [name] for name in (*names, "okx-hedge")}
        await eventually(lambda: same() == wanted, lambda: f"each names the other: {same()}", 15.0)
