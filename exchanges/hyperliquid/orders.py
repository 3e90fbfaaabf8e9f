"""Orders on Hyperliquid, as events: open orders as full lists per dex, updates of single ones, one order asked by id.

Owns their wire shapes and the meaning of a status. Pure. Raises only ``ProtocolViolation``.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from exchanges.events import OpenOrders, Order
from exchanges.hyperliquid import tables
from exchanges.hyperliquid.wire import DIGITS, Name, TimeMs, Wire, clip, dex_of, exact, shown, violation
from exchanges.venue import Malformed


class OrderRow(Wire):
    """One order. ``sz`` is what remains; trigger fields, type and time in force are in the "frontend" form alone."""

    coin: Name
    side: Literal["B", "A"]
    limit_px: Decimal
    sz: Decimal
    oid: int
    timestamp: TimeMs
    orig_sz: Decimal | None = None
    order_type: str | None = None
    is_trigger: bool | None = None
    trigger_px: Decimal | None = None
    reduce_only: bool | None = None
    tif: str | None = None
    cloid: str | None = None


class OrderUpdate(Wire):
    """An order and what became of it."""

    order: OrderRow
    status: str
    status_timestamp: TimeMs


class OrderStatus(Wire):
    """Answer to ``orderStatus``: ``order`` is there only where ``status`` is "order"."""

    status: str
    order: OrderUpdate | None = None


class OpenOrdersFrame(Wire):
    """Data of ``openOrders``: every open order of one dex. Those attached to another order stand in the list too."""

    user: str
    orders: list[OrderRow]
    dex: str | None = None


def scope_of(dex: str) -> str:
    """Return the scope of a dex's full list of open orders; spot orders are in the main dex's."""
    return f"orders:{dex}"


def parse_open(account: str, dex: str, rows: Sequence[OrderRow], asked_at: int | None = None) -> OpenOrders:
    """Translate the full list of a dex's open orders."""
    return OpenOrders(
        account=account,
        scope=scope_of(dex),
        orders=tuple(_order(account, row, scope_of(dex), "open") for row in rows),
        asked_at=asked_at,
    )


def parse_update(account: str, update: OrderUpdate) -> Order | Malformed:
    """Translate what became of an order; a status that is neither open nor an end changes nothing and is said aloud."""
    ended = update.status in tables.ENDED or update.status.endswith(tables.ENDINGS)
    if not ended and update.status not in tables.OPEN:
        return Malformed(what=clip(f"{tables.NAME}: order {update.order.oid} has the unknown status {update.status!r}"))
    scope = scope_of(dex_of(update.order.coin))
    return _order(account, update.order, scope, update.status, ended=ended, at=update.status_timestamp)


def parse_status(account: str, answer: OrderStatus) -> list[Order | Malformed]:
    """Translate the answer about one order: none where the venue does not know it.

    Raises:
        ProtocolViolation: It is neither an order nor the statement that there is none.
    """
    if answer.status == "unknownOid":
        return []
    if answer.status != "order" or answer.order is None:
        raise violation(f"orderStatus answers {answer.status!r}")
    return [parse_update(account, answer.order)]


def _order(
    account: str, row: OrderRow, scope: str, status: str, *, ended: bool = False, at: int | None = None
) -> Order:
    filled = None if row.orig_sz is None else DIGITS.subtract(row.orig_sz, row.sz)
    # A cancelled order keeps what remained of it; some report it as 0, which would read as filled.
    unsure = ended and status not in tables.ENDED and row.sz == 0
    return Order(
        account=account,
        scope=scope,
        symbol=row.coin,
        order_id=str(row.oid),
        open=not ended,
        side="buy" if row.side == "B" else "sell",
        type=row.order_type or "",
        status=status,
        category=row.tif or "",
        price=exact(row.limit_px),
        trigger_price=shown(row.trigger_px) if row.is_trigger else None,
        size=shown(row.orig_sz),
        filled=None if filled is None or unsure else exact(filled),
        reduce_only=row.reduce_only,
        client_id=row.cloid,
        created_at=row.timestamp,
        updated_at=at,
        fence=() if at is None else (at,),
    )
