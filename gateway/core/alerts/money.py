"""The day of each account's equity: its peak, net of what came and went, and a sample every minute. Pure.

The peak of a UTC day follows transfers: a withdrawal lowers it, a deposit raises it, so that only losses are a drawdown. A transfer
that is told of late counts from the moment when it happened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from exchanges.events import Transfer
from gateway.core.alerts.records import EquitySample
from gateway.core.alerts.rules import DAY_MS
from gateway.core.arrays import Floats

MINUTE_MS = 60_000
# What came from outside, or went there; anything else is the account's own gain or loss.
_FLOWS = frozenset({"deposit", "withdrawal", "transfer", "bonus"})


class Day:
    """One account's UTC day, in US dollars.

    Attributes:
        peak: The highest equity, moved by what came and went after it; NaN: none was seen.
    """

    def __init__(self, begins: int) -> None:
        self.begins = begins
        self.peak = math.nan
        self._highs: list[
            tuple[int, float]
        ] = []  # (at, equity): the highest of each minute, apart before and after a flow
        self._flows: dict[str, tuple[int, float]] = {}
        self._closed = True  # what is seen next begins a new high

    def see(self, at: int, equity: float) -> None:
        """Take the equity of a moment."""
        if self._closed or at // MINUTE_MS != self._highs[-1][0] // MINUTE_MS:
            self._highs.append((at, equity))
            self._closed = False
        elif equity > self._highs[-1][1]:
            self._highs[-1] = at, equity
        now = self._moved(at, equity)
        self.peak = now if math.isnan(self.peak) else max(self.peak, now)

    def flow(self, transfer_id: str, at: int, usd: float) -> None:
        """Take money that came (+) or went (-) at a moment of this day; the same one again counts once."""
        if transfer_id not in self._flows:
            self._flows[transfer_id] = at, usd
            self.peak = max((self._moved(when, high) for when, high in self._highs), default=math.nan)
            self._closed = True

    def _moved(self, at: int, equity: float) -> float:
        """Return an equity of then with what came and went since."""
        return equity + sum(usd for when, usd in self._flows.values() if when > at)


class Days:
    """All accounts' days, and the minute that is being sampled."""

    def __init__(self) -> None:
        self._days: dict[str, Day] = {}
        self._highs: dict[str, tuple[float, int]] = {}  # of the present minute: (equity, at)
        self._minute = 0

    def peaks(self, names: list[str], now: int) -> Floats:
        """Return the day's peak by account, (n,); NaN: none yet."""
        return np.array([self._day(name, now).peak for name in names], dtype=np.float64)

    def see(self, equities: Mapping[str, float], now: int) -> bool:
        """Take what accounts with live figures are worth (about once a second); return whether a new minute began.

        It begins when something is known: an account that is not live yet at the start does not wait for the next one.
        """
        known = {name: equity for name, equity in equities.items() if not math.isnan(equity)}
        for name, equity in known.items():
            self._day(name, now).see(now, equity)
            high = self._highs.get(name)
            if high is None or equity > high[0]:
                self._highs[name] = equity, now
        if not known or now // MINUTE_MS == self._minute:
            return False
        self._minute = now // MINUTE_MS
        return True

    def close_minute(
        self, equities: Mapping[str, float], by_ccy: Mapping[str, Mapping[str, float]], now: int
    ) -> list[EquitySample]:
        """Return a sample of every account that is worth something known, and begin another minute."""
        found = []
        for name, equity in equities.items():
            high = self._highs.get(name)
            if high is None or math.isnan(equity):
                continue
            found.append(
                EquitySample(
                    account=name, at=now, equity_usd=round(equity, 4), high_usd=round(high[0], 4), high_at=high[1],
                    equity=by_ccy.get(name, {}),
                )
            )  # fmt: skip
        self._highs.clear()
        return found

    def transfer(self, transfer: Transfer, usd: float, now: int) -> None:
        """Take money that came or went today; ``usd``: the price of its currency."""
        if transfer.kind in _FLOWS and transfer.at >= now // DAY_MS * DAY_MS and not math.isnan(usd):
            self._day(transfer.account, now).flow(transfer.id, transfer.at, float(transfer.amount) * usd)

    def restore(self, sample: EquitySample, now: int) -> None:
        """Take a stored sample; those of another day are ignored."""
        if sample.high_at >= now // DAY_MS * DAY_MS:
            self._day(sample.account, now).see(sample.high_at, sample.high_usd)

    def _day(self, name: str, now: int) -> Day:
        begins = now // DAY_MS * DAY_MS
        day = self._days.get(name)
        if day is None or day.begins != begins:
            day = self._days[name] = Day(begins)
        return day
