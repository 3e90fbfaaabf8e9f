"""Stored history for the tests of questions: rows written as the gateway writes them, and a desk that answers by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import msgspec

from exchanges.events import ClosedPnl, Event, Fill, FundingPayment, Instrument, PositionState, Transfer
from gateway.core.accounts import AccountInfo
from gateway.core.alerts.records import EquitySample
from gateway.core.journal import Entry, MarkSample, day, place
from gateway.core.records import Correction, PastPosition, PositionChange, Verification
from gateway.storage import partitions, payloads, tables
from gateway.storage.batch import AccountRow, Batch, ContractRow, RecordRow

T0 = 1_763_683_200_000  # 2025-11-21, 00:00 UTC, a Friday
DAY, HOUR = 86_400_000, 3_600_000
EMPTY = (
    "TRUNCATE accounts, contracts, fills, funding, transfers, pnl_days, pnl_totals, pnl_records, position_history, "
    "position_changes, reconciliations, equity_samples, verifications, journal, mark_samples"
)
_TABLES: dict[type[Event], str] = {
    Fill: "fills",
    FundingPayment: "funding",
    Transfer: "transfers",
    ClosedPnl: "pnl_records",
    PositionChange: "position_changes",
    Correction: "reconciliations",
    EquitySample: "equity_samples",
    PastPosition: "position_history",
    Verification: "verifications",
}
MAIN = AccountInfo(name="main", venue="okx", env="live", user="ann", strategy="carry")
OTHER = AccountInfo(name="other", venue="bybit", env="live", user="bob", strategy="basis")
DEMO = AccountInfo(name="demo", venue="okx", env="demo", user="ann")


async def write(
    sql: asyncpg.Connection,
    *records: Event,
    accounts: Iterable[AccountInfo] = (),
    contracts: Iterable[Instrument] = (),
    entries: Sequence[Entry] = (),
    samples: Sequence[MarkSample] = (),
    journal: int | None = None,
) -> None:
    """Store records, each of the user of its account."""
    users = {"main": "ann", "other": "bob", "demo": "ann"}
    rows: dict[str, list[RecordRow]] = {}
    for one in records:
        whose: Any = one
        at = whose.found_at if isinstance(one, Correction) else whose.at
        row = RecordRow(
            whose.id, whose.account, at, one, users.get(whose.account), getattr(one, "journal", None) or journal
        )
        rows.setdefault(_TABLES[type(one)], []).append(row)
    for row in rows.pop("position_history", ()):
        await sql.execute(
            "INSERT INTO position_history (id, account, at, state, user_name, journal, number, folded, chain) "
            "VALUES ($1, $2, $3, $4, $5, $6, 0, $3, '{}')",
            row.id, row.account, row.at, msgspec.json.encode(row.state).decode(), row.user_name, row.journal,
        )  # fmt: skip
    for table, moments in (("journal", entries), ("mark_samples", samples)):
        for of in sorted({day(one.id) for one in moments}):
            await partitions.make(sql, table, of)
    batch = Batch(
        accounts=[AccountRow(i.name, i.user, i.venue, i.env, i.region, i.execution, None, 1) for i in accounts],
        contracts=[ContractRow(one.venue, one.env, one.symbol, one, None, 1) for one in contracts],
        records=rows,
        entries=payloads.rows(entries),
        samples=samples,
    )
    assert await tables.write(sql, batch, row_by_row=True) == []


def cycle(number: int = 1, at: int = T0, account: str = "main", **fields: Any) -> PastPosition:
    """Return a position that ended."""
    position = f"{account}:{fields.get('symbol', 'BTC-USDT-SWAP')}:net"
    known: dict[str, Any] = {
        "id": f"{position}@{number:06}", "account": account, "position": position, "symbol": "BTC-USDT-SWAP", "side": "long",
        "settle": "USDT", "size": "1.50", "entry_price": "100.10", "exit_price": "110.00000000000000000001", "reason": "trade",
        "realized_pnl": "14.85", "fees": "-0.30", "funding": "0.0", "liquidation_fee": "0", "realized_net": "14.55",
        "opened_at": at - HOUR, "closed_at": at, "fills": 2,
    }  # fmt: skip
    return PastPosition(**(known | fields))


def fill(number: int, at: int, account: str = "main", **fields: Any) -> Fill:
    """Return a fill that closed something."""
    known: dict[str, Any] = {
        "account": account, "id": f"{account}:{number:06}", "symbol": "BTC-USDT-SWAP", "order_id": f"o{number}", "side": "sell",
        "size": "1", "price": "100", "at": at, "fee": "-0.1", "fee_ccy": "USDT", "realized_pnl": "2.5",
    }  # fmt: skip
    return Fill(**(known | fields))


def sample(value: str, at: int, symbol: str = "BTC-USDT-SWAP", number: int = 0, **fields: Any) -> MarkSample:
    """Return a sampled price."""
    known: dict[str, Any] = {"venue": "okx", "env": "live", "kind": "mark", "epoch": "e", "turn": 1}
    return MarkSample(id=place(at) + number, at=at, symbol=symbol, value=value, **(known | fields))


def change(
    state: PositionState | None, at: int, of: PositionState, *changed: str, journal: int | None = None
) -> PositionChange:
    """Return a change of what the venue says of a position; ``state`` None: it is gone."""
    origin = journal if journal is not None else place(at)
    return PositionChange(
        id=f"{origin}:{of.id}", account=of.account, position=of.id, symbol=of.symbol, at=at, changed=changed, state=state,
        journal=journal,
    )  # fmt: skip


def equity(account: str, at: int, usd: float, **by_ccy: float) -> EquitySample:
    """Return what an account was worth in a minute."""
    return EquitySample(account=account, at=at, equity_usd=usd, high_usd=usd, high_at=at, equity=by_ccy)


def transfer(number: int, at: int, amount: str, account: str = "main", **fields: Any) -> Transfer:
    """Return money that came from outside."""
    return Transfer(**({"account": account, "id": f"{account}:t{number}", "kind": "deposit", "ccy": "USDT", "amount": amount,
                        "at": at} | fields))  # fmt: skip
