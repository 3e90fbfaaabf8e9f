"""Dollar prices of currencies from OKX's indices: which index tells which currency. Keeps the newest of those that it needs.

``X-USD`` where the venue has it; else ``X-USDT`` at the price of ``USDT-USD``. Pure. Source: OKX v5 docs, index tickers channel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Context, Decimal

from exchanges.events import CurrencyPrice
from exchanges.okx import build, tables
from exchanges.okx.wire import IndexRow

DOLLAR, TETHER = "USD", "USDT"
# Wide enough for the exact product of any two figures that the wire schema lets through.
_EXACT = Context(prec=200)
_NAME = re.compile(r"^[A-Za-z0-9]{1,20}\Z")


class Currencies:
    """The currencies of one environment."""

    def __init__(self, env: str) -> None:
        self._env = env
        self._without_dollar: set[str] = set()  # currencies whose dollar index the venue does not have
        self._tether: IndexRow | None = None
        self._in_tether: dict[str, IndexRow] = {}

    def topics(self, currencies: Iterable[str]) -> list[str]:
        """Return the topics that bring the prices of those currencies; a dollar needs none.

        A name that no index can have (USDⓈ, the margin of contracts settled in one of several dollars) is left out: as a
        malformed argument it would have its whole request refused.
        """
        wanted = dict.fromkeys(ccy for ccy in currencies if _NAME.match(ccy) and ccy != DOLLAR)
        pairs = [f"{ccy}-{TETHER if ccy in self._without_dollar else DOLLAR}" for ccy in wanted]
        if any(pair.endswith(f"-{TETHER}") for pair in pairs):
            pairs.append(f"{TETHER}-{DOLLAR}")
        return [build.index_topic(pair) for pair in dict.fromkeys(pairs)]

    def refused(self, topics: Iterable[str]) -> list[str]:
        """Note indices that do not exist; return the pairs that tell the same currencies in another way."""
        found = []
        for topic in topics:
            channel, _, pair = topic.partition(":")
            ccy, _, quote = pair.rpartition("-")
            if channel == build.INDEX and quote == DOLLAR and ccy != TETHER and ccy not in self._without_dollar:
                self._without_dollar.add(ccy)
                found.append(f"{ccy}-{TETHER}")
        return found

    def prices(self, row: IndexRow) -> list[CurrencyPrice]:
        """Return the dollar prices that an index gives; none while the price of USDT is not known that it needs."""
        ccy, _, quote = row.inst_id.rpartition("-")
        if quote == DOLLAR and ccy == TETHER:
            self._tether = row
            return [self._price(ccy, row.idx_px, row), *(self._by_tether(*one) for one in self._in_tether.items())]
        if quote == DOLLAR:
            return [self._price(ccy, row.idx_px, row)]
        if quote != TETHER or ccy not in self._without_dollar:
            return []
        self._in_tether[ccy] = row
        return [self._by_tether(ccy, row)] if self._tether else []

    def _by_tether(self, ccy: str, row: IndexRow) -> CurrencyPrice:
        assert self._tether is not None
        usd = _EXACT.multiply(Decimal(row.idx_px), Decimal(self._tether.idx_px))
        # As old as the older of the two.
        older = min((row, self._tether), key=lambda one: int(one.ts or 0))
        return self._price(ccy, format(usd, "f"), older)

    def _price(self, ccy: str, usd: str, row: IndexRow) -> CurrencyPrice:
        at = int(row.ts) if row.ts else None
        return CurrencyPrice(venue=tables.NAME, env=self._env, ccy=ccy, usd=usd, at=at)
