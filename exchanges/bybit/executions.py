"""Bybit's executions and transaction log to normalized events: fills, funding, transfers, causes. Pure.

Signs: in executions ``execFee`` + is *paid* (funding too); in the log ``funding`` and ``change`` + is received. What leaves
here is the effect on the balance, with the digits as sent. Funding payments are read from executions alone, which stream and
REST both bring under one id; the log has another id for the same payment.
Source: Bybit v5 documentation, execution topic, "Get Trade History" and "Get Transaction Log".
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal

from exchanges.bybit import tables
from exchanges.bybit.legs import Legs
from exchanges.bybit.parse import contract_of, nonzero, text
from exchanges.bybit.wire import ExecutionRow, LogRow, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import (
    Cause,
    Evidence,
    Fill,
    FundingPayment,
    Transfer,
    TransferKind,
    known,
    position_id,
)
from exchanges.venue import Malformed, Output

_EXACT = Context(prec=40)


def parse_execution(row: ExecutionRow, account: str, category: str, legs: Legs) -> list[Output]:
    """Translate one execution; one of spot is nothing, since it moves no position.

    Raises:
        ProtocolViolation: Type, side or category is none of those known, or a figure is missing.
    """
    category = row.category or category
    if category == tables.SPOT:
        return []
    _, _, settle = contract_of(category, row.symbol)
    at = millis(row.exec_time)
    if row.side not in tables.ORDER_SIDES or at is None:
        raise ProtocolViolation(
            "bybit", f"execution {row.exec_id} of {row.symbol}: side {row.side!r} at {row.exec_time!r}"
        )
    if row.exec_type == tables.FUNDING:
        return [_funding(row, account, settle, at, legs.of_holding(category, row.symbol, row.side))]
    if tables.EXECUTION_TYPES.get(row.exec_type) == "adjustment" and nonzero(row.exec_price) is None:
        position = legs.of_holding(category, row.symbol, row.side)
        return [_adjustment(row, account, at, position)]  # nothing changed hands
    return [_fill(row, account, settle, at, legs.of_fill(category, row))]


def _funding(row: ExecutionRow, account: str, settle: str, at: int, position: str | None) -> FundingPayment:
    fee = known(row.exec_fee)
    if fee is None:
        raise ProtocolViolation("bybit", f"funding {row.exec_id} of {row.symbol} without an amount")
    rate = known(row.fee_rate)
    return FundingPayment(
        account=account,
        id=position_id(account, row.exec_id),
        symbol=row.symbol,
        amount=turned(fee),
        ccy=row.fee_currency or settle,
        at=at,
        position=position,
        # ``feeRate`` is what the holder pays: of a short it is the market's rate turned.
        rate=turned(rate) if rate and row.side == "Sell" else rate,
        size=known(row.exec_qty),
        side="long" if row.side == "Buy" else "short",
    )


def _fill(row: ExecutionRow, account: str, settle: str, at: int, position: str | None) -> Fill:
    cause, category = _cause(row)
    if not row.exec_qty or not row.exec_price:
        raise ProtocolViolation("bybit", f"execution {row.exec_id} of {row.symbol} without size or price")
    fee_ccy = row.fee_currency or settle
    return Fill(
        account=account,
        id=position_id(account, row.exec_id),
        symbol=row.symbol,
        order_id=row.order_id,
        side=tables.ORDER_SIDES[row.side],
        size=row.exec_qty,
        price=row.exec_price,
        at=at,
        position=position,
        trade_id=row.exec_id,
        fee=_fee(row, fee_ccy),
        fee_ccy=fee_ccy,
        role=None if row.is_maker is None else "maker" if row.is_maker else "taker",
        realized_pnl=_realized(row),
        cause=cause,
        category=category,
    )


def _adjustment(row: ExecutionRow, account: str, at: int, position: str | None) -> Evidence:
    what = f"execution type: {row.exec_type}"
    return Evidence(
        account=account, symbol=row.symbol, cause="adjustment", what=what, at=at, ids=(row.exec_id,), position=position
    )


def _cause(row: ExecutionRow) -> tuple[Cause, str]:
    """Return what made an execution happen, and Bybit's words for it."""
    if row.exec_type not in tables.EXECUTION_TYPES:
        raise ProtocolViolation("bybit", f"execution {row.exec_id} of {row.symbol}: unknown type {row.exec_type!r}")
    cause = tables.EXECUTION_TYPES[row.exec_type]
    origin = row.create_type or ""
    if cause == "trade" and origin in tables.CREATE_TYPES:
        return tables.CREATE_TYPES[origin], f"{row.exec_type} {origin}"
    return cause, row.exec_type


def _fee(row: ExecutionRow, fee_ccy: str) -> str | None:
    """Return the whole fee as effect on the balance; taxes beside it are charged too (seen live)."""
    fee = known(row.exec_fee)
    extra = row.extra_fees if isinstance(row.extra_fees, list) else []
    if fee is None or not extra:
        return None if fee is None else turned(fee)
    if any(one.fee_coin != fee_ccy for one in extra):
        raise ProtocolViolation("bybit", f"execution {row.exec_id} of {row.symbol}: fees in more than one coin")
    return text(-(Decimal(fee) + sum(Decimal(one.fee) for one in extra)))


def _realized(row: ExecutionRow) -> str | None:
    stated = known(row.exec_pnl)
    # REST does not state it, but a fill that closed nothing realised nothing.
    return "0" if stated is None and row.closed_size and not nonzero(row.closed_size) else stated


def before(row: ExecutionRow, after: str) -> str | None:
    """Return the signed size before an execution, by the one after it in the log; None where that is not what it says it closed.

    In hedge mode a position is a leg, and so is what the log speaks of. That is not documented in so many words: a size that
    disagrees with ``closedSize`` is another one.
    """
    size = Decimal(row.exec_qty or 0)
    held = _EXACT.subtract(Decimal(after), size if row.side == "Buy" else -size)
    closable = held if row.side == "Sell" else -held
    if row.closed_size and Decimal(row.closed_size) != min(max(closable, Decimal(0)), size):
        return None
    return text(held)


# --- Transaction log ------------------------------------------------------------------------------------------------


def parse_log(row: LogRow, account: str) -> list[Output]:
    """Translate one entry: transfers of money, session settlements, and the causes that it names.

    Raises:
        ProtocolViolation: An entry without a time.
    """
    at = millis(row.transaction_time)
    if at is None:
        raise ProtocolViolation("bybit", f"transaction {row.id} ({row.type}) without a time")
    if row.type in tables.LOG_CAUSES:
        return [_evidence(row, account, at, tables.LOG_CAUSES[row.type])] if row.symbol else []
    if row.type == tables.LOG_SETTLEMENT:
        return _settlement(row, account, at)
    if row.type == tables.LOG_TRADE:
        # Derivatives come as executions; a trade on spot turns one coin into another.
        return _transfer(row, account, at, "conversion", row.change) if row.category == tables.SPOT else []
    return _transfer(row, account, at, _kind(row.type), row.change)


def _settlement(row: LogRow, account: str, at: int) -> list[Output]:
    """Return what a settlement moved beside funding: USDC contracts realise their profit every eight hours."""
    moved = _transfer(row, account, at, "settlement", row.cash_flow)
    return [*moved, _evidence(row, account, at, "settlement")] if moved and row.symbol else moved


def _transfer(row: LogRow, account: str, at: int, kind: TransferKind, amount: str | None) -> list[Output]:
    if nonzero(amount) is None or amount is None:
        return []
    # ``id`` is called unique, but the documentation's own sample repeats it.
    event_id = position_id(account, row.id, row.type, row.currency, str(at), row.trade_id or row.order_id or "")
    return [
        Transfer(
            account=account, id=event_id, kind=kind, ccy=row.currency, amount=amount, at=at, what=row.type,
            symbol=row.symbol or None,
        )
    ]  # fmt: skip


def _kind(name: str) -> TransferKind:
    return next((kind for start, kind in tables.LOG_TRANSFERS if name.startswith(start)), "other")


def _evidence(row: LogRow, account: str, at: int, cause: Cause) -> Evidence:
    ids = tuple(one for one in (row.id, row.trade_id, row.order_id) if one)
    return Evidence(
        account=account, symbol=row.symbol, cause=cause, what=f"transaction log: {row.type}", at=at, ids=ids
    )


# --- Figures --------------------------------------------------------------------------------------------------------


def turned(amount: str) -> str:
    """Return an amount with the other sign and the same digits; zero has none."""
    if amount.startswith("-"):
        return amount[1:]
    return f"-{amount}" if Decimal(amount) else amount


def oldest_first(events: Sequence[tuple[int, list[Output]]]) -> list[Output]:
    """Return outputs in the order of their times (Bybit lists the newest first)."""
    return [output for _, outputs in sorted(events, key=lambda one: one[0]) for output in outputs]


def unread(error: ProtocolViolation) -> list[Output]:
    """Return what stands for a row that cannot be understood; its neighbours stand."""
    return [Malformed(what=str(error))]
