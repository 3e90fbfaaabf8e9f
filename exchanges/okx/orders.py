"""From OKX's rows of orders and executions to events. Keeps no state.

Fees have the sign of the effect already: negative is charged, positive rebated. Source: OKX v5 docs, orders channel, order
information, transaction details.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from exchanges.events import Cause, Evidence, Fill, Order, Side, known, position_id
from exchanges.okx.tables import INSTRUMENT_TYPES
from exchanges.okx.wire import FillRow, OrderRow

SCOPE = "orders"

_DONE = frozenset({"filled", "canceled", "mmp_canceled"})
_OPEN = frozenset({"live", "partially_filled"})

CATEGORIES: dict[str, Cause] = {
    "": "trade",
    "normal": "trade",
    "twap": "trade",
    "ddh": "trade",
    "auto_conversion": "trade",
    "adl": "adl",
    "full_liquidation": "liquidation",
    "partial_liquidation": "liquidation",
    "delivery": "settlement",
}
# Executions of the last three days and months have no category but the kind of their bill.
SUB_TYPES: dict[str, Cause] = {
    **{str(code): "liquidation" for code in (*range(100, 108), 110, 111)},
    **dict.fromkeys(("112", "113", "170", "171", "172", "414", "415"), "settlement"),
    **dict.fromkeys(("125", "126", "127", "128"), "adl"),
}
_LEGS: dict[str, Side | None] = {"": None, "net": None, "long": "long", "short": "short"}
_ROLES: dict[str | None, Literal["maker", "taker"]] = {"M": "maker", "T": "taker"}


def parse_order(row: OrderRow, account: str) -> Order:
    """Translate an order. One whose state is not known yet counts as open: only what is certainly done goes away."""
    updated = int(row.u_time)
    return Order(
        account=account,
        scope=SCOPE,
        symbol=row.inst_id,
        order_id=row.ord_id,
        open=row.state not in _DONE,
        side=row.side,
        position_side=_LEGS.get(row.pos_side or ""),
        type=row.ord_type or "",
        status=row.state,
        category=row.category or "",
        price=known(row.px),
        size=known(row.sz),
        filled=known(row.acc_fill_sz),
        average_price=row.avg_px if _some(row.avg_px) else None,
        reduce_only=None if row.reduce_only in (None, "") else row.reduce_only in ("true", True),
        client_id=known(row.cl_ord_id),
        created_at=int(row.c_time) if row.c_time else None,
        updated_at=updated,
        # What is done stays done: a repeated message of the same moment does not open it again.
        fence=(updated, int(row.state in _DONE)),
    )


def unknown_words(row: OrderRow) -> str | None:
    """Return what in an order is not documented; None where everything is."""
    if row.state not in _DONE | _OPEN:
        return f"order {row.ord_id} has the unknown state {row.state!r}: it is shown as open"
    if (row.category or "") not in CATEGORIES:
        return f"order {row.ord_id} has the unknown category {row.category!r}: its executions are shown as trades"
    return unknown_terms(row)


def unknown_terms(row: OrderRow | FillRow) -> str | None:
    """Return what is not documented of what orders and executions both say; None where everything is, or nothing is said."""
    if (row.inst_type or "") not in INSTRUMENT_TYPES:
        return f"order {row.ord_id} is of the unknown type of instrument {row.inst_type!r}"
    if (row.pos_side or "") not in _LEGS:
        return f"order {row.ord_id} acts on the unknown leg {row.pos_side!r}"
    if row.exec_type and row.exec_type not in _ROLES:
        return f"an execution of order {row.ord_id} has the unknown type {row.exec_type[:50]!r}"
    return None


def executed(row: OrderRow) -> bool:
    """Say whether a message of the orders channel tells of an execution."""
    return _some(row.fill_sz)


def cause(row: OrderRow) -> Cause:
    """Return why an order exists."""
    return CATEGORIES.get(row.category or "", "trade")


def fill_of_order(row: OrderRow, account: str, position: str | None) -> Fill | None:
    """Translate the execution in a message of the orders channel; None where the message does not name it as REST will.

    Liquidations and ADL have a negative trade id in transaction details, and elsewhere 0 or another one: under that id
    the same execution would count twice.
    """
    trade = int(row.trade_id or 0)
    why = cause(row)
    price = known(row.fill_px)
    if trade == 0 or (trade > 0 and why in ("liquidation", "adl")) or not (executed(row) and price):
        return None
    # Older messages lack the fee and profit of the one execution; where it is the order's first they are the order's.
    first = row.acc_fill_sz is not None and row.acc_fill_sz == row.fill_sz
    fee_ccy = known(row.fill_fee_ccy) or known(row.fee_ccy)
    return Fill(
        account=account,
        id=fill_id(account, row.inst_id, str(row.trade_id), row.ord_id),
        symbol=row.inst_id,
        order_id=row.ord_id,
        side=row.side,
        size=row.fill_sz or "",
        price=price,
        at=int(row.fill_time or row.u_time),
        position=position,
        trade_id=row.trade_id,
        fee=known(row.fill_fee) or (known(row.fee) if first else None),
        fee_ccy=fee_ccy,
        role=_ROLES.get(row.exec_type),
        realized_pnl=known(row.fill_pnl) or (known(row.pnl) if first else None),
        cause=why,
        category=row.category or "",
    )


def evidence_of_order(row: OrderRow, account: str, position: str | None) -> Evidence:
    """Translate an order of the venue's own making: it says why the position changes."""
    return Evidence(
        account=account,
        symbol=row.inst_id,
        cause=cause(row),
        what=f"order category {row.category}",
        at=int(row.u_time),
        ids=(row.ord_id,),
        position=position,
    )


def parse_fill(row: FillRow, account: str) -> Fill:
    """Translate an execution of transaction details. They say no margin mode: ``placing`` finds the position."""
    code = row.sub_type or ""
    return Fill(
        account=account,
        id=fill_id(account, row.inst_id, row.trade_id, row.ord_id),
        symbol=row.inst_id,
        order_id=row.ord_id,
        side=row.side,
        size=row.fill_sz,
        price=row.fill_px,
        at=int(row.fill_time or row.ts),
        trade_id=row.trade_id,
        fee=known(row.fee),
        fee_ccy=known(row.fee_ccy),
        role=_ROLES.get(row.exec_type),
        realized_pnl=known(row.fill_pnl),
        cause=SUB_TYPES.get(code, "trade"),
        category=f"subType {code}" if code else "",
    )


def fill_id(account: str, symbol: str, trade_id: str, order_id: str) -> str:
    """Return the id of an execution: a trade id is shared by both of its sides, and counts per instrument."""
    return position_id(account, symbol, trade_id, order_id)


def _some(figure: str | None) -> bool:
    return bool(Decimal(figure or 0))
