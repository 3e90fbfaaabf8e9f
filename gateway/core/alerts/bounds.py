"""Which of many rows have to be looked at: those whose value left the interval in which nothing changes. Pure.

Owns two numbers a row, (low, high). A turn compares them with a whole column at once; only what left its interval is judged, one
by one. Rows are addressed by a small integer (table slot, pool number).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FIRST_CAPACITY = 64


class Bounds:
    """The intervals of one rule. A row that was never set is not watched."""

    def __init__(self) -> None:
        self._low: Floats = np.full(_FIRST_CAPACITY, -math.inf)  # (capacity,)
        self._high: Floats = np.full(_FIRST_CAPACITY, math.inf)

    def set(self, index: int, low: float, high: float) -> None:
        """Watch a row: it is due where its value is at or beyond one of these."""
        while index >= len(self._low):
            self._low = np.concatenate([self._low, np.full_like(self._low, -math.inf)])
            self._high = np.concatenate([self._high, np.full_like(self._high, math.inf)])
        self._low[index], self._high[index] = low, high

    def forget(self, index: int) -> None:
        """Watch a row no more."""
        if index < len(self._low):
            self._low[index], self._high[index] = -math.inf, math.inf

    def left(self, index: Ints, values: Floats) -> Ints:
        """Return the places in ``index`` whose value left its interval; NaN never does.

        Args:
            index: (n,) rows; values: (n,) theirs.
        """
        if len(index) and int(index.max()) >= len(self._low):
            self.set(int(index.max()), -math.inf, math.inf)
        found: Ints = np.flatnonzero((values <= self._low[index]) | (values >= self._high[index]))
        return found
