"""The simulated OKX: its REST paths and WebSocket endpoints over the world.

Owns the connections' life; what a connection says is ``okx_session``, what REST answers ``okx_rest``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from exchanges.sim.catalog import VenueName
from exchanges.sim.changes import MarkChanged
from exchanges.sim.front import Clock, Faults
from exchanges.sim.okx_keys import key_of
from exchanges.sim.okx_rest import OkxRest
from exchanges.sim.okx_session import Session
from exchanges.sim.sockets import Connection, Socket, Sockets
from exchanges.sim.world import World

# A login or subscribe request beyond 64 KiB closes the connection with 1009.
MAX_FRAME_BYTES = 64 * 1024
DEMO_BROKER = "9999"  # ``?brokerId=9999`` in the address of a connection to the demo environment


class OkxFront:
    """OKX over the world."""

    name: VenueName = "okx"

    def __init__(self, world: World, clock: Clock) -> None:
        self.sockets = Sockets()
        self.faults = Faults()
        self._world = world
        self._clock = clock
        self._cursor = world.cursor()
        self._sessions: dict[int, Session] = {}
        self._rest = OkxRest(world, clock, self.faults)

    # --- The front -------------------------------------------------------------------------------------------------

    def routes(self) -> Iterable[web.RouteDef]:
        """Return OKX's paths."""
        yield web.get("/ws/v5/public", self._public_socket)
        yield web.get("/ws/v5/private", self._private_socket)
        yield from self._rest.routes()

    def tick(self, now_ms: int) -> None:
        """Hand the world's changes to the connections that they concern, and let each send what is due."""
        events, self._cursor = self._world.events_since(self._cursor)
        for session in tuple(self._sessions.values()):
            session.now_ms = now_ms
            for event in events:
                if not isinstance(event, MarkChanged) and session.account and event.account == session.account.name:
                    session.note(event)
            session.tick(now_ms)

    def malformed(self, socket: Socket) -> str:
        """Return a frame cut in the middle."""
        channel = "positions" if socket.connection == "private" else "mark-price"
        return f'{{"arg":{{"channel":"{channel}","instType":"ANY"}},"data":[{{"instId":"BTC-USDT-SW'

    def notice(self, socket: Socket, now_ms: int, seconds: float) -> bool:
        """Announce a service upgrade (64008)."""
        session = self._sessions.get(socket.id)
        if session is None:
            return False
        session.now_ms = now_ms
        session.announce(int(seconds * 1000))
        return True

    def credentials(self) -> list[Mapping[str, Any]]:
        """Return the accounts with key, secret and passphrase, and the keys that the venue refuses here."""
        return [
            {
                "name": a.name, "key": a.key, "secret": a.secret, "passphrase": a.passphrase,
                "demo_key": key_of(a, "demo"), "elsewhere_key": key_of(a, "elsewhere"),
            }
            for a in self._world.accounts_of("okx")
        ]  # fmt: skip

    # --- WebSocket -------------------------------------------------------------------------------------------------

    async def _public_socket(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "public")

    async def _private_socket(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "private")

    async def _serve(self, request: web.Request, connection: Connection) -> web.StreamResponse:
        demo = request.query.get("brokerId") == DEMO_BROKER
        async with self.sockets.accept(request, connection, slow_code=4005, max_frame_bytes=MAX_FRAME_BYTES) as socket:
            session = Session(self._world, socket, self.faults, self._sessions.values(), self._clock(), demo)
            self._sessions[socket.id] = session
            try:
                async for text in socket:
                    session.handle(text, self._clock())
            finally:
                del self._sessions[socket.id]
            return socket.response
