"""What is worked out once a second over all accounts: slow figures, summaries, and what moves of the market would do. Pure.

Owns the order in which that happens and what of it changed. The parts own their figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np

from gateway.core.accounts import Account
from gateway.core.arrays import Flags, Floats, Ints
from gateway.core.books import Books
from gateway.core.holdings import Holdings
from gateway.core.ladder import Ladder
from gateway.core.market import Market
from gateway.core.positions import Book
from gateway.core.register import Register
from gateway.core.risk import RiskSettings
from gateway.core.rows import Row, present
from gateway.core.slow import Now, Slow
from gateway.core.state import Position
from gateway.core.stress import Ground, StressSettings
from gateway.core.summary import Bounds, Summaries, purse_equity
from gateway.core.totals import RealizedTotals

_SHOCK_DECIMALS = 4


class Settings(Protocol):
    """What is needed of the engine's settings."""

    @property
    def bases(self) -> Mapping[str, str]: ...
    @property
    def dust_usd(self) -> float: ...
    @property
    def liquidation_risk_distance(self) -> float: ...


class Moved(NamedTuple):
    """Of which rows something that is shown changed: table slots of positions, accounts and summaries by name.

    ``gone``: Summaries of accounts of which nothing is known any more.
    """

    positions: Ints
    accounts: list[str]
    summaries: list[str]
    gone: list[str]


class Portfolio:
    """Written by ``turn`` alone; rows are read between turns."""

    def __init__(
        self,
        book: Book,
        holdings: Holdings,
        market: Market,
        books: Books,
        settings: Settings,
        risk: RiskSettings,
        stress: StressSettings,
    ) -> None:
        self._book, self._holdings, self._market = book, holdings, market
        self.register = Register(book, holdings.open, holdings.pools, settings.bases)
        self.slow = Slow(self.register, market.funding, risk)
        bounds = Bounds(settings.liquidation_risk_distance, settings.dust_usd, risk)
        self.summaries = Summaries(self.register, lambda: book.equity, bounds)
        self.realized = RealizedTotals(self.register, books, market)
        self.ladder = Ladder(stress)
        self._shocks: Floats = np.zeros(0)  # by account
        self._gaps: dict[int, str] = {}

    def turn(self, accounts: Iterable[Account]) -> Moved:
        """Bring everything to now; return of which rows something that is shown changed."""
        self.refresh(accounts)
        now = self.standing()
        slots = self.slow.turn(now)
        summaries = self.summaries.turn(now, self.slow, len(self._book.bases))
        ground = self.ground()
        summaries |= self.ladder.turn(ground) | self.realized.turn()
        name = self.register.summaries.all
        names = [name[one] for one in sorted(summaries) if one in self.summaries]
        return Moved(slots, self._shake(ground), names, [name[one] for one in sorted(self.summaries.gone)])

    def ground(self) -> Ground:
        """Return where every move of the market starts from: the present state."""
        return Ground(self._book, self.register, purse_equity(self.register, self.standing(), self._book.equity))

    def position(self, position: Position) -> Row:
        """Return the slow fields of a position's row."""
        own = (
            position.counted and position.slot not in self.register.placed
        )  # else the slot's figures are another one's
        return self.slow.row(position.slot, position.symbol.number) if own else {}

    def account(self, name: str) -> Row:
        """Return the slow fields of an account's row."""
        shock, gap = self.shock(name)
        found: Row = {"liquidation_shock": shock} if math.isfinite(shock) else {}
        return found | ({"not_covered": gap, "missing": ["liquidation_shock"]} if gap is not None else {})

    def shock(self, name: str) -> tuple[float, str | None]:
        """Return the uniform move that liquidates an account (inf: none does, NaN: it cannot be said), and why that is so."""
        number = self.register.number(name)
        if number is None or number >= len(self._shocks):
            return math.nan, None
        return float(self._shocks[number]), self._gaps.get(number)

    def summary(self, row_id: str) -> Row:
        """Return a summary's row."""
        number = self.register.summaries.number(row_id)
        row = self.summaries.row(number, self._book.bases.name) | self.realized.row(number)
        unpriced = {*row.get("unpriced", ()), *self.realized.unpriced(number)}  # type: ignore[misc]
        row |= {"unpriced": sorted(unpriced)} if unpriced else {}
        return row | {"stress": self.ladder.row(number)} | present({"stress_unmoved": self.ladder.unmoved or None})

    def _shake(self, ground: Ground) -> list[str]:
        """Find the uniform move that liquidates each account; return those of which it, or why it cannot be said, changed."""
        found = np.round(ground.shocks(), _SHOCK_DECIMALS)
        before = np.full(len(found), np.nan)
        before[: len(self._shocks)] = self._shocks
        moved = set(np.flatnonzero((found != before) & ~(np.isnan(found) & np.isnan(before))).tolist())
        moved |= {one for one, _ in ground.reasons.items() ^ self._gaps.items()}
        self._shocks, self._gaps = found, ground.reasons
        return [self.register.accounts[one].info.name for one in sorted(moved)]

    def standing(self) -> Now:
        """Return every position as it stands."""
        c = self._book.live
        # Coins are no positions.
        rows: slice | Ints = slice(None) if (c.slot >= 0).all() else np.flatnonzero(c.slot >= 0)
        slot, distance = c.slot[rows], c.distance[rows].copy()
        blank = np.flatnonzero(np.isnan(distance))
        if len(blank):  # few, as a rule: this is asked in every turn
            places = blank if isinstance(rows, slice) else rows[blank]
            distance[blank[self._safe(slot[blank], places)]] = np.inf
        return Now(slot, c.symbol[rows], c.pool[rows], c.mark[rows], c.notional[rows], c.upnl[rows], distance)

    def _safe(self, slot: Ints, rows: Ints) -> Flags:
        """Return which positions no price liquidates where no distance is known: ``rows.liquidation_source`` for all at once."""
        never, said = (self.register.slots.ints[column, slot] == 1 for column in (Register.NEVER, Register.SAID_NEVER))
        found: Flags = never | said | self._book.live.heard(rows)
        return found

    def refresh(self, accounts: Iterable[Account]) -> None:
        """Read anew the accounts of which something was reported, and the currencies whose price moved."""
        fresh, self._holdings.fresh = self._holdings.fresh, set()
        for account in accounts:
            name = account.info.name
            if name in fresh or self.register.number(name) is None:
                self.register.read(account)
        currencies = self._market.currencies
        self.register.reprice(currencies.moved_since)
        currencies.moved_since.clear()
