"""From OKX's balance_and_position rows to evidence, and to versions of position rows. Keeps no state.

It is the fastest channel and the only one that names liquidation, ADL, funding and settlement; it has no figure of risk, so a
position is told from it only where size or entry are news. Source: OKX v5 docs, balance and position channel.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from exchanges.events import Cause, Evidence, position_id
from exchanges.okx import parse
from exchanges.okx.wire import BriefPosition, BriefRow, PositionRow

SNAPSHOT = "snapshot"
_CAUSES: dict[str, Cause] = {
    "liquidation": "liquidation",
    "adl": "adl",
    "delivered": "settlement",
    "exercised": "settlement",
    "settlement": "settlement",
    "funding_fee": "funding",
    "adjust_margin": "margin",
    "set_leverage": "margin",
    "transferred": "margin",
    "interest_deduction": "margin",
}
# Told by executions, or about balances alone.
_SILENT = frozenset({SNAPSHOT, "filled", "claw_back"})

# Where the money of an event is found, by type of bill; executions are among the transaction details, and the bill has their mode.
BILLS = {
    "liquidation": "5",
    "adl": "9",
    "delivered": "3",
    "transferred": "1",
    "interest_deduction": "7",
    "funding_fee": "8",
    "claw_back": "10",
    "settlement": "34",
    "exercised": "3",
}
EXECUTED = frozenset({"liquidation", "adl", "delivered"})


def is_known(event_type: str) -> bool:
    """Say whether the venue documents this type of event."""
    return event_type in _CAUSES or event_type in _SILENT


def evidence(row: BriefRow, positions: Iterable[BriefPosition], account: str) -> list[Evidence]:
    """Return why the positions of an event changed, as far as its type says so."""
    cause = _CAUSES.get(row.event_type)
    if cause is None:
        return []
    return [
        Evidence(
            account=account,
            symbol=one.inst_id,
            cause=cause,
            what=f"balance_and_position {row.event_type}",
            at=int(row.p_time),
            ids=_ids(row, one),
            position=position_id(account, one.inst_id, one.pos_side, one.mgn_mode, one.ccy),
        )
        for one in positions
    ]


def _ids(row: BriefRow, one: BriefPosition) -> tuple[str, ...]:
    trades = tuple(trade.trade_id for trade in row.trades if trade.inst_id == one.inst_id and trade.trade_id)
    return trades or ((one.pos_id,) if one.pos_id else ())


def newer(one: BriefPosition, held: PositionRow | None) -> PositionRow | None:
    """Return the position row that an event makes of the one that is held; None where it is no news.

    Figures that depend on the size are left unknown until the positions channel says them, some 50 ms later: with the
    same time and trade id, so that its row takes this one's place.
    """
    row = PositionRow(
        inst_type=one.inst_type,
        inst_id=one.inst_id,
        mgn_mode=one.mgn_mode,
        pos_side=one.pos_side,
        pos=one.pos,
        ccy=one.ccy,
        u_time=one.u_time,
        trade_id=one.trade_id,
        pos_ccy=one.pos_ccy,
        avg_px=one.avg_px,
        non_settle_avg_px=one.non_settle_avg_px,
    )
    if held is None:
        return None if parse.is_zero(row) else row
    if parse.row_order(row)[:2] <= parse.row_order(held)[:2] or (row.pos, row.avg_px) == (held.pos, held.avg_px):
        return None
    return msgspec.structs.replace(
        row, lever=held.lever, adl=held.adl, c_time=held.c_time, close_order_algo=held.close_order_algo
    )
