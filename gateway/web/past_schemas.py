"""Answers of the routes of the past, for the API description (openapi.py). An unknown field is absent."""

from __future__ import annotations

from typing import Any

import msgspec

Rows = dict[str, dict[str, Any]]


class Common(msgspec.Struct, kw_only=True):
    """The live tables' place in time."""

    epoch: str
    seq: int
    at: int


class History(msgspec.Struct):
    """Records of the past, the newest first."""

    rows: list[dict[str, Any]]
    next_cursor: str = ""


class RealizedRow(msgspec.Struct, kw_only=True):
    """What was realised in one bucket, in one currency: exact amounts."""

    at: int
    env: str
    execution: str
    realized_pnl: str
    fees: str
    funding: str
    liquidation_fee: str
    realized_net: str
    records: int
    ccy: str | msgspec.UnsetType = msgspec.UNSET
    account: str | msgspec.UnsetType = msgspec.UNSET
    strategy: str | msgspec.UnsetType = msgspec.UNSET
    venue: str | msgspec.UnsetType = msgspec.UNSET
    symbol: str | msgspec.UnsetType = msgspec.UNSET
    net_usd: float | msgspec.UnsetType = msgspec.UNSET
    rates: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    unknown: int | msgspec.UnsetType = msgspec.UNSET


class _Buckets(msgspec.Struct, kw_only=True, rename={"since": "from", "until": "to"}):
    bucket: str
    since: int
    until: int


class Realized(_Buckets, kw_only=True):
    """What was realised, by time, group and currency."""

    rows: list[RealizedRow]


class WorthRow(msgspec.Struct, kw_only=True):
    """What accounts were worth at the last figure of one bucket (US dollars)."""

    at: int
    as_of: int
    env: str
    execution: str
    accounts: int
    equity_usd: float
    account: str | msgspec.UnsetType = msgspec.UNSET
    strategy: str | msgspec.UnsetType = msgspec.UNSET
    venue: str | msgspec.UnsetType = msgspec.UNSET
    net_usd: float | msgspec.UnsetType = msgspec.UNSET
    transfers_usd: float | msgspec.UnsetType = msgspec.UNSET
    pnl_usd: float | msgspec.UnsetType = msgspec.UNSET
    peak_usd: float | msgspec.UnsetType = msgspec.UNSET
    drawdown: float | msgspec.UnsetType = msgspec.UNSET
    carried: int | msgspec.UnsetType = msgspec.UNSET
    equity: dict[str, float] | msgspec.UnsetType = msgspec.UNSET


class Worth(_Buckets, kw_only=True):
    """What accounts were worth, by time and group."""

    rows: list[WorthRow]


class Stood(msgspec.Struct):
    """Positions as they stood at a moment, by id."""

    at: int
    positions: Rows


class UserPositions(Common, kw_only=True):
    """A user's live rows, and positions that ended."""

    user: str
    positions: Rows
    accounts: Rows
    summary: Rows
    history: list[dict[str, Any]]
    next_cursor: str = ""


class Profit(Common, kw_only=True):
    """What a contract brings now and brought: live positions, their PnL, what was realised, and positions that ended."""

    symbol: str
    positions: Rows
    unrealized: list[dict[str, Any]]
    realized: list[RealizedRow]
    history: list[dict[str, Any]]
    next_cursor: str = ""


class JournalEntry(msgspec.Struct, kw_only=True):
    """One entry of the journal; ``body`` as it came."""

    id: str
    at: int
    kind: str
    epoch: str
    turn: int
    seq: int
    body: str
    user: str | msgspec.UnsetType = msgspec.UNSET
    account: str | msgspec.UnsetType = msgspec.UNSET
    venue: str | msgspec.UnsetType = msgspec.UNSET
    source: str | msgspec.UnsetType = msgspec.UNSET
    request: str | msgspec.UnsetType = msgspec.UNSET
    request_id: str | msgspec.UnsetType = msgspec.UNSET
    venue_at: int | msgspec.UnsetType = msgspec.UNSET
    causes: list[str] | msgspec.UnsetType = msgspec.UNSET


OF_THE_PAST = (History, Realized, Worth, Stood, JournalEntry, UserPositions, Profit)
