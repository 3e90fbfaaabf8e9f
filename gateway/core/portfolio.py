"""What is worked out once a second over all accounts: slow figures, summaries, and what moves of the market would do. Pure.

Owns the order in which that happens and what of it changed. The parts own their figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np

from gateway.core.accounts import Account
from gateway.core.holdings import Holdings
from gateway.core.market import Market
from gateway.core.positions import Book
from gateway.core.register import Ints, Register
from gateway.core.risk import RiskSettings
from gateway.core.rows import Row, liquidation_source
from gateway.core.slow import Now, Slow
from gateway.core.state import Position
from gateway.core.summary import Bounds, Summaries


class Settings(Protocol):
    """What is needed of the engine's settings."""

    @property
    def bases(self) -> Mapping[str, str]: ...
    @property
    def dust_usd(self) -> float: ...
    @property
    def liquidation_risk_distance(self) -> float: ...


class Portfolio:
    """Written by ``turn`` alone; rows are read between turns."""

    def __init__(self, book: Book, holdings: Holdings, market: Market, settings: Settings, risk: RiskSettings) -> None:
        self._book, self._holdings, self._market = book, holdings, market
        self.register = Register(book, holdings.open, settings.bases)
        self.slow = Slow(self.register, market.funding, risk)
        bounds = Bounds(settings.liquidation_risk_distance, settings.dust_usd, risk)
        self.summaries = Summaries(self.register, lambda: book.equity, bounds)

    def turn(self, accounts: Iterable[Account]) -> tuple[Ints, list[str]]:
        """Bring everything to now; return the table slots and the summaries of which something that is shown changed."""
        self._refresh(accounts)
        now = self.now()
        slots = self.slow.turn(now)
        summaries = self.summaries.turn(now, self.slow, len(self._book.bases))
        return slots, [self.register.summaries.all[number] for number in sorted(summaries)]

    def position(self, position: Position) -> Row:
        """Return the slow fields of a position's row."""
        return self.slow.row(position.slot, position.symbol.number) if position.counted else {}

    def summary(self, row_id: str) -> Row:
        """Return a summary's row."""
        return self.summaries.row(self.register.summaries.number(row_id), self._book.bases.name)

    def now(self) -> Now:
        """Return every position as it stands."""
        c = self._book.live
        if (c.slot >= 0).all():
            rows: slice | Ints = slice(None)
        else:
            rows = np.flatnonzero(c.slot >= 0)  # coins are no positions
        distance = c.distance[rows].copy()
        slot = c.slot[rows]
        for index in np.flatnonzero(np.isnan(distance)).tolist():
            position = self._holdings.slots[int(slot[index])]
            if liquidation_source(position, self._book.figures(position.handle), self._book) == "none":
                distance[index] = np.inf
        return Now(slot, c.symbol[rows], c.pool[rows], c.mark[rows], c.notional[rows], c.upnl[rows], distance)

    def _refresh(self, accounts: Iterable[Account]) -> None:
        """Read anew the accounts of which something was reported, and the currencies whose price moved."""
        fresh, self._holdings.fresh = self._holdings.fresh, set()
        for account in accounts:
            name = account.info.name
            if name in fresh or self.register.number(name) is None:
                self.register.read(account)
        currencies = self._market.currencies
        self.register.reprice(currencies.moved_since)
        currencies.moved_since.clear()
