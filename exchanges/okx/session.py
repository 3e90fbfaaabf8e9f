"""What OKX's connections share: topics and their acknowledgements, events, errors, heartbeats, REST faults in answers.

Owns protocol state only: which topics were asked with which request, and how the login went. Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from exchanges.errors import ProtocolViolation
from exchanges.okx import build, sign, tables, wire
from exchanges.venue import (
    ConnectionCount,
    Credentials,
    Data,
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

Row = TypeVar("Row")

_SHOWN = 200  # characters of a venue's own words that are passed on
_FIELDS = ("channel", "inst_type", "inst_family", "inst_id", "ccy")
_NAMED_TOPIC = re.compile(r"channel:\s*([\w-]+)(?:,\s*instId:\s*([\w-]+))?")


class Session:
    """One connection; the two kinds of link say what it is for.

    Args:
        url: Where the connection goes.
        demo: Whether REST questions carry the demo site's header.
        credentials: The key, for connections that log in or ask signed questions.
    """

    connection: str
    needs_login = False
    polled = False
    ping_every_s = tables.PING_EVERY_S
    silent_after_s = tables.SILENT_AFTER_S

    def __init__(self, url: str, demo: bool, credentials: Credentials | None = None) -> None:
        self.url = url
        self._demo, self._credentials = demo, credentials
        self._requests = 0
        self._asked: dict[str, str] = {}  # topic → id of the request that asked for it, until it is settled
        self._logging_in = False
        self._refused: LoginRefused | None = None

    # --- what is sent --------------------------------------------------------------------------------------------

    def login(self, now_ms: int) -> str:
        """Return a freshly signed login frame; one a connection (60031)."""
        if self._credentials is None:
            raise NotImplementedError(f"{tables.NAME} {self.connection} has no login")
        self._logging_in = True
        return build.login(self._credentials, now_ms)

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that subscribe those topics."""
        frames = []
        for batch in build.batches(dict.fromkeys(topics), tables.ARGS_PER_REQUEST):
            request_id = self._next_id()
            self._asked |= dict.fromkeys(batch, request_id)
            frames.append(build.operation("subscribe", batch, request_id))
        return frames

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that unsubscribe those topics."""
        for topic in topics:
            self._asked.pop(topic, None)
        return [
            build.operation("unsubscribe", batch, self._next_id())
            for batch in build.batches(topics, tables.ARGS_PER_REQUEST)
        ]

    def ping(self) -> str:
        """Return the heartbeat: a bare word, not JSON."""
        return build.PING

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request with the headers it needs."""
        return sign.sign_request(request, now_ms, self._credentials, self._demo)

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return nothing: prices come over the public connection."""
        return ()

    def watch(self) -> Mapping[str, float]:
        """Return the topics that are never quiet for long; the kinds of link say which."""
        return {}

    # --- what can be asked; a connection answers nothing unless its kind says so ------------------------------------

    def prepare(self) -> list[HttpRequest]:
        """Return nothing: the address needs no question."""
        return []

    def audit(self) -> list[HttpRequest]:
        """Return nothing."""
        return []

    def state(self) -> list[HttpRequest]:
        """Return nothing."""
        return []

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return nothing."""
        return []

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return nothing."""
        return []

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Return nothing."""
        return []

    def free(self, ccy: str) -> list[HttpRequest]:
        """Return nothing: balances say what is free."""
        return []

    def closed(self, code: int | None, reason: str) -> LoginRefused | None:
        """Say whether only the operator can help; the venue closes with 4001 after a login that it refused before."""
        if code == tables.CLOSE_LOGIN_FAILED:
            return self._refused
        fault = tables.CLOSE_FAULTS.get(code or 0)
        return LoginRefused(code=str(code), what=fault.what, do=fault.do or "") if fault else None

    def _next_id(self) -> str:
        self._requests += 1
        return f"r{self._requests}"

    # --- what is received ----------------------------------------------------------------------------------------

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame; never raises on bad input."""
        return self._received(data) + self._due()

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate a REST answer. Raises ProtocolViolation where it is not what the venue documents."""
        return self._answered(request, self._rows(request, body), asked_at) + self._due()

    def _received(self, data: Data) -> list[Output]:
        text = data.strip()
        if text in ("pong", b"pong"):
            return [Pong()]
        if text in ("ping", b"ping"):  # not documented, but seen; it asks for nothing that our own pings do not give
            return []
        try:
            frame = wire.decode_frame(data)
        # ValueError covers msgspec's and Unicode's errors; deep nesting exhausts the decoder's stack.
        except (ValueError, RecursionError) as error:
            return [Malformed(what=f"{self.connection}: {wire.problem(error)}")]
        if frame.event is not None:
            return self._event(frame)
        if frame.arg is None or frame.data is None:
            return [Malformed(what=f"{self.connection}: a frame that is neither an event nor data of a channel")]
        return self._data(frame.arg, frame, frame.data)

    def _event(self, frame: wire.Frame) -> list[Output]:
        said = (frame.msg or "")[:_SHOWN]
        match frame.event:
            case "login" if frame.code in ("0", None):
                self._logging_in = False
                return [LoggedIn()]
            case "login" | "error":
                return self._error(frame, frame.code or "unknown", said)
            case "subscribe":
                return self._acknowledged(frame.arg)
            case "unsubscribe":
                return []
            case "channel-conn-count":
                return self._counted(frame)
            case "channel-conn-count-error":
                return self._overcrowded(frame)
            case "notice":
                code = frame.code or "notice"
                return [Notice(code=code, what=said, reconnect=code == tables.UPGRADE_NOTICE)]
            case event:
                return [Malformed(what=f"{self.connection}: unknown event {(event or '')[:_SHOWN]!r}")]

    def _error(self, frame: wire.Frame, code: str, said: str) -> list[Output]:
        fault = tables.LOGIN_FAULTS.get(code)
        if fault is not None or frame.event == "login" or (self._logging_in and frame.id is None):
            self._logging_in = False
            self._refused = LoginRefused(
                code=code,
                what=fault.what if fault else f"the login was refused: {said}",
                do=(fault and fault.do) or "Look the code up in the venue's documentation",
                retry=fault is not None and fault.kind == "retry",
            )
            return [self._refused]
        if code == tables.NOT_LOGGED_IN:
            return [Refresh(why=f"{self.connection}: the venue holds this connection for one that has not logged in")]
        topics = self._culprits(frame.id, code, said)
        if not topics:
            return [Notice(code=code, what=f"{self.connection}: {said}")]
        for topic in topics:
            self._asked.pop(topic, None)
        # Of several topics one is unknown and the text does not say which: the others are not refused for good.
        unclear = code == tables.UNKNOWN_TOPIC and len(topics) > 1
        permanent = code in tables.PERMANENT_REFUSALS and not unclear
        return [SubscribeRefused(topics=topics, code=code, what=said, permanent=permanent)]

    def _culprits(self, request_id: str | None, code: str, said: str) -> tuple[str, ...]:
        """Return the topics that an error is about: errors carry no argument, only the request's id and a text.

        An unknown topic is named by the text; whatever else was in the request has an acknowledgement of its own.
        """
        asked = tuple(topic for topic, with_id in self._asked.items() if request_id in (None, with_id))
        if code != tables.UNKNOWN_TOPIC:
            return asked if request_id is not None else ()
        named = _NAMED_TOPIC.search(said)
        if named:
            topic = f"{named[1]}:{named[2]}" if named[2] else named[1]
            found = tuple(one for one in asked if one == topic)
            return found or tuple(one for one in asked if one.startswith(f"{topic}:"))
        return asked if request_id is not None else ()

    def _acknowledged(self, arg: wire.Arg | None) -> list[Output]:
        """Match an acknowledgement with what was asked; it repeats the argument without ``extraParams``."""
        if arg is None:
            return [Malformed(what=f"{self.connection}: an acknowledgement that does not say of what")]
        said = {field: value for field in _FIELDS if (value := getattr(arg, field)) is not None}
        for topic in self._asked:
            if _wanted(topic).items() <= said.items():
                del self._asked[topic]
                return [Subscribed(topics=(topic,))]
        return [Notice(code="subscribe", what=f"{self.connection}: not asked, but acknowledged: {said}"[:_SHOWN])]

    def _counted(self, frame: wire.Frame) -> list[Output]:
        """Tell how many connections of the sub-account have a channel."""
        count = frame.conn_count or ""
        if not (frame.channel and count.isdecimal() and len(count) < 6):
            return [Malformed(what=f"{self.connection}: a number of connections that cannot be read")]
        channel = frame.channel[:_SHOWN]
        return [ConnectionCount(channel=channel, count=int(count), limit=tables.MOST_CONNECTIONS)]

    def _overcrowded(self, frame: wire.Frame) -> list[Output]:
        """The subscription is dead although it was acknowledged: too many connections of the sub-account have it."""
        channel = (frame.channel or "unknown")[:_SHOWN]
        what = (
            f"{frame.conn_count or 'too many'} connections of this sub-account are subscribed to {channel} already: "
            "close other programs that use it"
        )
        return [SubscribeRefused(topics=(channel,), code="channel-conn-count-error", what=what, permanent=False)]

    def _data(self, arg: wire.Arg, frame: wire.Frame, rows: list[msgspec.Raw]) -> list[Output]:
        """Translate data of a channel that this kind of connection does not read."""
        return [Notice(code="channel", what=f"{self.connection}: data of channel {arg.channel[:_SHOWN]!r} is not read")]

    # --- answers -------------------------------------------------------------------------------------------------

    def _rows(self, request: HttpRequest, body: bytes) -> list[msgspec.Raw]:
        where = f"{tables.NAME} {request.path}"
        try:
            answer = wire.decode_answer(body)
        except (ValueError, RecursionError) as error:  # as for frames
            raise ProtocolViolation(where, wire.problem(error)) from error
        if answer.code != "0":
            raise ProtocolViolation(where, answer.msg[:_SHOWN] or "the question failed", code=answer.code[:_SHOWN])
        return answer.data

    def _answered(self, request: HttpRequest, rows: list[msgspec.Raw], asked_at: int) -> list[Output]:
        raise ProtocolViolation(
            f"{tables.NAME} {request.path}", f"the {self.connection} connection asks no such question"
        )

    def _due(self) -> list[Output]:
        """Return what has to be asked by now."""
        return []


def decode_all(rows: Iterable[msgspec.Raw], decoder: msgspec.json.Decoder[Row], where: str) -> list[Row]:
    """Decode all rows. Raises ProtocolViolation, naming the field, for the first that cannot be read."""
    try:
        return [decoder.decode(row) for row in rows]
    except (ValueError, RecursionError) as error:  # as for frames
        raise ProtocolViolation(f"{tables.NAME} {where}", wire.problem(error)) from error


def decode_some(
    rows: Iterable[msgspec.Raw], decoder: msgspec.json.Decoder[Row], where: str
) -> tuple[list[Row], list[Output], list[msgspec.Raw]]:
    """Decode what can be read; return it, a note on each row that cannot, and those rows."""
    good: list[Row] = []
    notes: list[Output] = []
    bad: list[msgspec.Raw] = []
    for row in rows:
        try:
            good.append(decoder.decode(row))
        except (ValueError, RecursionError) as error:  # as for frames
            notes.append(Malformed(what=f"{tables.NAME} {where}: {wire.problem(error)}"))
            bad.append(row)
    return good, notes, bad


def _wanted(topic: str) -> dict[str, Any]:
    """Return a topic's argument with the names of the wire schema's fields."""
    names = {"channel": "channel", "instType": "inst_type", "instId": "inst_id"}
    return {names[key]: value for key, value in build.topic_args(topic).items()}
