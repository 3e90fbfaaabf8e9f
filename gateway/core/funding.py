"""What the next funding of each symbol will cost: the newest rates, and the prices that they are paid on. Pure.

Venues pay on their mark, Hyperliquid on its oracle (``FundingRate.paid_on``): without that price no amount is predicted.
"""

from __future__ import annotations

import numpy as np

from exchanges.events import FundingRate
from gateway.core.arrays import Flags, Floats

SymbolKey = tuple[str, str, str]  # venue, env, symbol


class Funding:
    """Written by the engine alone.

    Attributes:
        rate, due, index: By symbol number, (n_symbols,) float64, NaN: unknown. ``due``: when it is paid, ms. ``index``: the
            venue's index or oracle price.
        on_index: (n_symbols,) bool: it is paid on the index, else on the mark.
    """

    def __init__(self) -> None:
        self.rate: Floats = np.full(64, np.nan)
        self.due: Floats = np.full(64, np.nan)
        self.index: Floats = np.full(64, np.nan)
        self.on_index: Flags = np.zeros(64, dtype=np.bool_)
        self._newest: dict[SymbolKey, FundingRate] = {}
        self._numbers: dict[SymbolKey, int] = {}

    def hold(self, key: SymbolKey, number: int) -> None:
        """A symbol got its number: what is known of it counts."""
        width = len(self.rate)
        if number >= width:
            more = max(width, number + 1 - width)
            self.rate, self.due, self.index = (
                np.pad(column, (0, more), constant_values=np.nan) for column in (self.rate, self.due, self.index)
            )
            self.on_index = np.pad(self.on_index, (0, more))
        self._numbers[key] = number
        if key in self._newest:
            self._write(number, self._newest[key])

    def put(self, rate: FundingRate) -> None:
        """Take the newest rate of a symbol; one that the venue dates earlier than the known one is ignored."""
        key = (rate.venue, rate.env, rate.symbol)
        known = self._newest.get(key)
        if known is not None and known.at is not None and rate.at is not None and rate.at < known.at:
            return
        self._newest[key] = rate
        number = self._numbers.get(key)
        if number is not None:
            self._write(number, rate)

    def newest(self, key: SymbolKey) -> FundingRate | None:
        """Return the newest rate of a symbol."""
        return self._newest.get(key)

    def put_index(self, key: SymbolKey, value: str) -> None:
        """Take the index price of a symbol."""
        number = self._numbers.get(key)
        if number is not None:
            self.index[number] = float(value)

    def lacks_index(self, number: int) -> bool:
        """Say whether a symbol's funding is paid on an index that is not known."""
        return bool(self.on_index[number] and np.isnan(self.index[number]))

    def _write(self, number: int, rate: FundingRate) -> None:
        self.rate[number] = float(rate.rate)
        self.due[number] = np.nan if rate.next_at is None else rate.next_at
        self.on_index[number] = rate.paid_on == "index"
