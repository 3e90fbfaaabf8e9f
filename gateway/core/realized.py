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
    """The lines of one account since the present UTC day began."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._begins = 0

    def put(self, line_id: str, line: Line) -> bool:
        """Take a line; return whether it says anything new. One that is known replaces the same one that was not."""
        before = self._lines.get(line_id)
        if line.at < self._begins or (before is not None and (before.known or not line.known)):
            return False
        self._lines[line_id] = line
        return True

    def begin(self, begins: int) -> None:
        """Let another day begin."""
        self._begins = begins
        self._lines = {line_id: line for line_id, line in self._lines.items() if line.at >= begins}

    def unknown_until(self, settle: Settle) -> int | None:
        """Return the moment of the newest line of a contract whose money is not known; None: all is."""
        return max((line.at for line in self._lines.values() if not line.known and settle(line.symbol)), default=None)

    def total(self, since: int, settle: Settle) -> dict[str, Decimal]:
        """Return what was realised from a moment on, by currency."""
        found: dict[str, Decimal] = {}
        for line in self._lines.values():
            own = settle(line.symbol) if line.symbol else line.ccy
            if line.at < since or not line.known or own is None:
                continue
            for ccy, amount in ((own, line.price), (line.ccy or own, line.other)):
                if amount:
                    found[ccy] = exact_sum(found.get(ccy, _ZERO), amount)
        return found


def exact_sum(one: Decimal, other: Decimal) -> Decimal:
    """Return a sum with all its digits."""
    return _EXACT.add(one, other)
