"""Which leg of a symbol an execution belongs to: executions carry no ``positionIdx``. Pure.

Owns what the positions and open orders seen so far tell of each symbol's mode. Hedge mode exists for USDT contracts, and for
the inverse ones of older accounts, and is switched per symbol, only while it is flat; a switch pushes the symbol's new legs.
"""

from __future__ import annotations

from decimal import Decimal

from exchanges.bybit import tables
from exchanges.bybit.parse import contract_of
from exchanges.bybit.wire import ExecutionRow
from exchanges.events import position_id

_ONE_WAY, _LONG, _SHORT = 0, 1, 2


class Legs:
    """The symbols' modes as one account's positions and orders told them; bounded by ``tables.MAX_BUFFERED``."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._hedged: dict[tuple[str, str], bool] = {}

    def saw(self, category: str, symbol: str, position_idx: int) -> None:
        """Note a leg that Bybit named in a position or an open order."""
        self._hedged.pop((category, symbol), None)
        self._hedged[category, symbol] = position_idx != _ONE_WAY
        if len(self._hedged) > tables.MAX_BUFFERED:
            del self._hedged[next(iter(self._hedged))]

    def of_fill(self, category: str, row: ExecutionRow) -> str | None:
        """Return the id of the position that a fill changes; None where it cannot be told without doubt."""
        hedged = self._mode(category, row.symbol)
        if hedged is None:
            return None
        if not hedged:
            return self._id(category, row.symbol, _ONE_WAY)
        if not row.closed_size:
            return None
        # In hedge mode a fill either closes or opens: a purchase closes the short leg or opens the long one.
        closes = Decimal(row.closed_size) != 0
        return self._id(category, row.symbol, _LONG if (row.side == "Buy") != closes else _SHORT)

    def of_holding(self, category: str, symbol: str, side: str) -> str | None:
        """Return the id of the position of that side; None where the symbol's mode is not known."""
        hedged = self._mode(category, symbol)
        if hedged is None:
            return None
        return self._id(category, symbol, (_LONG if side == "Buy" else _SHORT) if hedged else _ONE_WAY)

    def _mode(self, category: str, symbol: str) -> bool | None:
        """Say whether a symbol is in hedge mode; None: not known. Options and USDC contracts have none."""
        if category == "option" or (category == "linear" and contract_of(category, symbol)[2] == "USDC"):
            return False
        return self._hedged.get((category, symbol))

    def _id(self, category: str, symbol: str, index: int) -> str:
        return position_id(self._account, category, symbol, str(index))
