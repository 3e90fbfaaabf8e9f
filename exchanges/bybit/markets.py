"""Bybit's public streams of derivatives: marks, funding rates, contracts, margin tiers. Pure protocol state.

Tickers are one snapshot and then deltas that carry only what changed; they are merged per symbol (of options every message is
a snapshot). Margin tiers of all symbols would be one page per 15 symbols, and options are thousands of contracts, so these are
asked for one symbol each, as soon as its ticker is confirmed, and again every few hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from exchanges.bybit import build, contracts, tables, wire
from exchanges.bybit.paging import Listings, query_of
from exchanges.bybit.parse import category_of
from exchanges.bybit.public import TICKERS, Pace, PublicLink
from exchanges.bybit.wire import Page, Ticker, TierRow, decode, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import FundingRate, Price
from exchanges.venue import Ask, Data, HttpRequest, Output

_Funding = tuple[str | None, int | None]


class MarketLink(PublicLink):
    """Marks of one category of derivatives: "linear" (USDT and USDC), "inverse" or "option".

    Args:
        category: A key of ``tables.CATEGORIES``.
        env: The environment that events are labelled with.
        url: Address of the category's stream.
    """

    def __init__(self, category: str, env: str, url: str) -> None:
        self._category = tables.CATEGORIES[category]
        super().__init__(category, env, url, self._category.per_frame)
        self._marks = Pace()
        self._funding: dict[str, _Funding] = {}
        self._instruments: Listings[None] = Listings()
        self._tiers: Listings[TierRow] = Listings()
        self._asked: set[str] = set()
        self._asked_since: int | None = None  # when the tiers began to be asked that are known
        self._instruments_known = not self._category.table

    @property
    def ready(self) -> bool:
        """True when the whole contract table has arrived, where the category has one."""
        return self._instruments_known

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the tickers of this category's symbols."""
        return tuple(f"{TICKERS}{symbol}" for symbol in symbols if category_of(symbol) == self.connection)

    def bootstrap(self) -> list[HttpRequest]:
        """Return the question for the contract table; from here on its pages are followed (a recording's are as they are)."""
        self._recorded = False
        return [build.instruments_info(self.connection)] if self._category.table else []

    # --- Stream -----------------------------------------------------------------------------------------------------

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame."""
        output = super().receive(data, at)
        if self._asked_since is None:
            self._asked_since = at
        if at - self._asked_since < tables.TABLES_EVERY_MS:
            return output
        self._asked_since = at
        again = sorted(symbol for symbol in self._asked if f"{TICKERS}{symbol}" in self._subscribed)
        return [*output, *(Ask(request=self._question(symbol)) for symbol in again)]

    def _confirmed(self, symbols: Sequence[str]) -> list[Output]:
        new = [symbol for symbol in symbols if symbol not in self._asked]
        self._asked.update(new)
        return [Ask(request=self._question(symbol)) for symbol in new]

    def _question(self, symbol: str) -> HttpRequest:
        if self._category.tiers:
            return build.risk_limit(self.connection, symbol)
        return build.instruments_info(self.connection, symbol)

    def _forget(self, symbol: str) -> None:
        self._marks.forget(symbol)
        self._funding.pop(symbol, None)

    def _ticker(self, ticker: Ticker, delta: bool, at: int) -> list[Output]:
        held = self._marks.held(ticker.symbol)
        if ticker.usd_index_price is not None and ticker.mark_price is None:
            raise ProtocolViolation("bybit", f"a ticker of spot pair {ticker.symbol} among derivatives")
        mark = ticker.mark_price or None
        if mark is not None and Decimal(mark) <= 0:
            if not delta:
                self._forget(ticker.symbol)
            raise ProtocolViolation("bybit", f"the mark {mark} of {ticker.symbol} is no price")
        if delta and held is not None:
            if at < held[1]:
                return []  # out of order: what it changed has been overtaken
            mark = mark or held[0]
        if mark is None:
            self._forget(ticker.symbol)  # a snapshot replaces everything
            return []
        output: list[Output] = []
        # An unchanged mark is news too, of its age; but not ten times a second.
        if self._marks.is_news(ticker.symbol, mark, at):
            output.append(Price(venue=tables.NAME, env=self._env, symbol=ticker.symbol, value=mark, at=at))
        return output + self._funding_rate(ticker, delta, at)

    def _funding_rate(self, ticker: Ticker, delta: bool, at: int) -> list[Output]:
        """Return the funding rate where it changed; dated futures and options have none."""
        before = self._funding.get(ticker.symbol, (None, None))
        rate, next_at = ticker.funding_rate or None, millis(ticker.next_funding_time)
        if delta:
            rate, next_at = rate or before[0], next_at or before[1]
        if rate is None or (rate, next_at) == before:
            return []
        if ticker.symbol not in self._funding and len(self._funding) >= tables.MAX_BUFFERED:
            del self._funding[next(iter(self._funding))]
        self._funding[ticker.symbol] = rate, next_at
        return [FundingRate(venue=tables.NAME, env=self._env, symbol=ticker.symbol, rate=rate, next_at=next_at, at=at)]

    # --- REST -------------------------------------------------------------------------------------------------------

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate a page of contracts or of margin tiers.

        Raises:
            ProtocolViolation: Not as documented.
        """
        path = request.path.partition("?")[0]
        others = path in (tables.INSTRUMENTS_INFO, tables.RISK_LIMIT) and not self._is_ours(request)
        if others or path == tables.COLLATERAL_RATIOS:
            return []  # in a recording every connection is given every answer
        raw, _ = wire.result(body)
        if path == tables.INSTRUMENTS_INFO:
            return self._contracts(request, decode(raw, Page, "a contract list"), asked_at)
        if path == tables.RISK_LIMIT:
            return self._risk_limits(request, decode(raw, Page, "a list of margin tiers"), asked_at)
        raise ProtocolViolation("bybit", f"an answer to {path}, which this connection never asks")

    def _contracts(self, request: HttpRequest, page: Page, asked_at: int) -> list[Output]:
        output = contracts.instruments(page, self._env)
        if "symbol" in query_of(request):
            return output
        further = self._instruments.of(request, asked_at).further(page, request, self._recorded)
        if further is not None:
            return [*output, further]
        self._instruments.end(request)
        self._instruments_known = True
        return output

    def _risk_limits(self, request: HttpRequest, page: Page, asked_at: int) -> list[Output]:
        if self._recorded and self._tiers.is_tail(request, page):
            return []
        listing = self._tiers.of(request, asked_at)
        listing.rows += [decode(raw, TierRow, "a margin tier") for raw in page.rows]
        further = listing.further(page, request, self._recorded)
        if further is not None:
            return [further]
        self._tiers.end(request)
        return contracts.margin_tiers(listing.rows, self._env)
