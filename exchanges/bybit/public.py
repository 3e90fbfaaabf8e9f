"""A public connection of Bybit: topics within its limits, and the prices that its tickers carry. Pure protocol state.

Bybit has one public socket per category; ``markets`` speaks to those of derivatives, ``currencies`` to that of spot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exchanges.bybit import build, tables
from exchanges.bybit.acks import Requests
from exchanges.bybit.paging import query_of
from exchanges.bybit.wire import Frame, Ticker, decode
from exchanges.errors import ProtocolViolation
from exchanges.venue import Data, HttpRequest, LoginRefused, Malformed, Output, Signal, Subscribed, SubscribeRefused

TICKERS = "tickers."


class _Told(NamedTuple):
    """A value, the time of the newest message of it, and of the newest one that was emitted (ms)."""

    value: str
    at: int
    told_at: int


class Pace:
    """What of a symbol is news: a change at once, an unchanged value now and then (of its age); not every repetition."""

    def __init__(self) -> None:
        self._held: dict[str, _Told] = {}

    def held(self, symbol: str) -> tuple[str, int] | None:
        """Return the value held of a symbol and the time of its newest message."""
        told = self._held.get(symbol)
        return (told.value, told.at) if told else None

    def forget(self, symbol: str) -> None:
        """Forget a symbol."""
        self._held.pop(symbol, None)

    def is_news(self, symbol: str, value: str, at: int) -> bool:
        """Note a value and say whether to tell it."""
        held = self._held.get(symbol)
        tell = held is None or value != held.value or at - held.told_at >= tables.MARK_REPEAT_MS
        if held is None and len(self._held) >= tables.MAX_BUFFERED:
            del self._held[next(iter(self._held))]
        self._held[symbol] = _Told(value, at, at if tell or held is None else held.told_at)
        return tell


class PublicLink:
    """What all public connections share; see ``exchanges.venue.Link``.

    Args:
        category: The socket's category, which is the connection's name.
        env: The environment that events are labelled with.
        url: Address of the stream.
        per_frame: How many topics one subscribe request may hold.
    """

    polled = False
    needs_login = False
    ping_every_s = tables.PING_EVERY_S
    silent_after_s = tables.SILENT_AFTER_S

    def __init__(self, category: str, env: str, url: str, per_frame: int) -> None:
        self.connection, self.url = category, url
        self._env = env
        self._requests = Requests(per_frame)
        self._recorded = True
        self._subscribed: set[str] = set()
        self._refused: list[Signal] = []  # said with the next frame: ``subscribe`` can return frames only

    def prepare(self) -> list[HttpRequest]:
        """Return nothing: the address is known."""
        return []

    def login(self, now_ms: int) -> str:
        """Raise: the public stream knows no login, and says so by ``needs_login``."""
        raise ProtocolViolation("bybit", "the public stream knows no login")

    def topics(self) -> tuple[str, ...]:
        """Return nothing: which tickers are needed depends on the positions."""
        return ()

    def watch(self) -> Mapping[str, float]:
        """Return nothing: a ticker is silent while nothing in it changes, however long that is."""
        return {}

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
        """Return the unsubscribe frames; what is known of those tickers is forgotten."""
        self._subscribed.difference_update(topics)
        for topic in topics:
            self._forget(topic.removeprefix(TICKERS))
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

    def audit(self) -> list[HttpRequest]:
        """Return nothing: there is no account here."""
        return []

    def state(self) -> list[HttpRequest]:
        """Return nothing: there is no account here."""
        return []

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return nothing: there is no account here."""
        return []

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return nothing: there is no account here."""
        return []

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Return nothing: there is no account here."""
        return []

    def free(self, ccy: str) -> list[HttpRequest]:
        """Return nothing: there is no account here."""
        return []

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame."""
        refused, self._refused = self._refused, []
        try:
            return [*refused, *self._translate(decode(data, Frame, "a frame"))]
        except ProtocolViolation as error:
            return [*refused, Malformed(what=str(error))]

    def _translate(self, frame: Frame) -> list[Output]:
        if frame.topic.startswith(TICKERS):
            ticker = decode(frame.data, Ticker, frame.topic)
            known = frame.type in ("snapshot", "delta")
            if frame.topic != f"{TICKERS}{ticker.symbol}" or not known or frame.ts is None:
                raise ProtocolViolation("bybit", f"{frame.topic}: a {frame.type!r} of {ticker.symbol!r} at {frame.ts}")
            return self._ticker(ticker, frame.type == "delta", frame.ts)
        if frame.topic:
            raise ProtocolViolation("bybit", f"unknown public topic {frame.topic!r}")
        signals = self._requests.reply(frame)
        for signal in signals:
            if isinstance(signal, SubscribeRefused):
                self._subscribed.difference_update(signal.topics)
        confirmed = [topic for signal in signals if isinstance(signal, Subscribed) for topic in signal.topics]
        return [*signals, *self._confirmed([topic.removeprefix(TICKERS) for topic in confirmed])]

    def _is_ours(self, request: HttpRequest) -> bool:
        return query_of(request).get("category") == self.connection

    def _ticker(self, ticker: Ticker, delta: bool, at: int) -> list[Output]:
        """Translate one ticker; ``delta``: what it lacks has not changed."""
        raise NotImplementedError

    def _confirmed(self, symbols: Sequence[str]) -> list[Output]:
        """Return what has to be asked when tickers are confirmed."""
        return []

    def _forget(self, symbol: str) -> None:
        """Forget what is known of a ticker."""


def _no_room(topic: str) -> SubscribeRefused:
    what = f"one connection holds topics of {tables.MAX_ARGS_CHARS} characters in all"
    return SubscribeRefused(topics=(topic,), code="connection_full", what=what, permanent=True)
