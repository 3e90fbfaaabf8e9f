"""From OKX's positions history to events: one record a position from its opening to its latest close. Keeps no state.

A row is replaced when more of the same position is closed (``uTime`` moves on, amounts grow), so that its id names the opening.
Source: OKX v5 docs, "Get positions history": ``realizedPnl = pnl + fee + fundingFee + liqPenalty + settledPnl``. An endpoint
``closed-pnl`` does not exist at OKX.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from exchanges.events import ClosedPnl, Side, known, position_id
from exchanges.okx.tables import CLOSES, INSTRUMENT_TYPES
from exchanges.okx.wire import ClosedRow
from exchanges.venue import Notice, Output

SOURCE: Final = "positions-history"
_SIDES: dict[str, Side] = {"long": "long", "short": "short"}
_LEGS = ("net", "long", "short")


def parse_closed(row: ClosedRow, account: str) -> list[Output]:
    """Translate one row; words that are not documented are told beside it."""
    told = ClosedPnl(
        account=account,
        id=position_id(account, SOURCE, row.pos_id, row.c_time),
        source=SOURCE,
        symbol=row.inst_id,
        at=int(row.u_time),
        position=_position(row, account),
        side=_SIDES.get(row.direction or ""),
        ccy=row.ccy or None,
        size=known(row.close_total_pos),
        entry_price=known(row.non_settle_avg_px) or known(row.open_avg_px),
        exit_price=known(row.close_avg_px),
        realized_pnl=_price_pnl(row),
        fees=known(row.fee),
        funding=known(row.funding_fee),
        liquidation_fee=known(row.liq_penalty),
        realized_net=known(row.realized_pnl),
        opened_at=int(row.c_time),
        what=CLOSES.get(row.type, f"type {row.type}"),
    )
    return [told, *(Notice(code=SOURCE, what=f"position {row.pos_id}: unknown {words}") for words in _unknown(row))]


def _price_pnl(row: ClosedRow) -> str | None:
    """Return what the price alone brought; what daily settlements moved to the balance meanwhile is a part of it."""
    pnl, settled = known(row.pnl), known(row.settled_pnl)
    if pnl is None or settled is None or not Decimal(settled):
        return pnl
    return format(Decimal(pnl) + Decimal(settled), "f")


def _position(row: ClosedRow, account: str) -> str | None:
    """Return the position's id where the row says all four parts of it."""
    if row.pos_side not in _LEGS or not row.mgn_mode or not row.ccy:
        return None
    return position_id(account, row.inst_id, row.pos_side, row.mgn_mode, row.ccy)


def _unknown(row: ClosedRow) -> list[str]:
    """Return what in a row is not documented."""
    out = [f"type of close {row.type[:50]!r}"] if row.type not in CLOSES else []
    if (row.inst_type or "") not in INSTRUMENT_TYPES:
        out.append(f"type of instrument {row.inst_type!r:.50}")
    if row.direction and row.direction not in _SIDES:
        out.append(f"direction {row.direction[:50]!r}")
    if row.pos_side and row.pos_side not in _LEGS:
        out.append(f"posSide {row.pos_side[:50]!r}")
    return out
