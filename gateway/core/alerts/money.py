"""The day of each account's equity: its peak, net of what came and went, and a sample every minute. Pure.

The peak of a UTC day follows transfers: a withdrawal lowers it, a deposit raises it, so that only losses are a drawdown. Equities
and transfers are told in any order: what decides whether an equity has a transfer in it is the moment of its balances.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np

from exchanges.events import Transfer
from gateway.core.accounts import Span
from gateway.core.alerts.records import EquitySample
from gateway.core.alerts.rules import DAY_MS
from gateway.core.arrays import Floats

MINUTE_MS = 60_000
# Within so long of a balance a transfer may be in it or not: both carry times of different clocks of a venue, or ours.
_SLACK_MS = 1_000
# What came from outside, or went there; anything else is the account's own gain or loss.
_FLOWS = frozenset({"deposit", "withdrawal", "transfer", "bonus"})


class Day:
    """One account's UTC day, in US dollars.

    Attributes:
        peak: The highest equity, moved by what came and went after its balances; NaN: none was seen.
    """

    def __init__(self, begins: int) -> None:
        self.begins = begins
        self.peak = math.nan
        self._highs: dict[int, tuple[Span, float]] = {}  # minute of the balances → the highest equity by them
        self._flows: dict[str, tuple[int, float]] = {}

    def see(self, of: Span, equity: float) -> None:
        """Take an equity by the balances of a moment."""
        minute, moved = of.last // MINUTE_MS, self._moved(of, equity)
        known = self._highs.get(minute)
        if known is None or moved > self._moved(*known):
            self._highs[minute] = of, equity
        self.peak = moved if math.isnan(self.peak) else max(self.peak, moved)

    def flow(self, transfer_id: str, at: int, usd: float) -> None:
        """Take money that came (+) or went (-) at a moment; the same one again counts once."""
        if transfer_id not in self._flows:
            self._flows[transfer_id] = at, usd
            self.peak = max((self._moved(*high) for high in self._highs.values()), default=math.nan)

    def worth(self, of: Span, equity: float) -> float:
        """Return an equity of now as it compares with the peak; in doubt it is not too low."""
        return self._moved(of, equity, max)

    def _moved(self, of: Span, equity: float, doubt: Callable[[float, float], float] = min) -> float:
        """Return an equity with what came and went since its balances.

        Where nobody can say whether they show a flow already, ``doubt`` chooses: a peak that is too high would last all day.
        """
        flows = self._flows.values()
        after = sum(usd for at, usd in flows if at > of.last + _SLACK_MS)
        near = sum(doubt(usd, 0.0) for at, usd in flows if of.first - _SLACK_MS < at <= of.last + _SLACK_MS)
        return equity + after + near


class Purses(NamedTuple):
    """What an account holds, by currency: see ``EquitySample``."""

    equity: dict[str, float]
    unrealized: dict[str, float]
    usd: dict[str, float]


class Days:
    """All accounts' days, and the minute that is being sampled."""

    def __init__(self) -> None:
        self._days: dict[str, Day] = {}
        self._highs: dict[str, tuple[float, int]] = {}  # of the present minute: (equity, as of when)
        self._unpriced: dict[str, tuple[Transfer, Callable[[], float]]] = {}
        self._flowed: set[str] = set()  # accounts whose money came or went
        self._minute = 0

    def peaks(self, names: list[str], now: int, doubted: Collection[str] = ()) -> Floats:
        """Return the day's peak by account, (n,); NaN: none yet, money came or went without a price, or it is in doubt."""
        found = np.array([self._day(name, now).peak for name in names], dtype=np.float64)
        unknown = {transfer.account for transfer, _ in self._unpriced.values()} | set(doubted)
        found[[name in unknown for name in names]] = np.nan
        return found

    def left(self, names: list[str], equity: Floats, span: Callable[[str], Span], now: int) -> Floats:
        """Return equities as they compare with the peaks: with what came and went since their balances. (n,)

        Args:
            span: Returns of which moments an account's balances are.
        """
        found = equity.copy()
        for place, name in enumerate(names):
            if name in self._flowed:
                found[place] = self._day(name, now).worth(span(name), float(equity[place]))
        return found

    def see(self, equities: Mapping[str, float], span: Callable[[str], Span], now: int) -> bool:
        """Take what accounts with live figures are worth (about once a second); return whether a new minute began.

        It begins when something is known: an account that is not live yet at the start does not wait for the next one.

        Args:
            span: Returns of which moments an account's balances are.
        """
        for transfer, usd in list(self._unpriced.values()):
            self.transfer(transfer, usd, now)
        known = {name: equity for name, equity in equities.items() if not math.isnan(equity)}
        for name, equity in known.items():
            of = span(name)
            self._day(name, now).see(of, equity)
            high = self._highs.get(name)
            if high is None or equity > high[0]:
                self._highs[name] = equity, of.last
        if not known or now // MINUTE_MS == self._minute:
            return False
        self._minute = now // MINUTE_MS
        return True

    def close_minute(self, equities: Mapping[str, float], by_ccy: Mapping[str, Purses], now: int) -> list[EquitySample]:
        """Return a sample of every account that is worth something known, and begin another minute."""
        found = []
        for name, equity in equities.items():
            high = self._highs.get(name)
            if high is None or math.isnan(equity):
                continue
            found.append(
                EquitySample(
                    account=name, at=now, equity_usd=round(equity, 4), high_usd=round(high[0], 4), high_at=high[1],
                    **by_ccy.get(name, Purses({}, {}, {}))._asdict(),
                )
            )  # fmt: skip
        self._highs.clear()
        return found

    def transfer(self, transfer: Transfer, usd: Callable[[], float], now: int) -> None:
        """Take money that came or went; ``usd``: returns the price of its currency, NaN where that is not known yet."""
        if transfer.kind not in _FLOWS:
            return
        price = usd()
        if math.isnan(price):
            self._unpriced[transfer.id] = transfer, usd
            return
        self._unpriced.pop(transfer.id, None)
        self._flowed.add(transfer.account)
        self._day(transfer.account, now).flow(transfer.id, transfer.at, float(transfer.amount) * price)

    def restore(self, sample: EquitySample, now: int) -> None:
        """Take a stored sample; those of another day are ignored."""
        if sample.at >= now // DAY_MS * DAY_MS:
            self._day(sample.account, now).see(Span(sample.high_at, sample.high_at), sample.high_usd)

    def _day(self, name: str, now: int) -> Day:
        begins = now // DAY_MS * DAY_MS
        day = self._days.get(name)
        if day is None or day.begins != begins:
            day = self._days[name] = Day(begins)
        return day
