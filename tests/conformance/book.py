"""What an account holds by what its venue said, by the rules of ``exchanges.events`` alone: the least that reads them rightly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from exchanges.events import (
    Event,
    Evidence,
    Fill,
    FundingPayment,
    OpenOrders,
    Order,
    PositionsSnapshot,
    PositionState,
    Transfer,
)

Fence = tuple[int, ...]


class Book:
    """Positions, open orders and records of one account."""

    def __init__(self) -> None:
        self.positions: dict[str, PositionState] = {}
        self.orders: dict[str, Order] = {}
        self.fills: dict[str, Fill] = {}
        self.payments: dict[str, FundingPayment] = {}
        self.transfers: dict[str, Transfer] = {}
        self.evidence: list[Evidence] = []
        self._fences: dict[str, Fence] = {}  # of closed ones too: they outlive the row
        self._changed_at: dict[str, int] = defaultdict(int)

    def take(self, events: Iterable[Event], at: int) -> None:
        """Take events that came at ``at`` (our clock)."""
        for event in events:
            match event:
                case PositionState():
                    self._position(event, at)
                case PositionsSnapshot():
                    self._snapshot(event, at)
                case Order():
                    self._order(event, at)
                case OpenOrders():
                    self._open_orders(event, at)
                case Fill():
                    self.fills.setdefault(event.id, event)
                case FundingPayment():
                    self.payments.setdefault(event.id, event)
                case Transfer():
                    self.transfers.setdefault(event.id, event)
                case Evidence() if event not in self.evidence:
                    self.evidence.append(event)

    @property
    def held(self) -> list[tuple[str, str, Decimal]]:
        """Symbol, side and size of everything that is open, sorted."""
        return sorted((row.symbol, str(row.side), Decimal(row.size)) for row in self.positions.values())

    def _position(self, row: PositionState, at: int) -> None:
        if row.fence < self._fences.get(row.id, ()):
            return
        self._fences[row.id] = row.fence
        if row != self.positions.get(row.id):
            self._changed_at[row.id] = at
        if Decimal(row.size):
            self.positions[row.id] = row
        else:
            self.positions.pop(row.id, None)

    def _snapshot(self, found: PositionsSnapshot, at: int) -> None:
        asked_at = at if found.asked_at is None else found.asked_at
        for row in found.positions:
            assert row.scope == found.scope, f"a row of scope {row.scope!r} in a list of {found.scope!r}"
            if found.asked_at is None or self._changed_at[row.id] <= asked_at:
                self._position(row, at)
        listed = {row.id for row in found.positions}
        for id_ in [row.id for row in self.positions.values() if row.scope == found.scope and row.id not in listed]:
            older = found.fence and found.fence < self._fences.get(id_, ())
            if not older and (found.asked_at is None or self._changed_at[id_] <= asked_at):
                del self.positions[id_]
                self._fences[id_] = max(found.fence, self._fences.get(id_, ()))
                self._changed_at[id_] = at

    def _order(self, row: Order, at: int) -> None:
        if row.fence < self._fences.get(row.id, ()):
            return
        self._fences[row.id] = row.fence
        self._changed_at[row.id] = at
        if row.open:
            self.orders[row.id] = row
        else:
            self.orders.pop(row.id, None)

    def _open_orders(self, found: OpenOrders, at: int) -> None:
        asked_at = at if found.asked_at is None else found.asked_at
        listed = {row.id for row in found.orders}
        for row in found.orders:
            assert row.scope == found.scope, f"an order of scope {row.scope!r} in a list of {found.scope!r}"
            if self._changed_at[row.id] <= asked_at:
                self._order(row, at)
        for id_ in [row.id for row in self.orders.values() if row.scope == found.scope and row.id not in listed]:
            if self._changed_at[id_] <= asked_at:
                del self.orders[id_]
