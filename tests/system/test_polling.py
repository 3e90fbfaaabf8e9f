"""More Hyperliquid accounts than are streamed to one address: the others are asked again and again, and say so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from exchanges.sim.server import Simulator
from exchanges.venue import AccountSpec
from gateway.config import Config
from tests.system.changes import often, only
from tests.system.desk import desk, eventually, stored_at

STREAMED, POLLED = ("hl-main", "hl-single"), "hl-dex"


def two_streams(config: Config, specs: list[AccountSpec]) -> tuple[Config, list[AccountSpec]]:
    """Let two accounts of Hyperliquid be streamed."""
    replace = msgspec.structs.replace
    host = replace(config.venues["hyperliquid"], stream_users=2)
    return replace(config, venues={**config.venues, "hyperliquid": host}), specs


async def test_those_beyond_the_limit_are_polled_and_right(simulator: Simulator, dsn: str, folder: Path) -> None:
    changes = (often, only(*STREAMED, POLLED), two_streams, stored_at(dsn))
    tables = ("positions", "accounts", "feeds", "reconciliations")
    async with desk(simulator, folder, changes=changes, tables=tables) as running:
        await running.live()
        simulator.control.pause()
        streams = {f"{name}:{part}" for name in STREAMED for part in ("private",)}
        assert {name for name, row in running.feeds.items() if row.get("account") in STREAMED} == streams
        await eventually(
            lambda: running.feeds.get(f"{POLLED}:poll", {}).get("state") == "live", "the third one is polled"
        )
        assert running.feeds[f"{POLLED}:poll"]["polled"] is True
        assert not any(running.feeds[name].get("polled") for name in streams)

        async def only_polled() -> list[str]:
            return [one for one in running.differences(await running.snapshot()) if "'reason': 'polled'" not in one]

        (opened,) = running.fault("open_position", account=POLLED, symbol="ETH")
        running.fault("close_position", account=POLLED, symbol="AVAX")

        def shown() -> set[str]:
            return {row["symbol"] for row in running.positions.values() if row["account"] == POLLED}

        await eventually(lambda: "ETH" in shown() and "AVAX" not in shown(), lambda: f"found by asking: {shown()}")
        deadline = asyncio.get_running_loop().time() + 20
        while left := await only_polled():
            assert asyncio.get_running_loop().time() < deadline, left
            await asyncio.sleep(0.05)
        rows = [row for row in running.positions.values() if row["account"] == POLLED]
        assert {row["stale"]["reason"] for row in rows} == {"polled"}
        assert all("stale" not in row for row in running.positions.values() if row["account"] in STREAMED)
        assert next(row for row in rows if row["symbol"] == "ETH")["side"] == opened["side"]
        account = running.client.tables["accounts"][POLLED]
        assert account["stale"] == {"since": account["verified_at"], "reason": "polled"}
        assert running.gaps() == []
