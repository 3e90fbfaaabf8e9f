"""Symbols, contracts, margin and collateral tiers of all venues, and which mark of a symbol counts.

Owns the order of marks: a feed's by its own times, a position message's only where no live feed has one, and never backwards.
Marks go straight into the columns of the book. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from exchanges.events import CollateralTiers, Instrument, MarginMode, MarginTiers, Price
from gateway.core.currencies import STEP, Currencies
from gateway.core.funding import Funding
from gateway.core.positions import Symbols
from gateway.core.reach import SPAN_MS
from gateway.core.state import Symbol

MARK_MAX_AGE_MS = 120_000  # of a venue that no bound is stated for: one read through ccxt, say
SymbolKey = tuple[str, str, str]  # venue, env, symbol
TiersKey = tuple[str, str, str]  # venue, env, key
Whose = tuple[MarginMode | None, str | None]  # margin mode, account; None: all


class Market:
    """Written by the engine alone.

    Attributes:
        moved: A mark changed since this was last set to False.
        currencies: What currencies are worth, and which are wanted.
        funding: What the next funding of each symbol costs.
        lag_ms: How old the last mark of a (venue, env) was when it arrived, by the venue's own time; venues without one
            are not in it.
    """

    def __init__(self, columns: Symbols, span_ms: int = SPAN_MS, *, every_price: bool = False) -> None:
        """Know nothing.

        Args:
            span_ms: Within which it is kept how far prices went (``Reach``).
            every_price: Each price of a currency counts, however little it moved.
        """
        self.symbols: dict[SymbolKey, Symbol] = {}
        self.instruments: dict[SymbolKey, Instrument] = {}
        self.tiers: dict[TiersKey, dict[Whose, MarginTiers]] = {}
        self.collateral: dict[tuple[str, str, str], CollateralTiers] = {}  # venue, env, ccy
        self.moved = False
        self.lag_ms: dict[tuple[str, str], int] = {}
        self.currencies = Currencies(span_ms, step=0.0 if every_price else STEP)
        self.funding = Funding()
        self._version, self._span_ms = 0, span_ms
        self._columns = columns

    @property
    def version(self) -> int:
        """Rises when the set of symbols or currencies that need prices changes."""
        return self._version + self.currencies.version

    def wanted(self) -> dict[tuple[str, str], set[str]]:
        """Return the symbols whose marks are needed, per (venue, env)."""
        found: dict[tuple[str, str], set[str]] = {}
        for (venue, env, name), symbol in self.symbols.items():
            if symbol.positions:
                found.setdefault((venue, env), set()).add(name)
        return found

    def wanted_currencies(self) -> dict[tuple[str, str], set[str]]:
        """Return the currencies whose dollar prices are needed, per (venue, env): whatever is held or settled in."""
        return self.currencies.wanted()

    def hold(self, key: SymbolKey, row_id: str, *, inverse: bool) -> Symbol:
        """Return a symbol that a position now needs."""
        symbol = self.symbols.get(key)
        if symbol is None:
            symbol = self.symbols[key] = Symbol(key, self._columns.add(":".join(key)), self._span_ms)
            self._columns.orient(symbol.number, inverse=inverse)
            self.funding.hold(key, symbol.number)
        if not symbol.positions:
            self._version += 1
        symbol.positions.add(row_id)
        return symbol

    def release(self, symbol: Symbol, row_id: str) -> None:
        """Note that a position needs its symbol no more."""
        symbol.positions.discard(row_id)
        if not symbol.positions:
            self._version += 1

    def put_instrument(self, instrument: Instrument) -> set[str] | None:
        """Take a contract; return the positions that it concerns, None where nothing is new."""
        key = (instrument.venue, instrument.env, instrument.symbol)
        if self.instruments.get(key) == instrument:
            return None
        self.instruments[key] = instrument
        symbol = self.symbols.get(key)
        if symbol is None:
            return set()
        self._columns.orient(symbol.number, inverse=instrument.contract_type == "inverse")
        return symbol.positions

    def put_tiers(self, tiers: MarginTiers) -> set[str] | None:
        """Take margin tiers; return the positions that they concern, None where nothing is new."""
        key = (tiers.venue, tiers.env, tiers.key)
        known = self.tiers.setdefault(key, {})
        if known.get((tiers.margin_mode, tiers.account)) == tiers:
            return None
        known[tiers.margin_mode, tiers.account] = tiers
        concerned: set[str] = set()
        for symbol in self.symbols.values():
            instrument = self.instruments.get(symbol.key)
            if instrument and (instrument.venue, instrument.env, instrument.tiers_key) == key:
                concerned |= symbol.positions
        return concerned

    def tiers_of(
        self, instrument: Instrument | None, margin_mode: MarginMode | None = None, account: str | None = None
    ) -> MarginTiers | None:
        """Return the tiers that a position of a contract is held to, None where they are not known.

        Those of its own account and margin mode where the venue has such; never those of another account or mode.
        """
        if instrument is None or instrument.tiers_key is None:
            return None
        known = self.tiers.get((instrument.venue, instrument.env, instrument.tiers_key), {})
        whose: tuple[Whose, ...] = ((margin_mode, account), (None, account), (margin_mode, None), (None, None))
        return next((known[one] for one in whose if one in known), None)

    def put_collateral_tiers(self, tiers: CollateralTiers) -> bool:
        """Take how much of a currency counts as collateral; return whether it is news."""
        key = (tiers.venue, tiers.env, tiers.ccy)
        news = self.collateral.get(key) != tiers
        self.collateral[key] = tiers
        return news

    def collateral_of(self, venue: str, env: str, ccy: str) -> CollateralTiers | None:
        """Return how much of a currency counts as collateral there; None where that is not known (not: all of it)."""
        return self.collateral.get((venue, env, ccy))

    def put_price(self, price: Price, now: int) -> Symbol | None:
        """Take a newer mark of a price feed; return the symbol where its marks were stale until now.

        A price without a venue time is ordered by its connection alone. One that is not above zero is none.
        """
        if not float(price.value) > 0.0:
            return None
        if price.kind == "index":
            self.funding.put_index((price.venue, price.env, price.symbol), price.value)
        symbol = self.symbols.get((price.venue, price.env, price.symbol)) if price.kind == "mark" else None
        if symbol is None or (price.at is not None and symbol.feed_at is not None and price.at < symbol.feed_at):
            return None
        symbol.feed_at = price.at
        if price.at is not None:
            self.lag_ms[price.venue, price.env] = now - price.at
        return self._set(symbol, price.value, price.at if price.at is not None else now, now, "feed")

    def put_position_mark(self, symbol: Symbol, value: str, at: int, now: int, *, feed_is_live: bool) -> Symbol | None:
        """Take the mark of a position message where no live feed has one; it never moves a mark backwards.

        Returns the symbol where its marks were stale until now.
        """
        if (
            not float(value) > 0.0
            or (symbol.source == "feed" and feed_is_live)
            or (symbol.at is not None and at < symbol.at)
        ):
            return None
        return self._set(symbol, value, at, now, "position")

    def _set(self, symbol: Symbol, value: str, at: int, now: int, source: str) -> Symbol | None:
        """Let a mark count, wherever it is from: it is fresh. Returns the symbol where it was stale until now."""
        recovered, symbol.stale = symbol.stale is not None, None
        symbol.at, symbol.received_at, symbol.source = at, now, source
        if symbol.value != value:
            symbol.value, mark = value, float(value)
            symbol.reach.put(mark, now)
            self._columns.set(symbol.number, mark)
            self.moved = True
        return symbol if recovered else None

    def age(self, now: int, max_age_ms: Mapping[str, int]) -> list[Symbol]:
        """Return the symbols whose marks have become too old, even where their connection lives (a delisted symbol stops)."""
        found = []
        for symbol in self.symbols.values():
            bound = max_age_ms.get(symbol.key[0], MARK_MAX_AGE_MS)
            if symbol.stale or symbol.received_at is None or not symbol.positions:
                continue
            if now - symbol.received_at > bound:
                symbol.stale = symbol.received_at
                found.append(symbol)
        return found
