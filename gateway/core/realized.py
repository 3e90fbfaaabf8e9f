"""What one account realised: lines of fills, payments and settlements, each once, added up exactly. Pure.

Sums do not depend on the order in which lines come, nor on how often.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from typing import NamedTuple

from exchanges.events import Fill, FundingPayment, Transfer

_EXACT = Context(prec=100)  # a sum is never rounded
_ZERO = Decimal(0)
# Money of positions that no fill tells: periodic settlement of profit, and what a liquidation costs beside the fill.
_OF_POSITIONS = frozenset({"settlement", "liquidation"})

Settle = Callable[[str], str | None]  # symbol → what the contract settles in; None: no contract that is known


class Line(NamedTuple):
    """One line.

    Attributes:
        symbol: Its contract; "": it needs none.
        price: PnL of the price, in what the contract settles in. ``other``: fee or payment, in ``ccy`` (None: the same).
        known: Both are; else nothing of it counts.
    """

    at: int
    symbol: str
    price: Decimal
    other: Decimal
    ccy: str | None
    known: bool = True


def line_of(event: Fill | FundingPayment | Transfer) -> Line | None:
    """Return what an event brought or cost; None where it is no result of positions."""
    if isinstance(event, Fill):
        known = event.realized_pnl is not None and event.fee is not None
        price, fee = (Decimal(figure or 0) for figure in (event.realized_pnl, event.fee))
        return Line(event.at, event.symbol, price, fee, event.fee_ccy, known)
    if isinstance(event, Transfer) and event.kind not in _OF_POSITIONS:
        return None
    return Line(event.at, "", _ZERO, Decimal(event.amount), event.ccy)


class Day:
    """The lines of one account since the present UTC day began, and their sums."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._unknown: dict[str, Line] = {}
        self._sums: dict[tuple[str, str | None], tuple[Decimal, Decimal]] = {}  # symbol, ccy → price, other
        self._begins = 0

    def put(self, line_id: str, line: Line) -> bool:
        """Take a line; return whether it says anything new. One that is known replaces the same one that was not."""
        if line.at < self._begins or line_id in self._lines or (line_id in self._unknown and not line.known):
            return False
        self._unknown.pop(line_id, None)
        if line.known:
            self._lines[line_id] = line
            _add(self._sums, line)
        else:
            self._unknown[line_id] = line
        return True

    def begin(self, begins: int) -> None:
        """Let another day begin."""
        lines, self._begins = self._lines | self._unknown, begins
        self._lines, self._unknown, self._sums = {}, {}, {}
        for line_id, line in lines.items():
            self.put(line_id, line)

    def unknown_until(self, settle: Settle) -> int | None:
        """Return the moment of the newest line of a contract whose money is not known; None: all is."""
        return max((line.at for line in self._unknown.values() if settle(line.symbol)), default=None)

    def total(self, since: int, settle: Settle) -> dict[str, Decimal]:
        """Return what was realised from a moment on, by currency."""
        sums = self._sums
        if since > self._begins:
            sums = {}
            for line in self._lines.values():
                if line.at >= since:
                    _add(sums, line)
        found: dict[str, Decimal] = {}
        for (symbol, ccy), (price, other) in sums.items():
            own = settle(symbol) if symbol else ccy
            if own is not None:
                found[own] = exact_sum(found.get(own, _ZERO), price)
                found[ccy or own] = exact_sum(found.get(ccy or own, _ZERO), other)
        return {ccy: amount for ccy, amount in found.items() if amount}


def _add(sums: dict[tuple[str, str | None], tuple[Decimal, Decimal]], line: Line) -> None:
    price, other = sums.get((line.symbol, line.ccy), (_ZERO, _ZERO))
    sums[line.symbol, line.ccy] = exact_sum(price, line.price), exact_sum(other, line.other)


def exact_sum(one: Decimal, other: Decimal) -> Decimal:
    """Return a sum with all its digits."""
    return _EXACT.add(one, other)
