"""Bybit's public spot stream, for what currencies are worth in US dollars and as collateral. Pure protocol state.

Every ticker of a pair carries the dollar index of its base coin, by which Bybit itself values collateral; so any pair of a coin
will do (USDT has one with the euro, say). Which pairs there are is asked once a connection, how much of each coin counts as
collateral once somebody holds one, and again every few hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from exchanges.bybit import build, contracts, tables, wire
from exchanges.bybit.public import TICKERS, Pace, PublicLink
from exchanges.bybit.wire import Page, PairRow, Ticker, decode
from exchanges.collateral import Haircuts
from exchanges.errors import ProtocolViolation
from exchanges.events import CurrencyPrice
from exchanges.venue import Data, HttpRequest, Malformed, Output


class CurrencyLink(PublicLink):
    """Dollar prices of currencies.

    Args:
        env: The environment that events are labelled with.
        url: Address of the spot stream.
    """

    def __init__(self, env: str, url: str) -> None:
        super().__init__(tables.SPOT, env, url, tables.TOPICS_PER_SPOT_FRAME)
        self._prices = Pace()
        self._haircuts = Haircuts(build.collateral_ratios(), tables.TABLES_EVERY_MS)
        self._pairs: dict[str, PairRow] = {}  # by coin: the pair to watch
        self._coins: dict[str, str] = {}  # by pair: its coin
        self.ready = False  # True when the pairs are known

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the tickers of a pair of each currency, once the pairs are known; a coin without any has no price here."""
        wanted = tuple(currencies)
        self._haircuts.want(wanted)
        return tuple(f"{TICKERS}{self._pairs[coin].symbol}" for coin in wanted if coin in self._pairs)

    def bootstrap(self) -> list[HttpRequest]:
        """Return the question for all pairs."""
        self._recorded = False
        return [build.instruments_info(tables.SPOT)]

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame."""
        return [*super().receive(data, at), *self._haircuts.due(at)]

    def _ticker(self, ticker: Ticker, delta: bool, at: int) -> list[Output]:
        coin = self._coins.get(ticker.symbol)
        if coin is None:
            raise ProtocolViolation("bybit", f"a ticker of an unknown pair {ticker.symbol}")
        usd = ticker.usd_index_price
        held = self._prices.held(coin)
        # "": the coin is no collateral, and has no index.
        if not usd or Decimal(usd) <= 0 or (held is not None and at < held[1]):
            return []
        if not self._prices.is_news(coin, usd, at):
            return []
        return [CurrencyPrice(venue=tables.NAME, env=self._env, ccy=coin, usd=usd, at=at)]

    def _forget(self, symbol: str) -> None:
        self._prices.forget(self._coins.get(symbol, ""))

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Learn the pairs, or how much of each coin counts.

        Raises:
            ProtocolViolation: Not as documented.
        """
        path = request.path.partition("?")[0]
        if path in (tables.INSTRUMENTS_INFO, tables.RISK_LIMIT) and not self._is_ours(request):
            return []  # in a recording every connection is given every answer
        if path == tables.COLLATERAL_RATIOS:
            found, notes = contracts.collateral(decode(wire.result(body)[0], Page, "collateral ratios"), self._env)
            if notes and not found:
                raise ProtocolViolation("bybit", f"{path}: no row can be read")
            self._haircuts.take(found)
            return [*notes, *self._haircuts.due(at)]
        if path != tables.INSTRUMENTS_INFO:
            raise ProtocolViolation("bybit", f"an answer to {path}, which this connection never asks")
        raw, _ = wire.result(body)
        output: list[Output] = []
        pairs: list[PairRow] = []
        for row in decode(raw, Page, "a list of pairs").rows:
            try:
                pairs.append(decode(row, PairRow, "a pair"))
            except ProtocolViolation as error:
                output.append(Malformed(what=str(error)))
        self._coins = {pair.symbol: pair.base_coin for pair in pairs}
        self._pairs = {pair.base_coin: pair for pair in sorted(pairs, key=_preference, reverse=True)}
        self.ready = True
        return output


def _preference(pair: PairRow) -> tuple[bool, int, str]:
    """Return a pair's place among those of its coin, the best first: trading, in a quote that is traded much."""
    quotes = tables.PREFERRED_QUOTES
    place = quotes.index(pair.quote_coin) if pair.quote_coin in quotes else len(quotes)
    return tables.INSTRUMENT_STATUSES.get(pair.status) != "live", place, pair.quote_coin
