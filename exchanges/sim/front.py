"""What every venue front is: HTTP and WebSocket routes of one venue, and a ``tick`` that sends what is due.

Owns the interface between the simulator's server and a venue's dialect, and the faults that all venues share. A front
reports the world; it never changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from aiohttp import web

from exchanges.sim.catalog import VenueName
from exchanges.sim.faults import Faults
from exchanges.sim.sockets import Socket, Sockets, send_private

__all__ = ["Clock", "Faults", "Front", "send_private"]

# Wall-clock milliseconds since the Unix epoch, for what a venue checks against its own clock when a frame comes in.
Clock = Callable[[], int]


class Front(Protocol):
    """A venue's dialect over the world: ``OkxFront``, ``BybitFront``, ``HyperliquidFront``, each made with (world, clock).

    The server calls ``routes`` once, then ``tick`` every few milliseconds, also while the world is paused: what became due is
    sent then (``Socket.send`` never waits; an account's data goes through ``send_private``). Frames that came in are answered in
    the front's own WebSocket handler.
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
