"""Connections that are replaced: before an announced end without a trace, and where one lives but does not tell any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exchanges.okx.session import Session
from exchanges.sim.server import Simulator
from gateway.client import Client
from tests.system.changes import only
from tests.system.desk import Desk, desk, eventually, stored_at

TABLES = ("positions", "accounts", "feeds", "reconciliations")
ACCOUNTS = ("okx-main", "okx-isolated", "bybit-main", "hl-main")


def corrections(running: Desk) -> dict[str, dict[str, Any]]:
    return {row["symbol"]: row for row in running.client.tables["reconciliations"].values()}


async def test_an_announced_upgrade_shows_as_nothing_at_all(simulator: Simulator, dsn: str, folder: Path) -> None:
    changes = (only(*ACCOUNTS), stored_at(dsn))
    async with desk(simulator, folder, changes=changes, tables=TABLES) as running:
        await running.live()
        okx = {name for name in running.reconnects() if name.startswith("okx")}
        assert okx > {"okx:public"}
        stale: set[str] = set()
        states: set[str] = set()

        def watched(client: Client) -> bool:
            stale.update(id_ for id_, row in client.tables["positions"].items() if "stale" in row)
            states.update(row["state"] for name, row in client.tables["feeds"].items() if name in okx)
            return all(count == (name in okx) for name, count in running.reconnects().items())

        simulator.control.pause()
        await running.settled()
        affected = running.fault("notice", seconds=30)
        assert len(affected) == len(okx)
        # While both connections are there, and just after: each of these is told once, or twice the same.
        running.fault("close_position", account="okx-main", symbol="DOGE-USDT-SWAP")
        running.fault("close_position", account="okx-main", symbol="SOL-USDT-SWAP", share="0.5")
        await running.client.wait_for(watched, 10)
        running.fault("open_position", account="okx-isolated", symbol="SOL-USDT-SWAP")
        await running.settled()
        watched(running.client)
        assert (stale, states) == (set(), {"live"})
        assert running.gaps() == []
        await eventually(lambda: running.all_live() and not corrections(running), "nothing had to be corrected")
        # What was announced comes: the old connections are gone already, and the new ones stay.
        assert {name for name, count in running.reconnects().items() if count} == okx


async def test_a_connection_that_says_nothing_is_left_and_what_it_did_not_tell_is_found(
    simulator: Simulator, dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket of one account stays open: no frame, no pong, no close."""
    monkeypatch.setattr(Session, "ping_every_s", 0.5)
    monkeypatch.setattr(Session, "silent_after_s", 2.0)
    changes = (only(*ACCOUNTS), stored_at(dsn))
    async with desk(simulator, folder, changes=changes, tables=TABLES) as running:
        await running.live()
        simulator.control.pause()
        await running.settled()
        assert [one["accounts"] for one in running.fault("stall", account="okx-main")] == [["okx-main"]]
        running.fault("close_position", account="okx-main", symbol="SOL-USDT-SWAP")
        running.fault("open_position", account="okx-main", symbol="LTC-USDT-SWAP")
        await eventually(lambda: running.reconnects()["okx-main:private"] > 0, "its silence is noticed", 20)
        await running.live()
        await running.settled()
        await eventually(
            lambda: (
                set(corrections(running)) == {"SOL-USDT-SWAP", "LTC-USDT-SWAP"}
                and all("class" in row for row in corrections(running).values())
            ),
            lambda: f"what was missed is named: {corrections(running)}",
            20,
        )
        found = corrections(running)
        assert found["SOL-USDT-SWAP"]["class"] in ("closed_on_venue", "missed_event")
        assert found["LTC-USDT-SWAP"]["class"] in ("opened_on_venue", "missed_event")
        assert all(row["evidence"] for row in found.values())
        assert sum(running.reconnects().values()) == 1


async def test_a_subscription_that_tells_no_more_is_made_anew(simulator: Simulator, dsn: str, folder: Path) -> None:
    """The socket answers pings and stays open; only this account's news do not come any more."""
    changes = (only("okx-main", "bybit-main"), stored_at(dsn))
    async with desk(simulator, folder, changes=changes, tables=TABLES) as running:
        await running.live()
        live_at = running.gateway.clock.now_ms()
        simulator.control.pause()
        await running.settled()
        # What happens in the first second of a connection may have been before it.
        await eventually(lambda: running.gateway.clock.now_ms() > live_at + 1_100, "it was live for a while")
        running.fault("gap", account="bybit-main")
        running.fault("close_position", account="bybit-main", symbol="SOLUSDT", share="0.5")
        await running.get("/v1/positions?account=bybit-main&max_age_ms=0")
        await eventually(
            lambda: corrections(running).get("SOLUSDT", {}).get("class") == "missed_event",
            lambda: f"what was missed is named: {corrections(running)}",
            15,
        )
        await eventually(lambda: running.reconnects()["bybit-main:private"] > 0, "the subscription is made anew")
        running.fault("lift")
        await running.live()
        running.fault("close_position", account="bybit-main", symbol="ETHUSDT")
        await eventually(
            lambda: all(row["symbol"] != "ETHUSDT" for row in running.positions.values()), "it tells again"
        )
        assert running.reconnects()["okx-main:private"] == 0
