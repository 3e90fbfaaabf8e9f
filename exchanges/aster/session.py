"""What Aster's connections share: request numbers, acknowledgements, the combined wrapper, heartbeats, the 24-hour limit.

Owns protocol state only: which topics were asked with which request. Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from exchanges.aster import build, tables
from exchanges.aster.wire import Frame, decode
from exchanges.errors import ProtocolViolation
from exchanges.venue import (
    Data,
    HttpRequest,
    LoginRefused,
    Malformed,
    Notice,
    Output,
    Pong,
    Subscribed,
    SubscribeRefused,
)


class Session:
    """One connection; the kinds of link say what it is for.

    Args:
        url: Where the connection goes.
    """

    connection: str
    needs_login = False
    polled = False
    ping_every_s = tables.PING_EVERY_S
    silent_after_s = tables.SILENT_AFTER_S

    def __init__(self, url: str) -> None:
        self.url = url
        self._requests = 0
        self._asked: dict[int, tuple[str, ...]] = {}  # request → topics that it subscribes
        self._pings: set[int] = set()
        self._began_at: int | None = None
        self._warned = False

    def prepare(self) -> list[HttpRequest]:
        """Return nothing: the address is known."""
        return []

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return nothing: there is no account, or its past is not told by its address."""
        return []

    def free(self, ccy: str) -> list[HttpRequest]:
        """Return nothing: balances say what is free."""
        return []

    def login(self, now_ms: int) -> str:
        """Raise: no connection of Aster's has a login; a listen key is part of the private one's address."""
        raise ProtocolViolation("aster", f"the {self.connection} connection knows no login")

    def topics(self) -> tuple[str, ...]:
        """Return nothing: no topic is always needed."""
        return ()

    def watch(self) -> dict[str, float]:
        """Return nothing: no topic is never quiet."""
        return {}

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that subscribe those topics."""
        frames = []
        for batch in build.batches(topics):
            request_id = self._next_id()
            self._asked[request_id] = tuple(batch)
            frames.append(build.frame("SUBSCRIBE", batch, request_id))
        return frames

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that unsubscribe those topics."""
        return [build.frame("UNSUBSCRIBE", batch, self._next_id()) for batch in build.batches(topics)]

    def ping(self) -> str:
        """Return the heartbeat; its answer also lets this link do what is due while nothing else comes."""
        request_id = self._next_id()
        self._pings = {request_id}  # an older one without an answer is of no interest any more
        return build.ping(request_id)

    def closed(self, code: int | None, reason: str) -> LoginRefused | None:
        """Return None: Aster refuses by REST alone."""
        return None

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame; never raises on bad input."""
        if self._began_at is None:
            self._began_at = at
        try:
            outputs = self._translate(data, at)
        except ProtocolViolation as error:
            self._damaged()
            outputs = [Malformed(what=str(error))]
        return outputs + self._due(at) + self._aged(at)

    def _damaged(self) -> None:
        """Note that a frame was lost: it could not be read."""

    def _translate(self, data: Data, at: int) -> list[Output]:
        if data.lstrip()[:1] in ("[", b"["):
            raise ProtocolViolation("aster", f"a list came on the {self.connection} connection")
        frame = decode(data, Frame, "a frame")
        if frame.stream and frame.data:  # its name may be a listen key: never part of a text
            return self._event(decode(frame.data, Frame, "data of a stream").e, bytes(frame.data), at)
        if frame.e:
            return self._event(frame.e, data, at)
        return self._reply(frame)

    def _reply(self, frame: Frame) -> list[Output]:
        number = int(frame.id) if frame.id is not None and str(frame.id).isascii() and str(frame.id).isdigit() else None
        topics = self._asked.pop(number, ()) if number is not None else ()
        fault = frame.error
        code, said = (str(fault.code), fault.msg) if fault else (str(frame.code), frame.msg)
        if fault is not None or frame.code is not None:
            if topics:
                return [SubscribeRefused(topics=topics, code=code, what=said[:200], permanent=False)]
            return [Notice(code=code, what=f"{self.connection}: {said[:200]}")]
        if number is None:
            raise ProtocolViolation(
                "aster", f"a frame of the {self.connection} connection that is neither event nor reply"
            )
        if number in self._pings:
            self._pings.clear()
            return [Pong()]
        return [Subscribed(topics=topics)] if topics else []

    def _event(self, event: str, data: Data, at: int) -> list[Output]:
        """Translate an event; an unknown one is no news that anything here depends on."""
        return [Malformed(what=f"aster: unknown event {event[:60]!r} on the {self.connection} connection")]

    def _due(self, at: int) -> list[Output]:
        """Return what has to be asked by now."""
        return []

    def _aged(self, at: int) -> list[Output]:
        # The venue ends a connection after 24 hours: leaving before lets a new one come up beside it.
        if self._warned or self._began_at is None or at - self._began_at < tables.LIVES_MS:
            return []
        self._warned = True
        return [Notice(code="24h", what="the venue ends connections after 24 hours", reconnect=True)]

    def _next_id(self) -> int:
        self._requests += 1
        return self._requests
