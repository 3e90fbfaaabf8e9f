"""Which position an execution is of. Transaction details name no margin mode; the order that they are of has one, for good.

Owns what is known of orders, by the stream or by bills, and the executions that wait for a word of theirs. A net account can hold
one contract cross and isolated at once: without the mode two positions would look like one. Pure. Source: OKX v5 docs, order
information, transaction details, bills details. Of an isolated position an order does not even say the margin currency: the first
execution of one waits for the position's own row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from exchanges.events import Fill, position_id
from exchanges.okx import bills, orders, tables
from exchanges.okx.wire import BillRow, BriefPosition, FillRow, OrderRow, PositionRow

_CONTRACTS = ("SWAP", "FUTURES", "OPTION")
_MODES = ("cross", "isolated")
_MOST_ORDERS = 100_000  # of one window of books, in memory at once; the oldest known go first
_MOST_WAITING = 20_000

_Key = tuple[str, str]  # instrument, order; of an execution without one (block trades) the bill
_Leg = tuple[str, str, str]  # instrument, leg, mode


class _Waiting(NamedTuple):
    """An execution of which it is not known whose it is, with what kind of instrument it is of, and the leg that it names."""

    kind: str | None
    side: str | None
    fill: Fill


class Placing:
    """Finds the positions of one account's orders and executions.

    Attributes:
        waiting: How many executions wait for a word of their order, or of their position.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self._margins: dict[_Leg, str] = {}  # margin currency; "": several
        self._orders: dict[_Key, tuple[str, str]] = {}  # mode, and the margin currency where it was said
        self._waiting: dict[_Key, dict[str, _Waiting]] = {}
        self.waiting = 0

    def learn(self, rows: Iterable[PositionRow | BriefPosition]) -> list[Fill]:
        """Note the margin currencies of positions, which orders do not always say; return the executions that waited for one."""
        if len(self._margins) > tables.MAX_ROWS:  # of all that were ever held; what is held now is learnt again
            self._margins.clear()
        news = set[str]()
        for row in rows:
            leg = row.inst_id, row.pos_side, row.mgn_mode
            if leg not in self._margins:
                news.add(row.inst_id)
            self._margins[leg] = row.ccy if self._margins.get(leg, row.ccy) == row.ccy else ""
        return [fill for key in [one for one in self._waiting if one[0] in news] for fill in self._release(key)]

    def order(self, row: OrderRow) -> list[Fill]:
        """Take an order; return the executions that waited for it."""
        return self._told((row.inst_id, row.ord_id), row.td_mode, row.ccy)

    def bill(self, row: BillRow) -> list[Fill]:
        """Take a bill; return the executions that waited for it."""
        if not row.ord_id and row.type not in bills.TRADES:
            return []
        # What is margined in one of several dollars need not be booked in the same one.
        ccy = None if row.inst_id is None or "_UM-" in row.inst_id else row.ccy
        return self._told((row.inst_id or "", row.ord_id or row.bill_id), row.mgn_mode, ccy)

    def of_order(self, row: OrderRow) -> str | None:
        """Return the position that an order acts on, where all four parts of its id are known."""
        return self._position(row.inst_type, row.inst_id, row.pos_side, row.td_mode, row.ccy)

    def executed(self, row: OrderRow, fill: Fill) -> Fill:
        """Return an execution that an order tells of, as ``fill`` does: an order names no margin currency of isolated positions."""
        return self._place((row.inst_id, row.ord_id), _Waiting(row.inst_type, row.pos_side, fill))

    def fill(self, row: FillRow) -> Fill:
        """Return an execution, of a position where its order is known; one of a contract waits else, and is told again by then."""
        fill = orders.parse_fill(row, self._account)
        return self._place((row.inst_id, row.ord_id or row.bill_id), _Waiting(row.inst_type, row.pos_side, fill))

    def _place(self, key: _Key, one: _Waiting) -> Fill:
        placed = self._placed(key, one)
        if placed is None and one.kind in _CONTRACTS:
            waiting = self._waiting.setdefault(key, {})
            self.waiting += one.fill.id not in waiting
            waiting[one.fill.id] = one
            while self.waiting > _MOST_WAITING:
                self.waiting -= len(self._waiting.pop(next(iter(self._waiting))))
        return placed or one.fill

    def _told(self, key: _Key, mode: str | None, ccy: str | None) -> list[Fill]:
        if mode not in _MODES:
            return []
        self._orders[key] = mode, ccy or self._orders.get(key, ("", ""))[1]
        if len(self._orders) > _MOST_ORDERS:
            del self._orders[next(iter(self._orders))]
        return self._release(key)

    def _release(self, key: _Key) -> list[Fill]:
        """Return the executions of an order that can be placed by now: all or none, they are of one position."""
        found = [self._placed(key, one) for one in self._waiting.get(key, {}).values()]
        placed = [fill for fill in found if fill is not None]
        if placed:
            self.waiting -= len(self._waiting.pop(key))
        return placed

    def _placed(self, key: _Key, one: _Waiting) -> Fill | None:
        mode, ccy = self._orders.get(key, (None, None))
        position = self._position(one.kind, one.fill.symbol, one.side, mode, ccy)
        return None if position is None else msgspec.structs.replace(one.fill, position=position)

    def _position(
        self, kind: str | None, inst_id: str, side: str | None, mode: str | None, ccy: str | None
    ) -> str | None:
        if kind not in _CONTRACTS or mode not in _MODES or not side:
            return None
        ccy = ccy or self._margins.get((inst_id, side, mode))
        return position_id(self._account, inst_id, side, mode, ccy) if ccy else None
