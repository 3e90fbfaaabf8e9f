"""What Hyperliquid's connections share: topics and their acks, errors in prose, heartbeats, questions of our own.

Owns protocol state only: which topics were asked and confirmed, which initial states are still missing. Pure: no I/O, no clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.hyperliquid import build, modes, tables, wire
from exchanges.venue import (
    Ask,
    Data,
    Heard,
    HttpRequest,
    LoginRefused,
    Malformed,
    Notice,
    Output,
    Pong,
    Subscribed,
    SubscribeRefused,
)


@dataclass
class Known:
    """What the connections of one account, or of one environment's market, learn one after the other.

    A new connection does not wait for what an earlier one learned: asked anew at each, a few breaks within a minute would
    spend the venue's whole weight, and the account would stay blind while its states already flow. What may change is asked
    again all the same.

    Attributes:
        mode: The account's mode as it was last said.
        collateral: Token of each dex.
        dexes: Every dex beside the main one; None until the contracts were read.
        coins: Every perpetual there is.
        pairs: Spot market of each token against USDC.
        settled: Of a unified account, the cash of each token; a round whose answers come too far apart has no other.
    """

    mode: str | None = None
    collateral: dict[str, int] = field(default_factory=lambda: {"": tables.DOLLAR_TOKEN})
    dexes: tuple[str, ...] | None = None
    coins: set[str] = field(default_factory=set)
    pairs: dict[str, str] = field(default_factory=dict)
    settled: modes.Settled = field(default_factory=dict)

    def learn(self, metas: Iterable[tuple[str, int]]) -> None:
        """Note the dexes there are and the collateral token of each."""
        found = dict(metas)
        self.collateral |= found
        self.dexes = tuple(dex for dex in found if dex)


class Session:
    """What both connections share: topics, acks, errors, heartbeats. The venue has no login and no request ids."""

    connection: str
    polled = False
    needs_login = False
    ping_every_s = tables.PING_EVERY_S
    silent_after_s = tables.SILENT_AFTER_S

    def __init__(self, url: str, waiting: Iterable[str]) -> None:
        self.url = url
        self._waiting = set(waiting)  # channels and questions whose first content has not arrived yet
        self._confirmed: dict[str, bool] = {}  # topics that were asked
        self._asked: dict[HttpRequest, tuple[int, bool]] = {}  # own questions: when asked or, then, answered

    @property
    def ready(self) -> bool:
        """True when every initial state has arrived."""
        return not self._waiting

    def prepare(self) -> list[HttpRequest]:
        """Return nothing: a connection is opened without asking."""
        return []

    def login(self, now_ms: int) -> str:
        """There is no login (``needs_login`` is False)."""
        raise NotImplementedError(f"{tables.NAME} has no login")

    def topics(self) -> tuple[str, ...]:
        """Return the topics that this connection always needs."""
        raise NotImplementedError

    def bootstrap(self) -> list[HttpRequest]:
        """Return what must be asked by REST once subscribed."""
        raise NotImplementedError

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return nothing: prices are the public connection's."""
        return ()

    def watch(self) -> Mapping[str, float]:
        """Return nothing: no topic of this connection is bound to bring something."""
        return {}

    def audit(self) -> list[HttpRequest]:
        """Return nothing: there is no account."""
        return []

    def state(self) -> list[HttpRequest]:
        """Return nothing: there is no account."""
        return []

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return nothing: there is no account."""
        return []

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return nothing: there is no account."""
        return []

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Return nothing: there is no account."""
        return []

    def free(self, ccy: str) -> list[HttpRequest]:
        """Return nothing: balances say what is free."""
        return []

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return one frame a topic."""
        self._confirmed |= dict.fromkeys(topics, False)
        return [build.subscribe(topic) for topic in topics]

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return one frame a topic."""
        for topic in topics:
            self._confirmed.pop(topic, None)
        return [build.unsubscribe(topic) for topic in topics]

    def ping(self) -> str:
        """Return the heartbeat frame."""
        return build.ping()

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request as it is: everything read here is public by address."""
        return request

    def closed(self, code: int | None, reason: str) -> LoginRefused | None:
        """Return None: the venue closes with 1000 or 1006, unannounced, and never for a reason an operator could mend."""
        return None

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame; what cannot be understood becomes ``Malformed``."""
        try:
            return self._frame(data, at)
        except ProtocolViolation as bad:
            return [Malformed(what=str(bad))]

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate a REST answer by the ``type`` of its question.

        Raises:
            ProtocolViolation: The answer is not what the venue documents, or its question is none of this link's.
            Rejected: The request is no info request.
        """
        asked = build.question(request)
        outputs = self._answer(asked["type"], asked, body, asked_at, at)
        self._waiting.discard(asked["type"])
        if request in self._asked:
            self._asked[request] = at, True
        return outputs

    def _channel(self, channel: str, data: msgspec.Raw, at: int) -> list[Output]:
        raise NotImplementedError

    def _answer(self, kind: str, asked: dict[str, Any], body: bytes, asked_at: int, at: int) -> list[Output]:
        raise NotImplementedError

    def _frame(self, data: Data, at: int) -> list[Output]:
        if data in (tables.GREETING, tables.GREETING.encode()):
            return []
        frame = wire.decode(wire.Envelope, data, "frame")
        if frame.channel == "pong":
            return [Pong()]
        if frame.channel == "subscriptionResponse":
            return self._ack(wire.decode(dict[str, Any], frame.data, "subscriptionResponse"))
        if frame.channel == "error":
            return self._error(wire.decode(str, frame.data, "error"))
        if frame.channel in tables.UNREAD_CHANNELS:
            return []
        return self._channel(frame.channel, frame.data, at)

    def _matching(self, echo: object) -> tuple[str, ...]:
        return tuple(topic for topic in self._confirmed if isinstance(echo, dict) and build.echoes(topic, echo))

    def _ack(self, ack: dict[str, Any]) -> list[Output]:
        if ack.get("method") == "unsubscribe":
            return []
        return self._subscribed(ack.get("subscription"))

    def _subscribed(self, echo: object) -> list[Output]:
        topics = self._matching(echo)
        self._confirmed |= dict.fromkeys(topics, True)
        if topics:
            return [Subscribed(topics=topics)]
        return [Notice(code="unasked_ack", what=wire.clip(f"{tables.NAME} confirmed {echo}, which was not asked here"))]

    def _error(self, text: str) -> list[Output]:
        """Translate an error: a bare sentence without code or id; some echo as JSON what they are about."""
        echo = _echo(text)
        if text.startswith(tables.ALREADY_SUBSCRIBED):
            return self._subscribed(echo)  # harmless: the server's subscription is intact
        if text.startswith(tables.ALREADY_UNSUBSCRIBED):
            return []
        if text.startswith((tables.INVALID_SUBSCRIPTION, tables.UNKNOWN_SUBSCRIPTION)) and (
            found := self._matching(echo)
        ):
            return [
                self._refused(found, "invalid_subscription", f"the venue does not accept it: {text}", permanent=True)
            ]
        if limit := tables.TOO_MANY_USERS.search(text):
            return self._too_many_users(limit[1])
        return [Notice(code="error", what=wire.clip(f"{tables.NAME} says: {text}"))]

    def _too_many_users(self, limit: str) -> list[Output]:
        """The text does not say whom it is about: it is every topic of a user that was asked and not confirmed."""
        what = (
            f"this IP address already follows {limit} users, the venue's limit: this account has to be polled. "
            "Configure fewer streamed Hyperliquid accounts here, or run some of them behind another address"
        )
        topics = tuple(topic for topic, done in self._confirmed.items() if not done and "user" in json.loads(topic))
        if topics:
            return [self._refused(topics, "too_many_users", what, permanent=False)]
        return [Notice(code="too_many_users", what=what)]

    def _refused(self, topics: tuple[str, ...], code: str, what: str, *, permanent: bool) -> SubscribeRefused:
        for topic in topics:
            del self._confirmed[topic]
        return SubscribeRefused(topics=topics, code=code, what=wire.clip(what), permanent=permanent)

    def _ask(self, request: HttpRequest, at: int) -> list[Output]:
        """Ask for something that is missing: once until it is answered, then again after ``ASK_AGAIN_MS`` at the earliest.

        The feed repeats a question that failed for now; one that was given up is asked again after ``FORGOTTEN_MS``.
        """
        if request in self._asked:
            last, answered = self._asked[request]
            if at - last < (tables.ASK_AGAIN_MS if answered else tables.FORGOTTEN_MS):
                return []
        elif len(self._asked) >= tables.MAX_DEXES:
            return []
        self._asked[request] = at, False
        return [Ask(request=request)]

    def _heard(self, topic: str) -> list[Output]:
        """Say that a topic is alive, as far as it was asked here and is watched."""
        return [Heard(topics=(topic,))] if topic in self._confirmed and topic in self.watch() else []


def _echo(text: str) -> object:
    """Return the subscription that an error text echoes, or None; some errors echo the whole request around it."""
    try:
        found = json.loads(text[text.index("{") :])
    except (ValueError, RecursionError):
        return None
    return found.get("subscription", found) if isinstance(found, dict) else None
