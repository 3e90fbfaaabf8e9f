"""What a verification reads from a real database: which closings must be among the venue's records, and which are in none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from exchanges.choice import keeps_records
from exchanges.events import ClosedPnl, Fill
from gateway.core.records import Backfill, Covered
from gateway.core.verified import unexplained, verify
from gateway.storage import history, tables, verification
from gateway.storage.batch import AccountRow, Batch, ContractRow, RecordRow
from tests.gateway.storage.states import instrument

DAY = 86_400_000
T0 = 1_763_683_200_000
OPTION, FUTURE = "BTC-25DEC26-100000-C-USDT", "BTCUSDT-25DEC26"
# Of before: it says what the venue's records are of.
EARLIER = ClosedPnl(account="main", id="r", source="closed-pnl", symbol="X", at=T0 - DAY)


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database without a record."""
    connection = await asyncpg.connect(dsn)
    names = [*tables.RECORDS, "position_history", "open_cycles", "accounts", "contracts"]
    await connection.execute(f"TRUNCATE {', '.join(names)}")
    yield connection
    await connection.close()


def fills(symbol: str) -> list[Fill]:
    """Return a round trip."""
    told: list[Any] = [("in", "buy", "100", "0", T0 + 60_000), ("out", "sell", "110", "10", T0 + 120_000)]
    return [
        Fill(
            account="main", id=f"{symbol}-{name}", symbol=symbol, order_id=f"{symbol}-{name}", side=side, size="1", price=price,
            at=at, position=f"main:{symbol}", trade_id=name, fee="-0.1", fee_ccy="USDT", realized_pnl=realized,
        )
        for name, side, price, realized, at in told
    ]  # fmt: skip


async def write(db: asyncpg.Connection, venue: str, *symbols: str, contracts: bool) -> None:
    """Store an account with a round trip of each symbol, whose past was read without a record of any."""
    account = AccountRow("main", "alice", venue, "live", None, "live", None, T0)
    known = [
        ContractRow(
            venue, "live", name, msgspec.structs.replace(instrument(name), venue=venue, contract_size="1"), None, T0
        )
        for name in symbols
        if contracts
    ]
    rows = {
        "coverage": [RecordRow("main", "main", T0, Covered(id="main", account="main", since=T0, at=T0), "alice", 0)],
        "backfills": [
            RecordRow(
                "b", "main", T0, Backfill(id="b", account="main", at=T0, since=T0, until=T0 + DAY, done=T0 + DAY), "alice", 0
            )
        ],
        "fills": [RecordRow(one.id, "main", one.at, one, "alice", 0) for name in symbols for one in fills(name)],
        "pnl_records": [RecordRow("r", "main", T0 - DAY, EARLIER, "alice", 0)],
    }  # fmt: skip
    batch = Batch(epoch="e", revision=1, at=T0, accounts=[account], contracts=known, records=rows)
    async with db.transaction():
        await tables.write(db, batch, row_by_row=False)
        await history.derive(db, batch)


async def missed(db: asyncpg.Connection) -> list[str | None]:
    """Return the symbols whose closings a verification misses."""
    material = await verification.material(db, "main", T0, T0 + DAY, T0 + DAY, keeps_records)
    return [finding.symbol for finding in unexplained(verify(material, T0 + DAY))]


@pytest.mark.parametrize("contracts", [True, False])
async def test_a_closing_is_missed_where_the_venues_records_would_name_it_and_no_option_of_bybit(
    db: asyncpg.Connection, contracts: bool
) -> None:
    await write(db, "bybit", OPTION, FUTURE, contracts=contracts)
    assert await missed(db) == [FUTURE]


async def test_a_record_of_what_the_venue_has_no_records_of_is_held_against_the_fills_all_the_same(
    db: asyncpg.Connection,
) -> None:
    await write(db, "bybit", OPTION, contracts=True)
    wrong = msgspec.structs.replace(
        EARLIER, id="w", symbol=OPTION, at=T0 + 120_000, order_id=f"{OPTION}-out", side="long", size="2"
    )
    row = RecordRow("w", "main", wrong.at, wrong, "alice", 0)
    await tables.write(db, Batch(epoch="e", revision=2, at=T0, records={"pnl_records": [row]}), row_by_row=False)
    assert await missed(db) == [OPTION]
