"""Which of many rows have to be looked at: those whose value left the interval in which nothing changes. Pure.

Owns two numbers a row, (low, high): a turn compares them with a whole column at once, and only what left its interval is judged,
one by one. And, of rows that are **followed** (an alert is pending or fires there, or nobody knows their value), what they were
last judged by: the clock judges them again where they are live or not live for another reason, known or not known any more, or
their time has come; where only the value moved, nothing but that is new. Rows are addressed by a small integer (table slot, pool or
account number).
"""

from __future__ import annotations

import math

import numpy as np

from gateway.core.arrays import Codes, Flags, Floats, Ints

_FIRST_CAPACITY = 64
_LOW, _HIGH, _VALUE, _HELD, _DUE = range(5)
# A row that is not watched: nothing is beyond its interval, and it is not followed.
_UNWATCHED = -math.inf, math.inf, math.nan, -1.0, math.inf


class Bounds:
    """The intervals of one rule. A row that was never set is not watched.

    Args:
        bound: Values as large as this, of either sign, stand for something that is no number.
    """

    def __init__(self, bound: float = math.inf) -> None:
        self._bound = bound
        self._rows: Floats = _empty(_FIRST_CAPACITY)  # (5, capacity); held: -1 where a row is not followed

    def set(self, index: int, low: float, high: float) -> None:
        """Watch a row: it is due where its value is at or beyond one of these."""
        self._reach(index)
        self._rows[:, index] = low, high, math.nan, -1.0, math.inf

    def follow(self, index: int, value: float = math.nan, held: int = 0, due: float = -math.inf) -> None:
        """Let the clock judge a watched row again once its value or ``held`` is another one, or from ``due`` on (ms)."""
        self._rows[_VALUE:, index] = value, held, due

    def forget(self, index: int) -> None:
        """Watch a row no more."""
        self._reach(index)
        self._rows[:, index] = _UNWATCHED

    def stir(self) -> None:
        """Let the clock judge every row that is followed."""
        self._rows[_DUE, self._rows[_HELD] >= 0.0] = -math.inf

    def left(self, index: Ints, values: Floats) -> Ints:
        """Return the places in ``index`` whose value left its interval; NaN never does.

        Args:
            index: (n,) rows; values: (n,) theirs.
        """
        if len(index):
            self._reach(int(index.max()))
        found: Ints = np.flatnonzero(self._beyond(index, values))
        return found

    def stirred(self, index: Ints, values: Floats, held: Codes, now: int) -> tuple[Ints, Ints]:
        """Return the places that the clock has to judge, and those of followed rows of which nothing but the value moved.

        Args:
            index: (n,) rows; values, held: (n,) what they would be judged by. Values beyond ``bound`` are not numbers.
        """
        if len(index):
            self._reach(int(index.max()))
        was = self._rows[_VALUE][index]
        code = self._rows[_HELD][index]
        known = np.abs(values) < self._bound
        news = (held != code) | (self._rows[_DUE][index] <= now) | (known != (np.abs(was) < self._bound))
        due = (code >= 0.0) & news | self._beyond(index, values)
        moved = np.flatnonzero((code >= 0.0) & ~due & known & (values != was))
        self._rows[_VALUE, index[moved]] = values[moved]
        return np.flatnonzero(due), moved

    def _beyond(self, index: Ints, values: Floats) -> Flags:
        found: Flags = (values <= self._rows[_LOW][index]) | (values >= self._rows[_HIGH][index])
        return found

    def _reach(self, index: int) -> None:
        while index >= self._rows.shape[1]:
            self._rows = np.concatenate([self._rows, _empty(self._rows.shape[1])], axis=1)


def _empty(capacity: int) -> Floats:
    return np.repeat(np.array(_UNWATCHED, dtype=np.float64)[:, None], capacity, axis=1)
