"""How far a price went lately: what inputs of two moments may differ by. Pure."""

from __future__ import annotations

import math

SPAN_MS = 2_000  # as far as inputs of one comparison may be apart where nothing else is said


class Reach:
    """Extremes of the present span of time and of the one before it: at least the last span, at most the last two."""

    __slots__ = ("_before", "_begun", "_high", "_last", "_low", "_span_ms")

    def __init__(self, span_ms: int = SPAN_MS) -> None:
        self._span_ms, self._begun = span_ms, 0
        self._last = self._low = self._high = math.nan
        self._before = math.nan, math.nan

    def put(self, price: float, now: int) -> None:
        """Take a new price."""
        past = now - self._begun
        if math.isnan(self._last):
            self._begun, self._low, self._high = now, price, price
        elif past >= self._span_ms:
            # Of a span that ended long ago nothing is left but the price that it ended with.
            self._before = (self._low, self._high) if past < 2 * self._span_ms else (self._last, self._last)
            self._begun, self._low, self._high = now, min(self._last, price), max(self._last, price)
        elif price < self._low:
            self._low = price
        elif price > self._high:
            self._high = price
        self._last = price

    def extremes(self, now: int) -> tuple[float, float]:
        """Return the lowest and the highest price of the last span; NaN where there was none yet."""
        past, (low, high) = now - self._begun, self._before
        if math.isnan(self._last) or past >= 2 * self._span_ms:
            return self._last, self._last
        if past >= self._span_ms or math.isnan(low):
            return self._low, self._high
        return min(low, self._low), max(high, self._high)

    def width(self, now: int) -> float:
        """Return the highest price of the last span over the lowest, less 1; 0 where there was no other."""
        low, high = self.extremes(now)
        return 0.0 if math.isnan(low) else high / low - 1.0
