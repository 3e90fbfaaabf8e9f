"""Bybit's orders to normalized events. Pure. Source: Bybit v5 documentation, order topic and "Get Open & Closed Orders"."""

from __future__ import annotations

from exchanges.bybit import tables
from exchanges.bybit.parse import Origin, nonzero, scope_of
from exchanges.bybit.wire import OrderRow, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import LiquidationWarning, Order, known
from exchanges.venue import Output


def parse_order(row: OrderRow, origin: Origin) -> Order:
    """Translate one order of derivatives.

    Raises:
        ProtocolViolation: Category, side, leg or status is none of those known: whether it is open is never guessed.
    """
    category = row.category or origin.category
    _, _, settle = origin.contract(category, row.symbol)
    for what, value, of in (
        ("side", row.side, tables.ORDER_SIDES),
        ("status", row.order_status, tables.ORDER_STATUSES),
    ):
        if value not in of:
            raise ProtocolViolation("bybit", f"order {row.order_id} of {row.symbol}: unknown {what} {value!r}")
    if row.position_idx not in tables.POSITION_SIDES:
        raise ProtocolViolation(
            "bybit", f"order {row.order_id} of {row.symbol}: unknown positionIdx {row.position_idx}"
        )
    updated_at = millis(row.updated_time)
    return Order(
        account=origin.account,
        scope=scope_of(category, settle),
        symbol=row.symbol,
        order_id=row.order_id,
        open=tables.ORDER_STATUSES[row.order_status],
        side=tables.ORDER_SIDES[row.side],
        position_side=tables.POSITION_SIDES[row.position_idx],
        type=row.order_type,
        status=row.order_status,
        category=_word(row.create_type) or _word(row.stop_order_type),
        price=nonzero(row.price),
        trigger_price=nonzero(row.trigger_price),
        size=known(row.qty),
        filled=known(row.cum_exec_qty),
        average_price=nonzero(row.avg_price),
        reduce_only=row.reduce_only,
        client_id=known(row.order_link_id),
        created_at=millis(row.created_time),
        updated_at=updated_at,
        fence=(updated_at or 0, origin.order),
    )


def warnings(row: OrderRow, origin: Origin) -> list[Output]:
    """Return the warning that a cancellation implies: Bybit takes orders away to free margin before it liquidates."""
    if row.cancel_type not in tables.LIQUIDATION_CANCELS:
        return []
    at = millis(row.updated_time) or origin.order
    what = f"order {row.order_id} was cancelled to avoid a liquidation ({row.cancel_type})"
    return [LiquidationWarning(account=origin.account, symbol=row.symbol, what=what, at=at)]


def _word(value: str | None) -> str:
    return "" if value is None or value in tables.NO_WORDS else value
