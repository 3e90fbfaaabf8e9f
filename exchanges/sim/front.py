"""What every venue front is: HTTP and WebSocket routes of one venue, and a ``tick`` that sends what is due.

Owns the interface between the simulator's server and a venue's dialect, and the faults that all venues share. A front
reports the world; it never changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from exchanges.sim.catalog import VenueName
from exchanges.sim.sockets import Socket, Sockets

# Wall-clock milliseconds since the Unix epoch, for what a venue checks against its own clock when a frame comes in.
Clock = Callable[[], int]


@dataclass
class Faults:
    """What a front has been told to do wrong, on top of its sockets. The control port writes, fronts ask.

    Attributes:
        limited: REST answers still to be refused for their rate.
        limited_until: … or until this time, milliseconds since the Unix epoch.
        wrong_logins: Logins still to be refused although they are right …
        wrong_code: … with this code of the venue's (``""``: the front's default).
    """

    limited: int = 0
    limited_until: int = 0
    wrong_logins: int = 0
    wrong_code: str = ""

    def take_limit(self, now_ms: int) -> bool:
        """Say whether this REST request is to be refused for its rate, and count it."""
        if self.limited > 0:
            self.limited -= 1
            return True
        return now_ms < self.limited_until

    def take_wrong_login(self) -> str | None:
        """Return the code with which this login is to be refused (``""``: the front's default), or None; counts it."""
        if self.wrong_logins <= 0:
            return None
        self.wrong_logins -= 1
        return self.wrong_code


class Front(Protocol):
    """A venue's dialect over the world: ``OkxFront``, ``BybitFront``, ``HyperliquidFront``, each made with (world, clock).

    The server calls ``routes`` once, then ``tick`` every few milliseconds, also while the world is paused: what became due is
    sent then (``Socket.send`` never waits). Frames that came in are answered in the front's own WebSocket handler.
    """

    name: VenueName
    sockets: Sockets
    faults: Faults

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the venue's real paths, REST and WebSocket."""

    def tick(self, now_ms: int) -> None:
        """Send every push that is due at ``now_ms``."""

    def malformed(self, socket: Socket) -> str:
        """Return a frame that no client of this venue can understand, as the fault ``malformed`` sends it."""

    def notice(self, socket: Socket, now_ms: int, seconds: float) -> bool:
        """Announce the end of a connection and close it after ``seconds``; False where the venue has no such notice."""

    def credentials(self) -> list[Mapping[str, Any]]:
        """Return each account as ``perpwire sim --json`` prints it: name, and what a client logs in with."""
