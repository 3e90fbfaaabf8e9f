"""What backs a currency's cross pool on OKX: its cash, its equity, and what open orders hold of it. Keeps no state.

Owns the sums over a currency's row, exact to the last digit. Source: OKX v5 docs, ``account`` channel and ``/account/balance``.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal

from exchanges.events import known
from exchanges.okx.wire import CoinRow

# Wide enough for exact sums of any two figures that the wire schema lets through.
_EXACT = Context(prec=200)


def cash(row: CoinRow) -> str:
    """Return the mark-independent part of a currency: the balance less accrued interest and debts.

    Whether ``cashBal`` has already gone below zero by what was borrowed, or stands beside ``liab``, is not documented:
    of the two readings the one is taken that the message's own equity confirms.
    """
    carried = _sum(row.cash_bal, minus=(row.interest,))
    if not Decimal(row.liab or 0):
        return row.cash_bal if not Decimal(row.interest or 0) else format(carried, "f")
    beside = _EXACT.subtract(carried, Decimal(row.liab or 0))
    rest = _sum(row.eq or "0", minus=(row.upl, row.iso_eq, *_elsewhere(row)))
    return format(min(carried, beside, key=lambda reading: abs(_EXACT.subtract(reading, rest))), "f")


def held(row: CoinRow) -> str | None:
    """Return what of a currency's cross balance backs no positions in futures mode; None where it cannot be told.

    The margin ratio counts "balance + PnL - sell orders - options to buy - isolated positions to open - fees of all orders"
    (help centre, "Futures mode: cross margin trading"), none of which is a field. ``availEq`` lacks those and ``imr``, the
    margin of positions and pending orders, so that the rest is what they hold, at most ``ordFrozen``. That ``imr`` of a
    currency holds orders too is documented for the account alone; without it the rest is too much, never too little.
    """
    frozen = known(row.ord_frozen)
    if frozen is None or not Decimal(frozen):
        return frozen and "0"
    equity, margin, free = cross_equity(row), known(row.imr), known(row.avail_eq)
    if equity is None or margin is None or free is None or Decimal(free) <= 0:  # floored at 0: then it says nothing
        return None
    rest = _sum(equity, minus=(margin, free))
    return format(min(max(rest, Decimal(0)), Decimal(frozen)), "f")


def cross_equity(row: CoinRow) -> str | None:
    """Return the equity of a currency's cross pool at the venue's marks; None where the row does not say it."""
    equity = known(row.eq)
    return None if equity is None else format(_sum(equity, minus=(row.iso_eq, *_elsewhere(row))), "f")


def _elsewhere(row: CoinRow) -> tuple[str | None, ...]:
    """Equity of the currency that bots and copied traders hold: none of it backs the cross pool."""
    return row.stgy_eq, row.smt_sync_eq, row.spot_copy_trading_eq


def _sum(start: str, minus: Iterable[str | None]) -> Decimal:
    total = Decimal(start)
    for part in minus:
        total = _EXACT.subtract(total, Decimal(part or 0))
    return total
