"""Bybit's closed PnL to normalized events. Pure.

A row is what one order closed; where it is filled in parts it is replaced by a larger one (``updatedTime`` moves on). Its
``closedPnl`` is net of the fees of closing and of the share of opening that was closed, and has no funding in it (the
documentation's sample adds up so). Options are not in the list. Source: Bybit v5 documentation, "Get Closed PnL".
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from exchanges.bybit import tables
from exchanges.bybit.legs import Legs
from exchanges.bybit.parse import contract_of, text
from exchanges.bybit.wire import ClosedRow, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import ClosedPnl, Side, known, position_id
from exchanges.venue import Notice, Output

SOURCE: Final = "closed-pnl"
# What an order of this side closes, and the side that a holding has in Bybit's words.
_CLOSES: Final[dict[str, tuple[Side, str]]] = {"Sell": ("long", "Buy"), "Buy": ("short", "Sell")}
_NANOSECONDS: Final = 10**15  # beyond this a time is not in milliseconds


def parse_closed(row: ClosedRow, account: str, category: str, legs: Legs) -> list[Output]:
    """Translate one row; a type that is not documented is told beside it.

    Raises:
        ProtocolViolation: A row without a time, or of an unknown side or category.
    """
    settle = contract_of(category, row.symbol)[2]
    _, at = times(row)
    if row.side not in _CLOSES or not at:
        raise ProtocolViolation(
            "bybit", f"closed PnL of {row.symbol}, order {row.order_id}: {row.side!r} at {row.updated_time!r}"
        )
    side, held = _CLOSES[row.side]
    net, fees = known(row.closed_pnl), _fees(row)
    told = ClosedPnl(
        account=account,
        id=position_id(account, SOURCE, row.symbol, row.order_id, str(row.created_time)),
        source=SOURCE,
        symbol=row.symbol,
        at=at,
        position=legs.of_holding(category, row.symbol, held),
        side=side,
        ccy=settle,
        size=known(row.closed_size),
        entry_price=known(row.avg_entry_price),
        exit_price=known(row.avg_exit_price),
        realized_pnl=None if net is None or fees is None else text(Decimal(net) - fees),
        fees=None if fees is None else text(fees),
        realized_net=net,
        order_id=row.order_id or None,
        what=row.exec_type,
    )
    if row.exec_type in tables.EXECUTION_TYPES:
        return [told]
    strange = f"{row.symbol}, order {row.order_id}: unknown type {row.exec_type[:50]!r}"
    return [told, Notice(code=SOURCE, what=strange)]


def times(row: ClosedRow) -> tuple[int, int]:
    """Return when a row was made and when it last changed (ms); 0: not said."""
    made, changed = _ms(row.created_time), _ms(row.updated_time)
    return made or changed, changed or made


def _ms(stamp: int | str | None) -> int:
    number = millis(stamp) or 0
    return number // 1_000_000 if number > _NANOSECONDS else number


def _fees(row: ClosedRow) -> Decimal | None:
    """Return both fees as effect on the balance, where the row says both."""
    opened, closed = known(row.open_fee), known(row.close_fee)
    return None if opened is None or closed is None else -(Decimal(opened) + Decimal(closed))
