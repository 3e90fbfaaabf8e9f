"""A unified account of Hyperliquid: its spot balance holds the perpetuals' equity, which must not be counted twice."""

from __future__ import annotations

from pathlib import Path

from exchanges.sim.server import Simulator
from tests.system.desk import desk


async def test_a_unified_account_holds_what_the_venue_says(simulator: Simulator, folder: Path) -> None:
    simulator.world.modes.switch_account("hl-main", "unified")
    async with desk(simulator, folder) as running:
        await running.live()
        simulator.control.pause()
        await running.settled()
        row = running.client.tables["accounts"]["hl-main"]
        assert row["mode"] == "unifiedAccount"
        assert row["pools"]["unified:USDC"]["source"] in ("model", "calibrated")
        assert row["balances"].keys() >= {"USDC"}
