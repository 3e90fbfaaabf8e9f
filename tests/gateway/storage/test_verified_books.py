"""Which books a verification is given of what is stored, in a real database: legs of hedges, prices of currencies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import msgspec
import pytest

from exchanges.events import AccountMode, ClosedPnl, Event, Fill
from gateway.core.alerts.records import EquitySample
from gateway.core.records import Covered, Finding, PositionChange
from gateway.core.verified import verify
from gateway.storage import tables, verification
from gateway.storage.batch import AccountRow, Batch, ContractRow, RecordRow
from tests.gateway.storage.states import instrument, position

T0 = 1_763_683_200_000
MINUTE, HOUR = 60_000, 3_600_000
DAY = 24 * HOUR
SYMBOL = "BTC-USDT-SWAP"
LEGS = f"main:{SYMBOL}:1", f"main:{SYMBOL}:2"
KINDS: dict[type[Event], str] = {
    Fill: "fills",
    ClosedPnl: "pnl_records",
    PositionChange: "position_changes",
    Covered: "coverage",
    EquitySample: "equity_samples",
}


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database that holds one account, whose fills are whole since T0, and one contract."""
    connection = await asyncpg.connect(dsn)
    names = [*tables.RECORDS, "position_history", "open_cycles", "accounts", "contracts"]
    await connection.execute(f"TRUNCATE {', '.join(names)}")
    account = AccountRow(
        "main", "alice", "bybit", "live", None, "live", AccountMode(account="main", mode="unified"), T0
    )
    known = msgspec.structs.replace(instrument(SYMBOL), venue="bybit", contract_size="1")
    batch = Batch(accounts=[account], contracts=[ContractRow("bybit", "live", SYMBOL, known, None, T0)])
    await tables.write(connection, batch, row_by_row=False)
    await write(connection, Covered(id="main", account="main", since=T0, at=T0))
    yield connection
    await connection.close()


async def write(db: asyncpg.Connection, *records: Any) -> None:
    rows: dict[str, list[RecordRow]] = {}
    for one in records:
        rows.setdefault(KINDS[type(one)], []).append(RecordRow(one.id, "main", one.at, one, "alice", None))
    await tables.write(db, Batch(epoch="e", revision=1, at=T0, records=rows), row_by_row=False)


async def findings(db: asyncpg.Connection, since: int = T0) -> list[Finding]:
    end = since + DAY
    material = await verification.material(db, "main", since, end, end, lambda *_: True)
    return [one for row in verify(material, end) for one in row.findings]


def fill(name: str, side: str, price: str, at: int, **fields: Any) -> Fill:
    known = {
        "account": "main", "id": name, "symbol": SYMBOL, "side": side, "size": "1", "price": price, "at": at,
        "order_id": f"o-{name}", "trade_id": name, "fee": "-0.10000000", "fee_ccy": "USDT",
    }  # fmt: skip
    return msgspec.convert(known | fields, Fill)


def closed(name: str, side: str, at: int, **fields: Any) -> ClosedPnl:
    """Return Bybit's record of a closing order."""
    known = {
        "account": "main", "id": f"r-{name}", "source": "closed-pnl", "symbol": SYMBOL, "at": at, "side": side, "ccy": "USDT",
        "order_id": f"o-{name}", "size": "1", "fees": "-0.20000000",
    }  # fmt: skip
    return msgspec.convert(known | fields, ClosedPnl)


# --- the legs of a hedge -----------------------------------------------------------------------------------------------------


def leg(index: int, at: int, side: str | None) -> PositionChange:
    """Return what Bybit says of one of two legs; ``side`` None: it is gone."""
    name = LEGS[index - 1]
    held = msgspec.structs.replace(position(SYMBOL, venue_at=at, opened_at=at), id=name, side=side, hedged=True)
    return PositionChange(
        id=f"{at}:{name}", account="main", position=name, symbol=SYMBOL, at=at, changed=("size",),
        state=held if side else None,
    )  # fmt: skip


# Both legs were known, and flat long before.
FLAT: Sequence[PositionChange] = (
    leg(1, T0 - 9 * HOUR, "long"),
    leg(2, T0 - 9 * HOUR, "short"),
    leg(1, T0 - 8 * HOUR, None),
    leg(2, T0 - 8 * HOUR, None),
)


@pytest.mark.parametrize("named", [False, True])
async def test_what_legs_of_a_hedge_did_while_nobody_looked_is_told_apart(db: asyncpg.Connection, named: bool) -> None:
    """Fills that were read afterwards do not say which leg they are of; one that came later live does (``named``)."""
    ends = {"position": LEGS[0]} if named else {}
    fills = [
        fill("long-in", "buy", "100", T0 + 1 * HOUR, realized_pnl="0"),
        fill("short-in", "sell", "120", T0 + 2 * HOUR, realized_pnl="0"),
        fill("short-out", "buy", "130", T0 + 3 * HOUR, realized_pnl="-10"),
        fill("long-out", "sell", "140", T0 + 4 * HOUR, realized_pnl="40", **ends),
    ]
    records = [
        closed("short-out", "short", T0 + 3 * HOUR, realized_pnl="-10", entry_price="120", position=LEGS[1]),
        closed("long-out", "long", T0 + 4 * HOUR, realized_pnl="40", entry_price="100", position=LEGS[0]),
    ]
    await write(db, *FLAT, *fills, *records)
    assert await findings(db) == []


async def test_an_opening_that_is_missing_of_a_leg_that_was_flat_is_found(db: asyncpg.Connection) -> None:
    fills = [fill("long-out", "sell", "140", T0 + 4 * HOUR, realized_pnl="40")]
    await write(db, *FLAT, *fills, closed("long-out", "long", T0 + 4 * HOUR, realized_pnl="40", entry_price="100"))
    (found,) = await findings(db)
    assert (found.cls, found.records) == ("unexplained", ("r-long-out",))


# --- fees in another currency ------------------------------------------------------------------------------------------------


async def test_what_a_fee_in_another_currency_was_worth_is_known_from_the_opening_on(db: asyncpg.Connection) -> None:
    """The position was opened days before the one that is verified, at another price; of its hour one sample is kept."""
    day, opened = T0 + 5 * DAY, T0 + 90 * MINUTE
    fills = [
        fill("in", "buy", "100", opened, realized_pnl="0", fee="-0.00200000", fee_ccy="COIN"),
        fill("out", "sell", "140", day + HOUR, realized_pnl="40"),
    ]
    priced = [(T0 + HOUR, 50.0), (T0 + 2 * HOUR, 51.0), (day, 90.0), (day + HOUR, 90.0), (day + 2 * HOUR, 90.0)]
    samples = [
        EquitySample(
            account="main", at=at, equity_usd=0.0, high_usd=0.0, high_at=at, equity={}, usd={"COIN": price, "USDT": 1.0}
        )
        for at, price in priced
    ]
    of_position = {"source": "positions-history", "order_id": None, "opened_at": opened}
    record = closed("out", "long", day + HOUR, realized_pnl="40", entry_price="100", **of_position)
    await write(db, *fills, *samples, record)
    (found,) = [one for one in await findings(db, day) if one.symbol == SYMBOL]
    assert (found.cls, found.fills) == ("fee_currency", ("in",))
