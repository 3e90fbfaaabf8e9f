"""The simulated order desk: places, fills and cancels orders, and numbers them over the whole world.

Notes every change; where orders are kept is ``records``, what a fill does to a position is ``ledger``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal

from exchanges.sim.changes import Order, OrderCategory, OrderChanged, OrderStatus, WorldEvent
from exchanges.sim.revalue import Key

_FIRST_ID = 700_000_001


class Orders:
    """The desk. Args: note: Takes every change, in order."""

    def __init__(self, note: Callable[[WorldEvent], None]) -> None:
        self._note = note
        self._ids = itertools.count(_FIRST_ID)

    def place(
        self, account: str, key: Key, buy: bool, price: Decimal, size: Decimal, at: int, *, reduce_only: bool
    ) -> Order:
        """Put a limit order into the book and return it."""
        order = self._make(account, key, buy, price, size, Decimal(0), "normal", at, reduce_only=reduce_only)
        self._note(OrderChanged(at, order))
        return order

    def at_once(
        self, account: str, key: Key, buy: bool, price: Decimal, size: Decimal, at: int,
        category: OrderCategory, *, reduce_only: bool,
    ) -> Order:  # fmt: skip
        """Return an order that is filled the moment it is placed."""
        order = self._make(account, key, buy, price, size, size, category, at, reduce_only=reduce_only)
        self._note(OrderChanged(at, order))
        return order

    def fill(self, order: Order, size: Decimal, at: int) -> Order:
        """Fill ``size`` of a resting order."""
        filled = order.filled + size
        status: OrderStatus = "filled" if filled == order.size else "partially_filled"
        after = replace(order, filled=filled, status=status, updated_at=at)
        self._note(OrderChanged(at, after))
        return after

    def cancel(self, orders: Iterable[Order], at: int) -> None:
        """Take what is left of orders out of the book."""
        for order in orders:
            self._note(OrderChanged(at, replace(order, status="cancelled", updated_at=at)))

    def _make(
        self, account: str, key: Key, buy: bool, price: Decimal, size: Decimal, filled: Decimal,
        category: OrderCategory, at: int, *, reduce_only: bool,
    ) -> Order:  # fmt: skip
        return Order(
            id=next(self._ids), account=account, symbol=key.symbol, leg=key.leg, mode=key.mode, buy=buy, price=price,
            size=size, filled=filled, status="filled" if filled else "open", category=category, reduce_only=reduce_only,
            created_at=at, updated_at=at,
        )  # fmt: skip
