"""What a currency is worth in US dollars: by public indices, per venue and environment. Stablecoins too. Pure.

Owns which price goes first: the venue's own index, what the account's own message states, another venue's index of the same
environment, and only then 1 for coins that are meant to be a dollar, which the account then says (``assumed_dollars``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from exchanges.events import CurrencyPrice

# Meant to be worth one US dollar: assumed so only where nobody states a price.
DOLLARS = frozenset({"USDT", "USDC", "USDⓈ", "USDH", "USDE", "USDT0", "USD1", "FDUSD"})
# A smaller move than this is not worth a recompute of everything in the currency; it adds up until it is.
_STEP = 1e-6

Place = tuple[str, str]  # venue, env


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

    def __init__(self) -> None:
        self.version = 0
        self.moved_since: set[str] = set()
        self._prices: dict[tuple[str, str, str], _Index] = {}  # venue, env, ccy
        self._applied: dict[tuple[str, str, str], float] = {}  # as the columns know them
        self._elsewhere: dict[tuple[str, str], str] = {}  # env, ccy: the first venue by name that has it
        self._wanted: dict[str, tuple[Place, frozenset[str]]] = {}  # account → what it holds or settles in

    def take_over(self, other: Currencies) -> None:
        """Let the prices that count there count here, too."""
        self._prices, self._applied, self._elsewhere = dict(other._prices), dict(other._applied), dict(other._elsewhere)

    def put(self, price: CurrencyPrice, now: int | None = None) -> None:
        """Take an index price; it counts from the next ``moved`` on."""
        at = price.at if price.at is not None else now
        self._prices[price.venue, price.env, price.ccy] = _Index(float(price.usd), price.quote, at)

    def moved(self) -> set[str]:
        """Let the newest prices count; return the currencies whose price moved by more than a hair."""
        found = set()
        # What counts in dollars goes first: the others are worth what their stablecoin is.
        for key, index in sorted(self._prices.items(), key=lambda entry: entry[1].quote != "USD"):
            usd = index.price * self.price(key[0], key[1], index.quote, None).usd
            before = self._applied.get(key)
            if before is None or abs(usd - before) > _STEP * abs(before):
                self._applied[key] = usd
                self._elsewhere[key[1:]] = min(one[0] for one in self._applied if one[1:] == key[1:])
                found.add(key[2])
        self.moved_since |= found
        return found

    def price(self, venue: str, env: str, ccy: str, stated: float | None, stated_at: int | None = None) -> Quote:
        """Return what a currency is worth; ``stated``: by the account's own last message."""
        if ccy == "USD":
            return Quote(1.0, "par")
        if (venue, env, ccy) in self._applied:
            return self._quote(venue, env, ccy, "index")
        if stated is not None:
            return Quote(stated, "account", stated_at)
        other = self._elsewhere.get((env, ccy))
        if other is not None:
            return self._quote(other, env, ccy, other)
        return Quote(1.0, "assumed") if ccy in DOLLARS else Quote(math.nan)

    def _quote(self, venue: str, env: str, ccy: str, source: str) -> Quote:
        return Quote(self._applied[venue, env, ccy], source, self._prices[venue, env, ccy].at)

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
