"""Requests of one Bybit connection and the replies to them. Pure protocol state.

Owns which request a reply answers and what it means for each topic. Bybit acknowledges a *request*, not a topic: one unknown
topic fails all of its request (seen live on linear), and so does a topic that was subscribed already, which is harmless in
itself. Topics that fail in company are refused as not permanent, so that they are asked again without the culprit.

Replies echo ``req_id`` on some sockets and leave it out on others; without it they answer the oldest request of their kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from exchanges.bybit import build, tables
from exchanges.bybit.check import public_part
from exchanges.bybit.wire import Frame, TopicLists, decode
from exchanges.errors import ProtocolViolation
from exchanges.venue import LoggedIn, LoginRefused, Pong, Signal, Subscribed, SubscribeRefused

_UNKNOWN = re.compile(r"(?:handler not found,\s*topic|invalid topic):\s*(\S+)", re.IGNORECASE)
_ALREADY = re.compile(r"already subscribed,\s*topic:\s*(\S+)", re.IGNORECASE)
_PINGS_REMEMBERED = 10


class Requests:
    """What was asked on this connection and not answered yet; bounded by ``tables.MAX_PENDING``.

    Args:
        per_frame: How many topics one subscribe request may hold.
    """

    def __init__(self, per_frame: int = tables.TOPICS_PER_FRAME) -> None:
        self._per_frame = per_frame
        self._pending: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._pings: list[str] = []
        self._alone: set[str] = set()  # topics whose request failed for a reason that names none of them
        self._count = 0

    def next_id(self, kind: str) -> str:
        """Return a request id that this connection has not used."""
        self._count += 1
        return f"{kind}-{self._count}"

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that subscribe topics, and remember what they ask."""
        together = [topic for topic in topics if topic not in self._alone]
        singly = [[topic] for topic in topics if topic in self._alone]
        return [build.subscribe(batch, self._ask("subscribe", batch)) for batch in (*self._batches(together), *singly)]

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that unsubscribe topics."""
        return [build.unsubscribe(batch, self._ask("unsubscribe", batch)) for batch in self._batches(topics)]

    def ping(self) -> str:
        """Return a heartbeat frame."""
        self._pings = [*self._pings[1 - _PINGS_REMEMBERED :], self.next_id("ping")]
        return build.ping(self._pings[-1])

    def reply(self, frame: Frame) -> list[Signal]:
        """Say what a reply means.

        Raises:
            ProtocolViolation: It is no reply that Bybit documents, or a refusal of something that was not asked.
        """
        op = frame.op or (frame.request.op if frame.request else "")
        if op == "auth":
            return [login_reply(frame)]
        if op in ("ping", "pong"):
            return self._pong(frame)
        if op == "subscribe" or frame.type == "COMMAND_RESP":
            return self._subscribed(frame)
        if op == "unsubscribe":
            self._take("unsubscribe", frame.id)
            return []
        raise ProtocolViolation("bybit", f"unknown reply {op!r}: {frame.text!r}")

    def _batches(self, topics: Sequence[str]) -> Iterator[list[str]]:
        return build.batches(topics, self._per_frame)

    def _ask(self, op: str, topics: Sequence[str]) -> str:
        req_id = self.next_id(op)
        self._pending[req_id] = (op, tuple(topics))
        if len(self._pending) > tables.MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        return req_id

    def _take(self, op: str, req_id: str) -> tuple[str, ...] | None:
        """Forget and return the request that a reply answers; None where nothing of that kind is open."""
        if not req_id:
            req_id = next((known for known, (kind, _) in self._pending.items() if kind == op), "")
        return self._pending.pop(req_id, (op, None))[1]

    def _pong(self, frame: Frame) -> list[Signal]:
        if frame.success is False:
            raise ProtocolViolation("bybit", f"a ping was refused: {frame.text!r}")
        # Only the answer to a ping of ours proves that the connection carries both ways.
        if not self._pings or (frame.id and frame.id not in self._pings):
            return []
        self._pings = []
        return [Pong()]

    def _subscribed(self, frame: Frame) -> list[Signal]:
        topics = self._take("subscribe", frame.id)
        if frame.type == "COMMAND_RESP" and frame.data:
            lists = decode(frame.data, TopicLists, "an acknowledgement")
            return [
                *_confirmed(lists.success_topics),
                *_refused(lists.fail_topics, "refused", frame.text or "not accepted", True),
            ]
        if frame.succeeded:
            return _confirmed(topics or ())
        if topics is None:
            raise ProtocolViolation("bybit", f"a refusal of nothing that was asked: {frame.text!r}")
        return self._failed(topics, frame.text)

    def _failed(self, topics: tuple[str, ...], text: str) -> list[Signal]:
        unknown, already = _UNKNOWN.search(text), _ALREADY.search(text)
        named = unknown or already
        culprit = named[1].rstrip(",;") if named else ""
        if culprit not in topics:
            self._alone.update(topics)
            return _refused(topics, "refused", text, False)
        rest = _refused([topic for topic in topics if topic != culprit], "batch_failed", text, False)
        if already:
            return [*_confirmed([culprit]), *rest]
        return [*_refused([culprit], "unknown_topic", text, True), *rest]


def _confirmed(topics: Sequence[str]) -> list[Signal]:
    return [Subscribed(topics=tuple(topics))] if topics else []


def _refused(topics: Sequence[str], code: str, what: str, permanent: bool) -> list[Signal]:
    return [SubscribeRefused(topics=tuple(topics), code=code, what=what, permanent=permanent)] if topics else []


def login_reply(frame: Frame) -> LoggedIn | LoginRefused:
    """Say what a login reply means; both key styles are read, and refusals with a code and without."""
    code, text = frame.ret_code, public_part(frame.text)
    if frame.succeeded or code == tables.REPEATED_LOGIN:
        return LoggedIn()
    name, refusal = _login_refusal(code, text.lower())
    return LoginRefused(
        code=name,
        what=refusal.what + (f" (Bybit says: {text})" if text else ""),
        do=refusal.do or "Wait; the login is tried again",
        retry=refusal.fault == "retry",
    )


def _login_refusal(code: int | None, text: str) -> tuple[str, tables.Refusal]:
    if "too many sessions" in text:
        return str(code or "sessions"), tables.Refusal(
            "retry", "too many sessions of this user", "Close other sessions"
        )
    if code in tables.RETCODES:
        return str(code), tables.RETCODES[code]
    for part, name, refusal in tables.LOGIN_TEXTS:
        if part in text:
            return name, refusal
    return str(code or "refused"), tables.Refusal("retry", "for a reason unknown here", "See Bybit's error codes")
