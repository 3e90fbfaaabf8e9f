"""What an account was given: beyond it is shown, a shortfall is on record, and where it has to be there it is waited for."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from exchanges.sim.server import Simulator
from tests.system.changes import only, settings
from tests.system.desk import Desk, desk, eventually, stored_at

TABLES = ("positions", "accounts", "feeds", "reconciliations")
CHANGES = (
    only("okx-main", "okx-isolated", "bybit-main", "bybit-isolated", "hl-main"),
    settings("okx-main", allocated={"USDT": "50000", "BTC": "0.5"}),
    settings("okx-isolated", allocated={"USDT": "500000"}),
    settings("bybit-main", allocated={"USDT": "900000.5"}, require_allocation=True),
    settings("bybit-isolated", allocated={"USDT": "100"}, require_allocation=True),
)


def account(running: Desk, name: str) -> dict[str, Any]:
    return running.client.tables["accounts"][name]


def known(running: Desk) -> bool:
    rows = running.client.tables["accounts"].values()
    return all("verified_at" in row for row in rows)


async def test_what_was_given_is_compared_with_what_is_there(simulator: Simulator, dsn: str, folder: Path) -> None:
    simulator.control.pause()
    async with desk(simulator, folder, changes=(*CHANGES, stored_at(dsn)), tables=TABLES) as running:
        await eventually(lambda: known(running), lambda: f"all are asked: {running.feeds}")
        await eventually(
            lambda: "refused" in account(running, "bybit-main"), "the account that must have it is refused"
        )

        # Beyond what was given.
        held, row = account(running, "okx-main")["balances"], account(running, "okx-main")
        assert row["allocated"] == {"USDT": "50000", "BTC": "0.5"}
        assert {ccy: Decimal(amount) for ccy, amount in row["unallocated"].items()} == {
            "USDT": Decimal(held["USDT"]) - 50_000,
            "BTC": Decimal(held["BTC"]) - Decimal("0.5"),
        }
        assert "unallocated" not in account(running, "hl-main")

        # A shortfall is on record, and the account goes on being read.
        row = account(running, "okx-isolated")
        assert Decimal(row["unallocated"]["USDT"]) == Decimal(row["balances"]["USDT"]) - 500_000 < 0
        found = {one["account"]: one for one in running.client.tables["reconciliations"].values()}
        assert found.keys() == {"okx-isolated", "bybit-main"}
        assert {one["class"] for one in found.values()} == {"allocation"}
        assert found["okx-isolated"]["before"] == {"allocated": "500000", "ccy": "USDT"}
        assert found["okx-isolated"]["after"] == {"available": row["balances"]["USDT"], "ccy": "USDT"}
        assert running.feeds["okx-isolated:private"]["state"] == "live"
        assert "refused" not in row

        # Where it has to be there the account does not go live, and the reason names both figures.
        row = account(running, "bybit-main")
        for words in ("bybit-main", "bybit", "900000.5 USDT", row["balances"]["USDT"], "require_allocation"):
            assert words in row["refused"], words
        await eventually(lambda: running.feeds["bybit-main:private"]["state"] == "down", "its stream has ended")
        assert running.feeds["bybit-main:private"]["last_error"] == row["refused"]
        mine = [one for one in running.positions.values() if one["account"] == "bybit-main"]
        assert {one["stale"]["reason"] for one in mine} == {"private_feed"}
        assert mine

        # One that has it is read, and goes on being read when it falls short later: that is when it matters.
        assert "refused" not in account(running, "bybit-isolated")
        running.fault("transfer", account="bybit-isolated", amount="-6000")
        await eventually(
            lambda: Decimal(account(running, "bybit-isolated")["balances"]["USDT"]) < 5_000, "the money has gone"
        )
        running.fault("transfer", account="bybit-isolated", amount="-500")
        await running.get("/v1/accounts?account=bybit-isolated&max_age_ms=0")
        assert running.feeds["bybit-isolated:private"]["state"] == "live"


async def test_a_shortfall_is_told_once_until_it_is_made_good(simulator: Simulator, dsn: str, folder: Path) -> None:
    simulator.control.pause()
    changes = (only("bybit-isolated"), settings("bybit-isolated", allocated={"USDT": "9000"}, require_allocation=True))
    async with desk(simulator, folder, changes=(*changes, stored_at(dsn)), tables=TABLES) as running:
        await eventually(lambda: known(running), "it is asked")

        def told() -> int:
            return len(running.client.tables["reconciliations"])

        async def moved(amount: str) -> None:
            before = account(running, "bybit-isolated")["balances"]["USDT"]
            running.fault("transfer", account="bybit-isolated", amount=amount)
            await eventually(lambda: account(running, "bybit-isolated")["balances"]["USDT"] != before, "it has moved")

        assert told() == 0
        await moved("-2000")
        await eventually(lambda: told() == 1, "the shortfall is told")
        await moved("-100")
        assert told() == 1
        await moved("3000")
        await moved("-3000")
        await eventually(lambda: told() == 2, "another one is told")
        assert running.feeds["bybit-isolated:private"]["state"] == "live"
        assert "refused" not in account(running, "bybit-isolated")
