"""What a currency is worth in US dollars: by public indices, per venue and environment. Stablecoins too. Pure.

A price counts in the turn that it arrives in, like a mark; what is worked out from it (haircuts, summaries) follows with the clock.

Owns which price goes first: the venue's own index, what the account's own message states, another venue's index of the same
environment, and only then 1 for coins that are meant to be a dollar, which the account then says (``assumed_dollars``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from exchanges.events import CurrencyPrice
from gateway.core.reach import SPAN_MS, Reach

# Meant to be worth one US dollar: assumed so only where nobody states a price.
DOLLARS = frozenset({"USDT", "USDC", "USDⓈ", "USDH", "USDE", "USDT0", "USD1", "FDUSD"})
# A smaller move than this is not worth a recompute of everything in the currency; it adds up until it is.
STEP = 1e-6

Place = tuple[str, str]  # venue, env
Key = tuple[str, str, str]  # venue, env, currency
NO_INDEX = -1


class Quote(NamedTuple):
    """A price in US dollars, NaN where unknown.

    Attributes:
        source: "index" (the venue's own), "account" (stated by the account's own messages), another venue's name (its index),
            "par" (US dollars), "assumed" (nobody states it); "" where unknown.
        at: When it was stated, ms, where that is known.
    """

    usd: float
    source: str = ""
    at: int | None = None

    @property
    def assumed(self) -> bool:
        """Say whether nobody states it."""
        return self.source == "assumed"


class Then(NamedTuple):
    """What a currency was worth at the moment of a message, in US dollars, and between which prices it may have been."""

    usd: float
    low: float
    high: float


class _Index(NamedTuple):
    """The newest report of an index."""

    price: float
    quote: str
    at: int | None


class Currencies:
    """Written by the engine alone.

    Attributes:
        version: Rises when the set of wanted currencies changes.
        moved_since: Currencies whose price changed since this was last emptied.
    """

    def __init__(self, span_ms: int = SPAN_MS, step: float = STEP) -> None:
        """Know nothing.

        Args:
            span_ms: Within which it is kept how far prices went (``Reach``).
            step: A move by this fraction, or less, does not count yet.
        """
        self.version, self._span_ms, self._step = 0, span_ms, step
        self.moved_since: set[str] = set()
        self._prices: dict[Key, _Index] = {}
        self._applied: dict[Key, float] = {}  # as the columns know them
        self._numbers: dict[Key, int] = {}  # of what was applied once
        self._reach: dict[Key, Reach] = {}
        self._news: set[Key] = set()  # put since the last turn
        self._due: set[str] = set()  # moved since the last ``moved``
        self._elsewhere: dict[tuple[str, str], str] = {}  # env, ccy: the first venue by name that has it
        self._wanted: dict[str, tuple[Place, frozenset[str]]] = {}  # account → what it holds or settles in

    def take_over(self, other: Currencies) -> None:
        """Let the prices that count there count here, too."""
        self._prices, self._applied, self._elsewhere = dict(other._prices), dict(other._applied), dict(other._elsewhere)
        self._numbers = dict(other._numbers)

    def follow(self) -> None:
        """Be told from now on what prices count as, in US dollars: each of them counts, and so do those that do."""
        self._step = 0.0
        self._prices |= {key: _Index(usd, "USD", self._prices[key].at) for key, usd in self._applied.items()}

    def put(self, price: CurrencyPrice, now: int | None = None) -> None:
        """Take an index price; it counts from the end of its turn on, the first of its index from the next ``moved`` on."""
        key, at = (price.venue, price.env, price.ccy), price.at if price.at is not None else now
        self._prices[key] = index = _Index(float(price.usd), price.quote, at)
        self._news.add(key)
        if now is not None:
            self._reach.setdefault(key, Reach(self._span_ms)).put(index.price, now)

    def ticked(self) -> dict[int, float]:
        """Let what came since the last call count, where its index counts already; return what moved, by number (``number``)."""
        news, self._news = sorted(self._news & self._applied.keys(), key=self._counts_in_dollars), set()
        moved = [key for key in news if self._apply(key)]
        self._due |= {key[2] for key in moved}
        return {self._numbers[key]: self._applied[key] for key in moved}

    def moved(self) -> set[str]:
        """Let the newest prices count; return the currencies whose price moved by more than a hair since the last call."""
        found, self._due = self._due, set()
        found |= {key[2] for key in sorted(self._prices, key=self._counts_in_dollars) if self._apply(key)}
        self.moved_since |= found
        return found

    def _counts_in_dollars(self, key: Key) -> bool:
        """Sort what counts in dollars first: the others are worth what their stablecoin is."""
        return self._prices[key].quote != "USD"

    def _apply(self, key: Key) -> bool:
        """Let an index's newest price count; say whether it moved by more than a hair."""
        index, before = self._prices[key], self._applied.get(key)
        usd = index.price * self.price(key[0], key[1], index.quote, None).usd
        if before is not None and not abs(usd - before) > self._step * abs(before):
            return False
        self._applied[key] = usd
        if before is None:
            self._numbers.setdefault(key, len(self._numbers))
            self._elsewhere[key[1:]] = min(one[0] for one in self._applied if one[1:] == key[1:])
        return True

    def price(self, venue: str, env: str, ccy: str, stated: float | None, stated_at: int | None = None) -> Quote:
        """Return what a currency is worth; ``stated``: by the account's own last message."""
        if ccy == "USD":
            return Quote(1.0, "par")
        key = self._index_of(venue, env, ccy, stated)
        if key is not None:
            return Quote(self._applied[key], "index" if key[0] == venue else key[0], self._prices[key].at)
        if stated is not None:
            return Quote(stated, "account", stated_at)
        return Quote(1.0, "assumed") if ccy in DOLLARS else Quote(math.nan)

    def counting(self, key: Key) -> tuple[float, int | None] | None:
        """Return what an index (venue, env, currency) counts as in US dollars, and when it was stated; None: it does not yet."""
        usd = self._applied.get(key)
        return None if usd is None else (usd, self._prices[key].at)

    def indices(self) -> set[Key]:
        """Return every index of which something is known."""
        return set(self._prices)

    def number(self, venue: str, env: str, ccy: str, stated: float | None) -> int:
        """Return the number of the index that ``price`` follows; ``NO_INDEX`` where it follows none."""
        key = self._index_of(venue, env, ccy, stated)
        return NO_INDEX if key is None else self._numbers[key]

    def width(self, venue: str, env: str, ccy: str, stated: float | None, now: int) -> float:
        """Return how far the index that ``price`` follows went lately, as a fraction (``Reach.width``); 0 without one."""
        key = self._index_of(venue, env, ccy, stated)
        return self._reach[key].width(now) if key is not None and key in self._reach else 0.0

    def then(self, venue: str, env: str, ccy: str, stated: float | None, now: int) -> Then:
        """Return what a currency is worth, and between which prices the index that ``price`` follows went lately."""
        usd, key = self.price(venue, env, ccy, stated).usd, self._index_of(venue, env, ccy, stated)
        if key is None or key not in self._reach:
            return Then(usd, usd, usd)
        rate = self.price(key[0], key[1], self._prices[key].quote, None).usd
        low, high = self._reach[key].extremes(now)
        return Then(usd, min(usd, low * rate), max(usd, high * rate))

    def _index_of(self, venue: str, env: str, ccy: str, stated: float | None) -> Key | None:
        if (venue, env, ccy) in self._applied:
            return venue, env, ccy
        other = self._elsewhere.get((env, ccy)) if stated is None and ccy != "USD" else None
        return None if other is None else (other, env, ccy)

    def want(self, account: str, place: Place, currencies: Iterable[str]) -> None:
        """State which currencies an account holds or settles in."""
        wanted = place, frozenset(currencies) - {"USD"}
        if self._wanted.get(account) != wanted:
            self._wanted[account] = wanted
            self.version += 1

    def wanted(self) -> dict[Place, set[str]]:
        """Return the currencies whose prices are needed, per (venue, env)."""
        found: dict[Place, set[str]] = {}
        for place, currencies in self._wanted.values():
            if currencies:
                found.setdefault(place, set()).update(currencies)
        return found
