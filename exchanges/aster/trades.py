"""Aster's orders, fills and books to normalized events. Pure.

Owns their signs and causes. A liquidation, an ADL and a settlement are told from a trade by the client order id of what the venue
itself closes, the execution type, the order type or the order's status.
"""

from __future__ import annotations

from decimal import Decimal

from exchanges.aster import tables
from exchanges.aster.parse import leg_id, negated, nonzero
from exchanges.aster.pushes import PushedOrder
from exchanges.aster.wire import IncomeRow, MarginChange, OrderRow, TradeRow, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import (
    Cause,
    ClosedPnl,
    Evidence,
    Fill,
    FundingPayment,
    Order,
    OrderSide,
    Side,
    Transfer,
    known,
    position_id,
)

_SIDES: dict[str, OrderSide] = {"BUY": "buy", "SELL": "sell"}
_LEGS: dict[str, Side | None] = {"LONG": "long", "SHORT": "short", "BOTH": None, "": None}


def cause_of(client_id: str, status: str = "", execution: str = "", kind: str = "") -> tuple[Cause, str]:
    """Return why an order exists, and the venue's word that says so ("" for an ordinary one)."""
    for prefix, cause in tables.FORCED_PREFIXES:
        if client_id.startswith(prefix):
            return cause, prefix
    if status in tables.STATUS_CAUSES:
        return tables.STATUS_CAUSES[status], status
    if kind == "LIQUIDATION" or execution == "CALCULATED":
        return "liquidation", kind if kind == "LIQUIDATION" else execution
    return "trade", ""


def is_open(symbol: str, status: str, size: str | None, filled: str | None) -> bool:
    """Say whether an order can still fill. Raises ProtocolViolation for an unknown status."""
    if status in tables.OPEN_STATUSES:
        return True
    if status in tables.DONE_STATUSES:
        return False
    if status in tables.SPECIAL_STATUSES:
        return Decimal(filled or "0") < Decimal(size or "0")
    raise ProtocolViolation("aster", f"{symbol}: unknown order status {status!r}")


def order_side(symbol: str, word: str) -> OrderSide:
    """Return an order's side. Raises ProtocolViolation."""
    if word not in _SIDES:
        raise ProtocolViolation("aster", f"{symbol}: unknown order side {word!r}")
    return _SIDES[word]


def leg_side(symbol: str, word: str) -> Side | None:
    """Return the leg that an order acts on; None outside hedge mode. Raises ProtocolViolation."""
    if word not in _LEGS:
        raise ProtocolViolation("aster", f"{symbol}: unknown position side {word!r}")
    return _LEGS[word]


def pushed_order(account: str, row: PushedOrder, fence: tuple[int, ...]) -> Order:
    """Translate an order's report. Raises ProtocolViolation for an unknown word."""
    if row.x not in tables.EXECUTIONS:
        raise ProtocolViolation("aster", f"{row.s}: unknown execution type {row.x!r}")
    still_open = is_open(row.s, row.status, row.q, row.z)
    return Order(
        account=account,
        scope=tables.SCOPE,
        symbol=row.s,
        order_id=str(row.i),
        open=still_open,
        side=order_side(row.s, row.side),
        position_side=leg_side(row.s, row.ps),
        type=row.o,
        status=row.status,
        category=cause_of(row.c, row.status, row.x, row.o)[1],
        price=nonzero(row.p),
        trigger_price=nonzero(row.sp),
        size=known(row.q),
        filled=known(row.z),
        average_price=nonzero(row.ap),
        reduce_only=row.reduce_only,
        client_id=row.c or None,
        updated_at=fence[0],
        # Placed, filled and done may be of one millisecond: what is done stays done.
        fence=(*fence, int(not still_open), int(row.t or 0)),
    )


def pushed_fill(account: str, row: PushedOrder, at: int) -> Fill | None:
    """Translate the execution in an order's report; None where it reports none. Raises ProtocolViolation."""
    if row.x not in tables.FILLING or not nonzero(row.l):
        return None
    if not nonzero(row.last_price) or not int(row.t or 0):
        raise ProtocolViolation("aster", f"{row.s}: an execution without price or trade id")
    cause, category = cause_of(row.c, row.status, row.x, row.o)
    return Fill(
        account=account,
        id=position_id(account, row.s, str(row.t), str(row.i)),
        symbol=row.s,
        order_id=str(row.i),
        side=order_side(row.s, row.side),
        size=row.l or "0",
        price=row.last_price or "0",
        at=millis(row.traded_at) or at,
        position=leg_id(account, row.s, row.ps) if row.ps else None,
        trade_id=str(row.t),
        fee=fee_of(row.n, row.m) if row.n else None,
        fee_ccy=row.fee_ccy,
        role=None if row.m is None else "maker" if row.m else "taker",
        realized_pnl=known(row.rp),
        cause=cause,
        category=category,
    )


def fee_of(commission: str, maker: bool | None) -> str:
    """Return a commission as its effect on the balance.

    It is sent positive where it is paid (seen live) and negative for a rebate. The documentation's own sample of a *taker's*
    fill carries a minus; takers are never paid, so that theirs is read as paid whatever its sign.
    """
    if maker is False:
        return negated(commission.removeprefix("-"))
    return negated(commission)


def order(account: str, row: OrderRow) -> Order:
    """Translate an order that was asked for. Raises ProtocolViolation for an unknown word."""
    updated_at = millis(row.update_time) or millis(row.time)
    return Order(
        account=account,
        scope=tables.SCOPE,
        symbol=row.symbol,
        order_id=str(row.order_id),
        open=is_open(row.symbol, row.status, row.orig_qty, row.executed_qty),
        side=order_side(row.symbol, row.side),
        position_side=leg_side(row.symbol, row.position_side),
        type=row.type,
        status=row.status,
        category=cause_of(row.client_order_id, row.status, "", row.type)[1],
        price=nonzero(row.price),
        trigger_price=nonzero(row.stop_price),
        size=known(row.orig_qty),
        filled=known(row.executed_qty),
        average_price=nonzero(row.avg_price),
        reduce_only=row.reduce_only,
        client_id=row.client_order_id or None,
        created_at=millis(row.time),
        updated_at=updated_at,
        fence=(updated_at,) if updated_at else (),
    )


def forced(account: str, row: OrderRow) -> Evidence:
    """Translate an order by which the venue itself closed a position. Raises ProtocolViolation where it does not say why."""
    cause, word = cause_of(row.client_order_id, row.status, "", row.type)
    at = millis(row.update_time) or millis(row.time)
    if cause == "trade" or at is None:
        raise ProtocolViolation(
            "aster", f"{row.symbol}: a forced order {row.client_order_id!r} without a known cause or time"
        )
    leg = leg_id(account, row.symbol, row.position_side) if row.position_side else None
    return Evidence(
        account=account, symbol=row.symbol, cause=cause, what=word, at=at, ids=(str(row.order_id),), position=leg
    )


def margin(account: str, row: MarginChange) -> Evidence:
    """Translate margin that was added to or taken from an isolated position."""
    what = {1: "margin added", 2: "margin taken"}.get(row.type, f"margin type {row.type}")
    return Evidence(
        account=account,
        symbol=row.symbol,
        cause="margin",
        what=f"{what}: {row.amount} {row.asset}",
        at=row.time,
        position=leg_id(account, row.symbol, row.position_side),
    )


def fill(account: str, row: TradeRow, cause: tuple[Cause, str]) -> Fill:
    """Translate a fill that was asked for; ``cause`` is what is known of its order. Raises ProtocolViolation."""
    return Fill(
        account=account,
        id=position_id(account, row.symbol, str(row.id), str(row.order_id)),
        symbol=row.symbol,
        order_id=str(row.order_id),
        side=order_side(row.symbol, row.side),
        size=row.qty,
        price=row.price,
        at=int(row.time),
        position=leg_id(account, row.symbol, row.position_side) if row.position_side else None,
        trade_id=str(row.id),
        fee=fee_of(row.commission, row.maker) if row.commission else None,
        fee_ccy=row.commission_asset,
        role=None if row.maker is None else "maker" if row.maker else "taker",
        realized_pnl=known(row.realized_pnl),
        cause=cause[0],
        category=cause[1],
    )


def closed_pnl(account: str, row: IncomeRow, hedge: bool | None) -> ClosedPnl | None:
    """Translate a line that a trade brought: what it realised, or what it cost; None for any other line."""
    if row.income_type not in tables.TRADE_INCOME or not row.symbol:
        return None
    pnl = row.income_type == tables.PNL_INCOME
    return ClosedPnl(
        account=account,
        id=position_id(account, "income", row.income_type, str(row.tran_id)),
        source="income",
        symbol=row.symbol,
        at=int(row.time),
        # In hedge mode a line does not say which leg it belongs to.
        position=leg_id(account, row.symbol, "BOTH") if hedge is False else None,
        ccy=row.asset,
        realized_pnl=row.income if pnl else None,
        fees=None if pnl else row.income,
        trade_id=str(row.trade_id) if row.trade_id else None,
        what=row.income_type,
    )


def income(account: str, row: IncomeRow, hedge: bool | None) -> list[FundingPayment | Transfer | Evidence]:
    """Translate one line of the books; what the fills say themselves gives nothing.

    ``income`` is the effect on the balance. A ``tranId`` is unique within its type.
    """
    if row.income_type in tables.TRADE_INCOME:
        return []
    row_id, at = position_id(account, row.income_type, str(row.tran_id)), int(row.time)
    if row.income_type == tables.FUNDING_INCOME and row.symbol:
        # In hedge mode a payment does not say which leg it belongs to.
        leg = leg_id(account, row.symbol, "BOTH") if hedge is False else None
        payment = FundingPayment(
            account=account, id=row_id, symbol=row.symbol, amount=row.income, ccy=row.asset, at=at, position=leg
        )
        return [payment]
    kind = tables.INCOME_KINDS.get(row.income_type, "other")
    transfer = Transfer(
        account=account, id=row_id, kind=kind, ccy=row.asset, amount=row.income, at=at, what=row.income_type,
        symbol=row.symbol or None,
    )  # fmt: skip
    cause = tables.REASON_CAUSES.get(row.income_type)
    if cause is None or not row.symbol:
        return [transfer]
    ids = (str(row.tran_id),)
    return [transfer, Evidence(account=account, symbol=row.symbol, cause=cause, what=row.income_type, at=at, ids=ids)]
