"""Which prices are put on record of a life: the newest that the engine knows, before what depends on them. Pure.

Owns the form of samples, and what was not sampled yet: a set of names, whose figures are read where the engine keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from exchanges.events import CurrencyPrice, Event, FundingRate, Price
from gateway.core.journal import MarkSample, Places, SampleKind
from gateway.core.market import Market, SymbolKey

_MINUTE_MS = 60_000


class Sampler:
    """Used by the scribe, turn by turn.

    Attributes:
        turn, now: Of the turn in progress.
        marks, indices: Symbols of which something newer is known than what was sampled. ``indices``: with value, our time, the
            venue's.
        currencies: Those of which something newer may count.
    """

    def __init__(self, epoch: str, places: Places, market: Market, put_sample: Callable[[MarkSample], None]) -> None:
        self._epoch, self._places, self._market, self._put_sample = epoch, places, market, put_sample
        self.turn = self.now = 0
        self.marks: set[SymbolKey] = set()
        self.indices: dict[SymbolKey, tuple[str, int, int | None]] = {}
        self.currencies: set[tuple[str, str, str]] = set()
        self._rates: set[SymbolKey] = set()
        self._counted: dict[tuple[str, str, str], tuple[float, int | None]] = {}
        self._rated: dict[SymbolKey, tuple[str, int | None, str]] = {}

    def note(self, events: Iterable[Event]) -> None:
        """Note of which prices something newer is known, to be sampled when that counts."""
        for event in events:
            match event:
                case Price(kind="mark"):
                    self.marks.add((event.venue, event.env, event.symbol))
                case Price(kind="index"):
                    key = (event.venue, event.env, event.symbol)
                    if key in self._market.symbols:  # else the engine does not keep it either
                        self.indices[key] = event.value, self.now, event.at
                case CurrencyPrice():
                    self.currencies.add((event.venue, event.env, event.ccy))
                case FundingRate():
                    self._rates.add((event.venue, event.env, event.symbol))

    def everything(self) -> None:
        """Sample the newest of all symbols."""
        self.of(set(self.marks), set(self.indices))

    def of(self, marks: set[SymbolKey], indices: Iterable[SymbolKey]) -> None:
        """Sample the marks of these symbols as the engine knows them, and their index prices."""
        self.marks -= marks
        symbols = self._market.symbols
        for key in sorted(marks):
            symbol = symbols.get(key)
            if symbol is None or symbol.source != "feed" or symbol.value is None or symbol.received_at is None:
                continue
            self.put(key, "mark", symbol.value, symbol.received_at, symbol.feed_at)
        for key in sorted(indices):
            self.put(key, "index", *self.indices.pop(key))

    def of_currencies(self) -> None:
        """Sample what currencies count as, where that changed, and once a minute that it is confirmed (``accounts`` say so)."""
        currencies = self._market.currencies
        for key in sorted(self.currencies):
            found = currencies.counting(key)
            if found is None:
                continue  # it counts from the next clock turn on
            self.currencies.discard(key)
            usd, at = found
            looks = usd, at // _MINUTE_MS if at is not None else None
            if self._counted.get(key) != looks:
                self._counted[key] = looks
                self.put(key, "usd", repr(usd), self.now, at)

    def changed_rates(self) -> list[FundingRate]:
        """Return the funding rates that are others than when they were last put down."""
        keys, self._rates = sorted(self._rates), set()
        found = []
        for key in keys:
            rate = self._market.funding.newest(key)
            if rate is not None and self._rated.get(key) != (looks := (rate.rate, rate.next_at, rate.paid_on)):
                self._rated[key] = looks
                found.append(rate)
        return found

    def put(self, key: tuple[str, str, str], kind: SampleKind, value: str, at: int, venue_at: int | None) -> None:
        """Put a price down: of the turn in progress, as it came ``at`` (our time)."""
        self._put_sample(
            MarkSample(
                id=self._places.next(self.now),
                at=at,
                epoch=self._epoch,
                turn=self.turn,
                venue=key[0],
                env=key[1],
                symbol=key[2],
                kind=kind,
                value=value,
                venue_at=venue_at,
            )
        )
