"""Open orders as the venue reports them (they hold margin; Perpwire never places, changes or cancels one). Pure.

Owns the `orders` table: single reports by their order, full lists replace their scope.
"""

from __future__ import annotations

import msgspec

from exchanges.events import OpenOrders, Order
from gateway.core.accounts import Account
from gateway.core.publish import Changes, key_of
from gateway.core.reconcile import Fences
from gateway.core.rows import Row, present

_NOT_SHOWN = ("scope", "open", "fence")


class Orders:
    """All open orders of all accounts."""

    def __init__(self, changes: Changes) -> None:
        self.open: dict[str, Order] = {}
        self._changes = changes
        self._owners: dict[str, Account] = {}
        self._fences = Fences()

    def put(self, account: Account, order: Order, now: int, asked_at: int | None = None) -> bool:
        """Take one report; return False where it is older than what is known."""
        if not self._fences.accepts(order, asked_at):
            return False
        if not order.open:
            self._close(order, order.fence, now)
            return True
        self._fences.opened(order, now)
        known, self.open[order.id] = self.open.get(order.id), order
        self._owners[order.id] = account
        if known != order:
            self._changes.touch("orders", order.id, key_of(account.info, order.symbol))
        return True

    def replace(self, account: Account, full: OpenOrders, now: int) -> bool:
        """Take a full list: an order of its scope that is not in it is open no more. False: an older list."""
        if not self._fences.begin_snapshot(full, now):
            return False
        held = {
            order_id: order
            for order_id, order in self.open.items()
            if (order.account, order.scope) == (full.account, full.scope)
        }
        for order_id in self._fences.missing(full, {order.id for order in full.orders}, held):
            self._close(held[order_id], full.fence, now)
        for order in full.orders:
            self.put(account, order, now, full.asked_at)
        return True

    def forget(self, account: str, now: int) -> None:
        """Drop every order of an account."""
        for order in [order for order in self.open.values() if order.account == account]:
            self._close(order, order.fence, now)

    def row(self, row_id: str) -> Row:
        """Return the row of the `orders` table."""
        order, info = self.open[row_id], self._owners[row_id].info
        said = {n: v for n, v in msgspec.structs.asdict(order).items() if n not in _NOT_SHOWN and v != ""}
        return present({"user": info.user, "venue": info.venue, "env": info.env} | said)

    def _close(self, order: Order, fence: tuple[int, ...], now: int) -> None:
        known = self.open.pop(order.id, None)
        self._fences.closed(known or order, fence, now)
        if known is not None:
            del self._owners[order.id]
            self._changes.remove("orders", order.id)
