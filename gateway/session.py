"""One client's connection: its commands, its subscriptions, its limits. Speaks to a socket only through an ``Outlet``.

Never owns rows or frames of tables (hub), and never knows what carries the bytes (web/stream).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from gateway.core import protocol
from gateway.core.access import Principal, resolve
from gateway.core.protocol import (
    Auth,
    BadCommand,
    Close,
    CommandId,
    Malformed,
    Ping,
    Refusal,
    Subscribe,
    Unsubscribe,
    text_frame,
)
from gateway.hub import Hub, Subscription, Timer, Write


class Outlet(Protocol):
    """The socket as a session sees it. It must tell the session: ``receive``, ``heard``, ``pause``, ``resume``, ``lost``."""

    @property
    def write(self) -> Write:
        """Send a complete WebSocket frame; never blocks. May call ``Session.pause`` before it returns."""

    def waiting(self) -> int:
        """Return how many bytes wait in our own memory for the socket."""

    def close(self, why: Close) -> None:
        """Say why, then close; cut the connection where that takes longer than ``Limits.close_ms``."""

    def hold_reading(self, hold: bool) -> None:
        """Stop or go on taking in what the client sends."""


class Bucket:
    """A token bucket: ``rate`` a second, bursts of ``size``. Time arrives as an argument."""

    __slots__ = ("_at", "_left", "_rate", "_size")

    def __init__(self, rate: float, size: float, now: float) -> None:
        self._rate, self._size, self._left, self._at = rate, size, size, now

    def take(self, now: float) -> bool:
        """Take one token; False where there is none."""
        self._left = min(self._size, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Session:
    """A client that passed the handshake. ``open`` first, then whatever the socket reports, ``lost`` last.

    Args:
        known_accounts: Returns the names of all configured accounts.
        server: Name and version for the hello.
    """

    __slots__ = (
        "_bucket",
        "_heard",
        "_heard_at",
        "_hub",
        "_known_accounts",
        "_outlet",
        "_refused",
        "_server",
        "_timer",
        "_waiting",
        "closed",
        "paused",
        "principal",
        "subscriptions",
        "write",
    )

    def __init__(
        self,
        hub: Hub,
        outlet: Outlet,
        principal: Principal,
        known_accounts: Callable[[], Collection[str]],
        *,
        server: str,
    ) -> None:
        self._hub, self._outlet, self.principal = hub, outlet, principal
        self._known_accounts, self._server = known_accounts, server
        self.write: Write = outlet.write
        self.subscriptions: dict[str, Subscription] = {}
        self.paused = self.closed = False
        self._bucket: Bucket | None = None
        self._refused = 0
        self._heard, self._heard_at = True, 0.0
        self._waiting = 0
        self._timer: Timer | None = None

    def open(self) -> None:
        """Greet the client."""
        self._hub.enter(self)
        tables, limits = self._hub.tables, self._hub.limits
        self._say(protocol.hello(self._server, tables.epoch, tables.seq, tables.durable_seq, limits.heartbeat_ms))

    def close(self, why: Close) -> None:
        """Close the connection from our side; nothing is written after this."""
        if self.closed:
            return
        self.closed = True
        self._hub.closed[why.reason] += 1
        self.lost()
        self._outlet.close(why)

    def lost(self) -> None:
        """The connection is gone, whoever closed it."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hub.leave(self)

    def _say(self, payload: bytes) -> None:
        self.write(text_frame(payload))

    # --- Commands ---------------------------------------------------------------------------------------------------

    def receive(self, text: bytes) -> None:
        """Obey one message of the client. What is no command at all closes the connection; a wrong one is answered."""
        if self.closed or not self._may_command():
            return
        id_: CommandId = None
        try:
            command = protocol.parse_command(text)
            id_ = command.id
            self._obey(command)
        except Malformed:
            self.close(Close.MALFORMED)
        except BadCommand as bad:
            self._say(protocol.error(bad.id, bad))
        except Refusal as refusal:
            self._say(protocol.error(id_, refusal))

    def _may_command(self) -> bool:
        rate, now = self._hub.limits.commands_per_s, self._hub.clock()
        if self._bucket is None:
            self._bucket = Bucket(rate, 2 * rate, now)
        if self._bucket.take(now):
            self._refused = 0
            return True
        self._refused += 1
        if self._refused > rate:  # told often enough
            self.close(Close.LIMITS)
        else:
            self._say(
                protocol.error(None, Refusal("too_many_commands", f"at most {rate} commands a second; wait a second"))
            )
        return False

    def _obey(self, command: protocol.Command) -> None:
        match command:
            case Subscribe():
                self._subscribe(command)
            case Unsubscribe():
                if not self._hub.unsubscribe(self, command.sub):
                    raise Refusal("unknown_sub", f"you have no subscription {command.sub!r}")
                self._say(protocol.unsubscribed(command.id, command.sub))
            case Ping():
                self._say(protocol.pong(command.id))
            case Auth():
                raise Refusal("auth_off", "this gateway asks for no token; subscribe at once")

    def _subscribe(self, command: Subscribe) -> None:
        hub = self._hub
        interval_ms, heartbeat_ms = command.min_interval_ms, hub.limits.heartbeat_ms
        if not 0 <= interval_ms < heartbeat_ms:
            raise Refusal(
                "bad_interval",
                f"min_interval_ms is {interval_ms}; it must be from 0 to below heartbeat_ms, {heartbeat_ms}",
            )
        selection = resolve(
            hub.tables,
            command.table,
            self.principal,
            self._known_accounts(),
            accounts=command.accounts,
            symbols=command.symbols,
            min_interval_ms=interval_ms,
        )
        limit = hub.limits.max_subscriptions
        if len(self.subscriptions) >= limit and protocol.sub_of(selection) not in self.subscriptions:
            raise Refusal(
                "too_many_subscriptions", f"at most {limit} subscriptions a connection; unsubscribe one first"
            )
        sub, recovered = hub.subscribe(self, selection, command.since)
        self._say(protocol.subscribed(command.id, sub, recovered=recovered))
        hub.deliver(self, sub)

    # --- The socket's pace ------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """The socket is full. Nothing is sent until it drained, and nothing taken in: answers would pile up."""
        if self.paused or self.closed:
            return
        self.paused = True
        self._hub.pause(self)
        self._outlet.hold_reading(True)
        self._waiting = self._outlet.waiting()
        self._watch_draining()

    def resume(self) -> None:
        """The socket has drained: catch up."""
        if not self.paused or self.closed:
            return
        self.paused = False
        self._heard = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._outlet.hold_reading(False)
        self._hub.resume(self)

    def _watch_draining(self) -> None:
        self._timer = self._hub.call_later(self._hub.limits.drain_ms / 1000, self._check_draining)

    def _check_draining(self) -> None:
        waiting = self._outlet.waiting()
        if waiting >= self._waiting:
            self.close(Close.NOT_DRAINED)
            return
        self._waiting, self._heard = waiting, True  # slow, but it reads
        self._watch_draining()

    def heard(self) -> None:
        """Something came from the client (also a pong): it lives."""
        self._heard = True

    def beat(self, now: float) -> bool:
        """Check at each heartbeat that the client lives; close it (4002) where nothing came for too long."""
        if self._heard:
            self._heard, self._heard_at = False, now
        elif now - self._heard_at > self._hub.limits.dead_after_ms / 1000:
            self.close(Close.DEAD)
            return False
        return True
