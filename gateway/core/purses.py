"""What an account holds in each currency beside what marks move: the one rule of which position draws on which balance. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gateway.core.accounts import Account
from gateway.core.anchor import paid_apart
from gateway.core.positions import Book
from gateway.core.rows import settle_of
from gateway.core.state import Position


def value_pools(account: Account, held: Iterable[Position]) -> set[int]:
    """Return the pools whose equity is cash + signed value (Hyperliquid): they hold a balance of their own.

    All others hold cash + unrealised PnL: their positions draw on the balance of their currency.
    """
    found = {pool.number for pool in account.pools.values() if pool.state is not None and pool.state.basis == "value"}
    for position in held:
        if position.pool.state is None and position.state.isolated_basis == "value":
            found.add(position.pool.number)
    return found


def amounts(account: Account, held: Iterable[Position], values: set[int], book: Book) -> dict[str, float]:
    """Return an account's balances per currency without what marks move; NaN: unknown.

    To be added are the unrealised PnL of positions whose pool is not in ``values``, and the equity of the pools that are.
    """
    found: dict[str, float] = {}
    for coin in account.all_coins():
        cash = coin.cash if coin.cash is not None else coin.equity
        found[coin.ccy] = found.get(coin.ccy, 0.0) + (float(cash) if cash is not None else math.nan)
    apart = {coin.ccy for coin in account.all_coins() if coin.isolated_apart}
    for position in held:
        settle, pool = settle_of(position), position.pool
        if settle and pool.number not in values:
            margin = float(book.cash[pool.number]) if pool.isolated and settle in apart else 0.0
            found[settle] = found.get(settle, 0.0) + margin + paid_apart(position.state, position.instrument)
    return found
