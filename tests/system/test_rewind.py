"""A gateway's life, put down in Postgres while venues move, trade, settle and fail, gone through again to the same tables."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import asyncpg

from exchanges.sim.server import Simulator
from gateway.core.journal import Entry, MarkSample
from gateway.core.records import Demanded
from gateway.engine import Engine
from gateway.rewind import Rewind
from gateway.storage import entries
from tests.gateway.life import venue_sent, whole
from tests.system.desk import Desk, desk, eventually, stored_at
from tests.system.programs import ROOT
from tests.system.test_realized import PLACES, round_trip, trade

TABLES = ("positions", "accounts", "feeds", "summary", "alerts", "orders", "fills", "closed", "reconciliations")
FOREVER = 1 << 62


async def kept(dsn: str) -> list[Entry | MarkSample]:
    """Return what a replay is given."""
    connection = await asyncpg.connect(dsn)
    try:
        return [row async for row in entries.life(connection, FOREVER)]
    finally:
        await connection.close()


def again(rows: list[Entry | MarkSample]) -> Engine:
    rewind = Rewind()
    for row in rows:
        rewind.feed(row)
    return rewind.finish()


def unlike(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return in which fields of which rows two sets of tables differ."""
    return [
        f"{table} {row_id} {name}: {found[table].get(row_id, {}).get(name)} is {expected[table].get(row_id, {}).get(name)}"
        for table in expected
        for row_id in found[table].keys() | expected[table].keys()
        for name in found[table].get(row_id, {}).keys() | expected[table].get(row_id, {}).keys()
        if found[table].get(row_id, {}).get(name) != expected[table].get(row_id, {}).get(name)
    ]


async def lived(shown: Desk) -> None:
    """Let something of everything happen."""
    simulator, engine = shown.simulator, shown.gateway.engine
    await shown.live()
    trade(simulator)
    fills = engine.tables["fills"]
    await eventually(
        lambda: {fills.key_of(fills.slot(one) or 0).account for one in fills.ids()} >= PLACES.keys(), "fills"
    )
    simulator.control.fault({"kind": "liquidate", "account": "aster-main", "symbol": "ETHUSDT", "share": "0.5"})
    for venue in ("okx", "bybit"):
        simulator.control.fault({"kind": "drop", "venue": venue})
    round_trip(simulator, "okx-main", "LTC-USDT-SWAP")
    shown.gateway.turns.order(Demanded(account="hl-main"), "asking")
    await shown.live()
    await asyncio.sleep(3.0)  # some clock turns


async def test_a_life_of_all_venues_is_gone_through_again_to_the_same_tables(
    simulator: Simulator, dsn: str, folder: Path
) -> None:
    async with desk(simulator, folder, changes=(stored_at(dsn),), tables=TABLES) as shown:
        await lived(shown)
    engine = shown.gateway.engine
    rows = await kept(dsn)
    found = again(rows)
    assert venue_sent(found) == venue_sent(engine)
    assert not unlike(whole(found), whole(engine))
    # In another process sets have another order: nothing may hang on it.
    replay = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "replay", "--from-db", "--dsn", dsn, "--json",
        cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "1"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await replay.communicate()
    printed = json.loads(out)
    printed = {name: printed[name] for name in whole(engine)}
    for of in printed.values():
        for row in of.values():
            row.pop("mark_at", None)
    assert not unlike(printed, whole(engine))
