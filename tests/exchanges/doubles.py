"""A venue of a few words and a clock that stands still, for tests of what drives links.

Frames and answers are sentences separated by ``;``: ``welcome`` · ``denied`` · ``later`` (refused, come back) · ``ok a,b`` ·
``no a`` (refused for now) · ``never a`` (for good) · ``price BTC 1`` · ``snapshot`` (the initial state) · ``unready`` · ``pong`` ·
``remark`` · ``beyond`` (records cannot be had) · ``upgrade`` (a notice that asks for a new connection) · ``gap`` · ``ask /path``
· ``heard a,b`` · ``count a 3 4`` ·
``bug`` (the codec raises); an answer of ``garbage`` is a violation. Anything else is malformed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

from exchanges.errors import ProtocolViolation
from exchanges.events import PositionsSnapshot, Price
from exchanges.venue import (
    OUT_OF_REACH,
    Ask,
    ConnectionCount,
    Data,
    Heard,
    HttpRequest,
    LoggedIn,
    LoginRefused,
    Malformed,
    Notice,
    Output,
    Pong,
    Refresh,
    Subscribed,
    SubscribeRefused,
)


class ScriptedLink:
    """Implements ``Link`` in that language.

    Args:
        essential: What ``topics`` returns.
        asks: Paths of the bootstrap; ``ready`` needs an answer to each.
        snapshot: Whether ``ready`` needs a ``snapshot`` frame too.
        prepares: Paths asked before connecting. bounds: What ``watch`` says.
    """

    connection = "private"
    polled = False

    def __init__(
        self,
        url: str = "ws://venue.test/ws?secret=1",
        *,
        needs_login: bool = True,
        essential: Sequence[str] = ("positions", "account"),
        asks: Sequence[str] = (),
        snapshot: bool = True,
        prepares: Sequence[str] = (),
        bounds: Mapping[str, float] | None = None,
        ping_every_s: float = 20.0,
        silent_after_s: float = 30.0,
    ) -> None:
        self.url, self.needs_login = url, needs_login
        self.ping_every_s, self.silent_after_s = ping_every_s, silent_after_s
        self._essential, self._asks, self._prepares = tuple(essential), tuple(asks), tuple(prepares)
        self.bounds = dict(bounds or {})
        self._waiting = {*asks, *(("snapshot",) if snapshot else ())}
        self.prefix = "mark:"
        self.answers: list[tuple[str, bytes, int, int]] = []

    @property
    def ready(self) -> bool:
        return not self._waiting

    def login(self, now_ms: int) -> str:
        return f"login {now_ms}"

    def topics(self) -> tuple[str, ...]:
        return self._essential

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        return (*(self.prefix + symbol for symbol in symbols), *(f"usd:{ccy}" for ccy in currencies))

    def watch(self) -> dict[str, float]:
        return self.bounds

    def prepare(self) -> list[HttpRequest]:
        return [HttpRequest(path=path) for path in self._prepares]

    def audit(self) -> list[HttpRequest]:
        return []

    def state(self) -> list[HttpRequest]:
        return [HttpRequest(path=path) for path in self._asks]

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        return [HttpRequest(path=f"/history?since={since_ms}&symbols={','.join(symbols)}")]

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        return [HttpRequest(path=path) for path in self._asks]

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        return [HttpRequest(path=f"/order?symbol={symbol}&id={order_id}")]

    def free(self, ccy: str) -> list[HttpRequest]:
        return [HttpRequest(path=f"/free?ccy={ccy}")]

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        return [f"sub {','.join(topics)}"]

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        return [f"unsub {','.join(topics)}"]

    def ping(self) -> str:
        return "ping"

    def receive(self, data: Data, at: int) -> list[Output]:
        text = data.decode() if isinstance(data, bytes) else data
        return [output for sentence in text.split(";") for output in self._say(sentence.strip(), at)]

    def bootstrap(self) -> list[HttpRequest]:
        return [HttpRequest(path=path) for path in self._asks]

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        if body == b"garbage":
            raise ProtocolViolation("venue.test", "an answer of garbage")
        self.answers.append((request.path, body, asked_at, at))
        self._waiting.discard(request.path)
        return self.receive(body, at) if body else []

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        return HttpRequest(path=request.path, headers=(("X-Sign", f"signed at {now_ms}"),), signed=True)

    def closed(self, code: int | None, reason: str) -> LoginRefused | None:
        if code in (4001, 4002):
            return LoginRefused(code=str(code), what=reason or "key deleted", do="Make a new key", retry=code == 4002)
        return None

    def _say(self, sentence: str, at: int) -> list[Output]:
        word, _, rest = sentence.partition(" ")
        topics = tuple(rest.split(",")) if rest else ()
        match word:
            case "price":
                symbol, value = rest.split()
                return [Price(venue="test", env="live", symbol=symbol, value=value, at=at)]
            case "snapshot":
                self._waiting.discard("snapshot")
                return [PositionsSnapshot(account="a", scope="all", positions=())]
            case "unready":
                self._waiting.add("snapshot")
                return []
            case "bug":
                raise KeyError("size")
            case "heard":
                return [Heard(topics=topics)]
            case "count":
                channel, count, limit = rest.split()
                return [ConnectionCount(channel=channel, count=int(count), limit=int(limit))]
            case "ask":
                return [Ask(request=HttpRequest(path=rest))]
        signals: dict[str, Output] = {
            "welcome": LoggedIn(),
            "denied": LoginRefused(code="50111", what="invalid key", do="Check the key"),
            "later": LoginRefused(code="50102", what="timestamp expired", do="Set the clock", retry=True),
            "ok": Subscribed(topics=topics),
            "no": SubscribeRefused(topics=topics, code="60014", what="too frequent", permanent=False),
            "never": SubscribeRefused(topics=topics, code="60018", what="unknown channel", permanent=True),
            "pong": Pong(),
            "remark": Notice(code="1", what="maintenance tomorrow"),
            "beyond": Notice(code=OUT_OF_REACH, what="older ones are unknown"),
            "upgrade": Notice(code="64008", what="service upgrade", reconnect=True),
            "gap": Refresh(why="a sequence is missing"),
        }
        return [signals.get(word, Malformed(what=f"what is {sentence!r}"))]


class Watch:
    """Waits for conditions: whoever changes something that a condition may look at pokes it."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def poke(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], object], within_s: float = 10.0) -> None:
        """Return when the condition holds; it is looked at after each poke. Raises TimeoutError when it never does."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Alarm:
    """A timer of ``StillClock``."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class StillClock:
    """A clock that moves only when it is told to; its alarms ring in order while it moves."""

    def __init__(self, now: int = 1_000_000, watch: Watch | None = None) -> None:
        self.now = now
        self.watch = watch or Watch()
        self._count = itertools.count()
        self._alarms: list[tuple[int, int, Alarm]] = []

    def now_ms(self) -> int:
        return self.now

    def wall_ms(self) -> int:
        return self.now + 7  # recognisably not the monotone clock

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(callback)
        heapq.heappush(self._alarms, (at_ms, next(self._count), alarm))
        self.watch.poke()
        return alarm

    def alarms(self) -> list[int]:
        """Return the moments at which somebody is to be woken."""
        return sorted(at for at, _, alarm in self._alarms if alarm.callback is not None)

    def advance(self, ms: int) -> None:
        """Move on, ringing what becomes due."""
        self.now += ms
        while self._alarms and self._alarms[0][0] <= self.now:
            _, _, alarm = heapq.heappop(self._alarms)
            callback, alarm.callback = alarm.callback, None
            if callback is not None:
                callback()
