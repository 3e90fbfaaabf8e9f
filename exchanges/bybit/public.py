"""Bybit's public stream of linear contracts: marks, contracts, margin tiers. Pure protocol state.

Tickers are one snapshot and then deltas that carry only what changed; they are merged per symbol. Margin tiers of all symbols
would be one page per 15 symbols, so they are asked for one symbol each, as soon as its ticker is confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from exchanges.bybit import build, contracts, tables, wire
from exchanges.bybit.acks import Requests
from exchanges.bybit.paging import Listing, is_tail, listing_for, query_of
from exchanges.bybit.wire import Frame, Page, Ticker, TierRow, decode
from exchanges.errors import ProtocolViolation
from exchanges.events import Price
from exchanges.venue import (
    Ask,
    Data,
    HttpRequest,
    LoginRefused,
    Malformed,
    Output,
    Signal,
    Subscribed,
    SubscribeRefused,
)

_TICKERS = "tickers."


class _Mark(NamedTuple):
    """A symbol's mark, the time of the newest message of it, and of the newest one that was emitted (ms)."""

    value: str
    at: int
    told_at: int


class LinearLink:
    """Marks of linear contracts (USDT and USDC, perpetual and dated); see ``exchanges.venue.Link``.

    Args:
        env: The environment that events are labelled with.
        url: Address of the linear stream.
    """

    connection = "linear"
    needs_login = False
    ping_every_s = tables.PING_EVERY_S
    silent_after_s = tables.SILENT_AFTER_S

    def __init__(self, env: str, url: str) -> None:
        self.url = url
        self._env = env
        self._requests = Requests()
        self._recorded = True
        self._subscribed: set[str] = set()
        self._refused: list[Signal] = []  # said with the next frame: ``subscribe`` can return frames only
        self._marks: dict[str, _Mark] = {}
        self._instruments: dict[str, Listing[None]] = {}
        self._tiers: dict[str, Listing[TierRow]] = {}
        self._tiers_asked: set[str] = set()
        self._instruments_known = False

    @property
    def ready(self) -> bool:
        """True when the whole contract table has arrived."""
        return self._instruments_known

    def login(self, now_ms: int) -> str:
        """Raise: the public stream knows no login, and says so by ``needs_login``."""
        raise ProtocolViolation("bybit", "the public stream knows no login")

    def topics(self) -> tuple[str, ...]:
        """Return nothing: which tickers are needed depends on the positions."""
        return ()

    def price_topics(self, symbols: Iterable[str]) -> tuple[str, ...]:
        """Return the tickers of the linear ones among the symbols."""
        return tuple(f"{_TICKERS}{symbol}" for symbol in symbols if _is_linear(symbol))

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the subscribe frames. Topics beyond what one connection may hold are refused with the next frame."""
        self._recorded = False
        room = tables.MAX_ARGS_CHARS - build.args_chars(tuple(self._subscribed))
        accepted: list[str] = []
        for topic in dict.fromkeys(topics):
            cost = 0 if topic in self._subscribed else build.args_chars((topic,))
            if cost <= room:
                room -= cost
                accepted.append(topic)
            else:
                self._refused.append(_no_room(topic))
        self._subscribed.update(accepted)
        return self._requests.subscribe(accepted)

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the unsubscribe frames; the merged state of those tickers is forgotten."""
        self._subscribed.difference_update(topics)
        for topic in topics:
            self._marks.pop(topic.removeprefix(_TICKERS), None)
        return self._requests.unsubscribe(topics)

    def ping(self) -> str:
        """Return the heartbeat frame."""
        return self._requests.ping()

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request as it is: market data needs no signature."""
        return request

    def closed(self, code: int | None, reason: str) -> LoginRefused | None:
        """Return None: no close code of this stream needs the operator."""
        return None

    def bootstrap(self) -> list[HttpRequest]:
        """Return the question for the contract table; from here on its pages are followed (a recording's are as they are)."""
        self._recorded = False
        return [build.instruments_info()]

    # --- Stream -----------------------------------------------------------------------------------------------------

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame."""
        refused, self._refused = self._refused, []
        try:
            return [*refused, *self._translate(decode(data, Frame, "a frame"))]
        except ProtocolViolation as error:
            return [*refused, Malformed(what=str(error))]

    def _translate(self, frame: Frame) -> list[Output]:
        if frame.topic.startswith(_TICKERS):
            return self._ticker(frame)
        if frame.topic:
            raise ProtocolViolation("bybit", f"unknown public topic {frame.topic!r}")
        signals = self._requests.reply(frame)
        for signal in signals:
            if isinstance(signal, SubscribeRefused):
                self._subscribed.difference_update(signal.topics)
        return [*signals, *self._tier_questions(signals)]

    def _tier_questions(self, signals: Sequence[Signal]) -> list[Output]:
        confirmed = [topic for signal in signals if isinstance(signal, Subscribed) for topic in signal.topics]
        symbols = [topic.removeprefix(_TICKERS) for topic in confirmed if topic.startswith(_TICKERS)]
        new = [symbol for symbol in symbols if symbol not in self._tiers_asked]
        self._tiers_asked.update(new)
        return [Ask(request=build.risk_limit(symbol)) for symbol in new]

    def _ticker(self, frame: Frame) -> list[Output]:
        ticker = decode(frame.data, Ticker, frame.topic)
        if frame.topic != f"{_TICKERS}{ticker.symbol}" or frame.type not in ("snapshot", "delta") or frame.ts is None:
            raise ProtocolViolation("bybit", f"{frame.topic}: a {frame.type!r} of {ticker.symbol!r} at {frame.ts}")
        held = self._marks.get(ticker.symbol)
        stated = ticker.mark_price if ticker.mark_price and Decimal(ticker.mark_price) > 0 else None
        if frame.type == "delta" and held is not None:
            if frame.ts < held.at:
                return []  # out of order: what it changed has been overtaken
            stated = stated or held.value
        if stated is None:
            self._marks.pop(ticker.symbol, None)  # a snapshot replaces everything; spot tickers have no mark at all
            return []
        # An unchanged mark is news too, of its age; but not ten times a second.
        tell = held is None or stated != held.value or frame.ts - held.told_at >= tables.MARK_REPEAT_MS
        self._remember(ticker.symbol, _Mark(stated, frame.ts, frame.ts if tell or held is None else held.told_at))
        if not tell:
            return []
        return [Price(venue=tables.NAME, env=self._env, symbol=ticker.symbol, value=stated, at=frame.ts)]

    def _remember(self, symbol: str, mark: _Mark) -> None:
        if symbol not in self._marks and len(self._marks) >= tables.MAX_BUFFERED:
            del self._marks[next(iter(self._marks))]
        self._marks[symbol] = mark

    # --- REST -------------------------------------------------------------------------------------------------------

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate a page of contracts or of margin tiers.

        Raises:
            ProtocolViolation: Not as documented.
        """
        path = request.path.partition("?")[0]
        raw, _ = wire.result(body)
        if path == tables.INSTRUMENTS_INFO:
            return self._contracts(request, decode(raw, Page, "a contract list"), asked_at)
        if path == tables.RISK_LIMIT:
            return self._risk_limits(request, decode(raw, Page, "a list of margin tiers"), asked_at)
        raise ProtocolViolation("bybit", f"an answer to {path}, which this connection never asks")

    def _contracts(self, request: HttpRequest, page: Page, asked_at: int) -> list[Output]:
        query = query_of(request)
        output = contracts.instruments(page, self._env)
        listing = listing_for(self._instruments, "contracts", query, asked_at)
        cursor = listing.further(page, query, self._recorded)
        if cursor is not None:
            return [*output, Ask(request=build.instruments_info(cursor))]
        self._instruments_known = True
        return output

    def _risk_limits(self, request: HttpRequest, page: Page, asked_at: int) -> list[Output]:
        query = query_of(request)
        symbol = query.get("symbol", "")
        if self._recorded and is_tail(self._tiers, symbol, query, page):
            return []
        listing = listing_for(self._tiers, symbol, query, asked_at)
        listing.rows += [decode(raw, TierRow, "a margin tier") for raw in page.rows]
        cursor = listing.further(page, query, self._recorded)
        if cursor is not None:
            return [Ask(request=build.risk_limit(symbol, cursor))]
        del self._tiers[symbol]
        return contracts.margin_tiers(listing.rows, self._env)


def _is_linear(symbol: str) -> bool:
    root, _, expiry = symbol.partition("-")
    return "-" not in expiry and (bool(expiry) or root.endswith(("USDT", "PERP")))


def _no_room(topic: str) -> SubscribeRefused:
    what = f"one connection holds topics of {tables.MAX_ARGS_CHARS} characters in all"
    return SubscribeRefused(topics=(topic,), code="connection_full", what=what, permanent=True)
