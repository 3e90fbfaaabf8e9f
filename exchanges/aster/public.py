"""The public connection of Aster: marks, indices, funding rates and contracts of one environment, for all its accounts.

Owns protocol state only. Pure: no I/O, no clock. Source: api-docs, "Mark Price Stream" and "Exchange Information".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exchanges.aster import build, contracts, tables
from exchanges.aster.pushes import Mark
from exchanges.aster.session import Session
from exchanges.aster.wire import Frame, decode, millis
from exchanges.errors import ProtocolViolation
from exchanges.events import CurrencyPrice, FundingRate, Instrument, Price
from exchanges.venue import Ask, Data, Heard, HttpRequest, Output, Signal, SubscribeRefused


@dataclass
class Listed:
    """What the connections of one environment learn one after the other: the contract table is limited aggressively.

    Attributes:
        symbols: Every contract.
        asked_at: When the table was asked last (ms, monotone); None: never.
    """

    symbols: frozenset[str] = frozenset()
    asked_at: int | None = None


class PublicLink(Session):
    """Marks and contracts of one environment.

    Currencies are priced by the index of their contract in USDT: the venue has no index in dollars, and none of USDT itself.
    """

    connection = "public"

    def __init__(self, env: str, url: str, listed: Listed | None = None) -> None:
        super().__init__(url)
        self._env, self._listed = env, listed or Listed()
        self._topics: dict[str, None] = {}  # subscribed, in order
        self._refused: list[Signal] = []  # said with the next frame: ``subscribe`` can return frames only
        self._symbols: frozenset[str] = frozenset()  # wanted for their marks
        self._currencies: dict[str, str] = {}  # symbol → the currency that its index prices
        self._rates: dict[str, tuple[str, int | None]] = {}

    @property
    def ready(self) -> bool:
        """True when the contract table has arrived, on this connection or an earlier one."""
        return bool(self._listed.symbols)

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return one stream a symbol, and one for each currency that has a contract in USDT."""
        self._symbols = frozenset(symbols)
        self._currencies = {f"{ccy}USDT": ccy for ccy in currencies if f"{ccy}USDT" in self._listed.symbols}
        return tuple(build.mark_topic(symbol) for symbol in sorted(self._symbols | self._currencies.keys()))

    def watch(self) -> dict[str, float]:
        """Return every subscribed stream: each brings a mark a second. (A name that does not exist is confirmed, and silent.)"""
        return dict.fromkeys(self._topics, tables.MARK_SILENT_S)

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the subscribe frames. Topics beyond what one connection may hold are refused with the next frame."""
        new = [topic for topic in dict.fromkeys(topics) if topic not in self._topics]
        room = max(tables.TOPICS_PER_CONNECTION - len(self._topics), 0)
        for topic in new[room:]:
            what = f"one connection holds {tables.TOPICS_PER_CONNECTION} streams"
            self._refused.append(SubscribeRefused(topics=(topic,), code="connection_full", what=what, permanent=True))
        refused = set(new[room:])
        accepted = [topic for topic in dict.fromkeys(topics) if topic not in refused]
        self._topics |= dict.fromkeys(accepted)
        return super().subscribe(accepted)

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the unsubscribe frames."""
        for topic in topics:
            self._topics.pop(topic, None)
        return super().unsubscribe(topics)

    def bootstrap(self) -> list[HttpRequest]:
        """Ask for the contract table, unless it is known."""
        return [] if self.ready else [HttpRequest(path=tables.INSTRUMENTS)]

    def audit(self) -> list[HttpRequest]:
        """Return nothing: the market is no account."""
        return []

    def state(self) -> list[HttpRequest]:
        """Return nothing: the market is no account."""
        return []

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return nothing: the market is no account."""
        return []

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Return nothing: the market is no account."""
        return []

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request as it is: market data needs no signature."""
        return request

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate the contract table. Raises ProtocolViolation."""
        if request.path.partition("?")[0] != tables.INSTRUMENTS:
            raise ProtocolViolation("aster", f"an answer to {request.path}, which the public connection never asks")
        outputs = contracts.instruments(body, self._env)
        symbols = frozenset(output.symbol for output in outputs if isinstance(output, Instrument))
        if not symbols:
            raise ProtocolViolation("aster", "a contract table without a contract that can be read")
        self._listed.symbols, self._listed.asked_at = symbols, asked_at
        return outputs

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame."""
        refused, self._refused = self._refused, []
        return [*refused, *super().receive(data, at)]

    def _reply(self, frame: Frame) -> list[Output]:
        outputs = super()._reply(frame)
        for output in outputs:
            if isinstance(output, SubscribeRefused):
                for topic in output.topics:
                    self._topics.pop(topic, None)
        return outputs

    def _event(self, event: str, data: Data, at: int) -> list[Output]:
        if event != "markPriceUpdate":
            return super()._event(event, data, at)
        return self._mark(decode(data, Mark, event))

    def _mark(self, mark: Mark) -> list[Output]:
        told_at = millis(mark.event_at)
        if float(mark.p) <= 0:
            raise ProtocolViolation("aster", f"the mark {mark.p} of {mark.s} is no price")
        outputs: list[Output] = [
            Heard(topics=(build.mark_topic(mark.s),)),
            Price(venue=tables.NAME, env=self._env, symbol=mark.s, value=mark.p, at=told_at),
        ]
        if mark.s in self._currencies and mark.i and float(mark.i) > 0:
            ccy = self._currencies[mark.s]
            outputs.append(
                CurrencyPrice(
                    venue=tables.NAME, env=self._env, ccy=ccy, usd=mark.i, quote=tables.INDEX_QUOTE, at=told_at
                )
            )
        return [*outputs, *self._rate(mark, told_at)]

    def _rate(self, mark: Mark, told_at: int | None) -> list[Output]:
        """Return the funding rate where it changed: it comes with every mark."""
        if not mark.r:
            return []
        news = (mark.r, millis(mark.next_at))
        if self._rates.get(mark.s) == news or (mark.s not in self._rates and len(self._rates) >= tables.MOST_KEPT):
            return []
        self._rates[mark.s] = news
        rate = FundingRate(venue=tables.NAME, env=self._env, symbol=mark.s, rate=mark.r, next_at=news[1], at=told_at)
        return [rate]

    def _due(self, at: int) -> list[Output]:
        """Ask for the contract table again: every few hours, sooner where a symbol is wanted that it lacks."""
        asked_at = self._listed.asked_at
        if asked_at is None:
            return []
        wait_ms = tables.INSTRUMENTS_MS if self._symbols <= self._listed.symbols else tables.NEW_SYMBOL_MS
        if at - asked_at < wait_ms:
            return []
        self._listed.asked_at = at
        return [Ask(request=HttpRequest(path=tables.INSTRUMENTS))]
