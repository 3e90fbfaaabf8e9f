"""Aster's dialect over the world: its sockets, streams and listen keys. What its REST says is ``aster_rest``.

Owns who listens to what, and when a push is due. Never changes the world. A stream's name is a market stream or a listen key;
one that does not exist is acknowledged and stays silent. Sources: Aster docs "Websocket Market Streams", "Live Subscribing",
"User Data Streams".
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from exchanges.sim import aster_events as events
from exchanges.sim import aster_market as market
from exchanges.sim.aster_commands import Reply, answer
from exchanges.sim.aster_history import History
from exchanges.sim.aster_keys import Keys, logins
from exchanges.sim.aster_rest import AsterRest, compact
from exchanges.sim.catalog import Contract, VenueName
from exchanges.sim.changes import OrderChanged
from exchanges.sim.front import Clock, Faults, send_private
from exchanges.sim.revalue import Pool
from exchanges.sim.sockets import Socket, Sockets
from exchanges.sim.world import World

LISTEN_KEY_MS = 60 * 60_000
MARKS_EVERY_MS, SLOW_MARKS_EVERY_MS = 1_000, 3_000
PING_EVERY_MS, PONG_WITHIN_MS = 5 * 60_000, 15 * 60_000
LIFE_MS = 24 * 60 * 60_000
MAX_STREAMS = 200
COMMANDS_PER_S = 10
ANNOUNCED_EVERY_MS = 10 * 60_000
WARN_ABOVE = 0.8  # of the requirement to the equity of a pool
SLOW_CLOSE = 1008  # assumed: not documented


@dataclass
class ListenKey:
    """An account's key to its own stream, one at a time; a used-up one is never valid again."""

    account: str
    text: str
    until: int


@dataclass
class Session:
    """What is kept of one connection.

    Attributes:
        combined: Frames name their stream.
        streams: Names, as they were asked for.
        pinged_at, unanswered_since, pongs: When the last ping went out, since when none is answered, and how many answers came.
        commands: When the last frames came in.
    """

    opened_at: int
    combined: bool
    pinged_at: int
    unanswered_since: int | None = None
    pongs: int = 0
    streams: set[str] = field(default_factory=set)
    commands: list[int] = field(default_factory=list)


class AsterFront:
    """See ``front.Front``."""

    name: VenueName = "aster"

    def __init__(self, world: World, clock: Clock) -> None:
        self.world, self.clock = world, clock
        self.sockets, self.faults = Sockets(), Faults()
        self._logins = logins(world)
        self.keys = Keys(self._logins, self.faults)
        self.history = History(world, self.now)
        self._events = events.Events(world, random.Random(f"{world.seed}:aster"))
        self._rest = AsterRest(self)
        self._cursor = world.cursor()
        self._listen: dict[str, ListenKey] = {}  # by account
        self._listen_keys_made = 0
        self._marked_at = self._slowly_marked_at = self._announced_at = world.now_ms
        self._warned: set[tuple[str, str]] = set()

    @property
    def contracts(self) -> dict[str, Contract]:
        """What is listed now, by symbol."""
        return {contract.symbol: contract for contract in self.world.listed("aster")}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return Aster's paths."""
        yield from self._rest.routes()
        yield web.get("/ws", self._serve)
        yield web.get("/ws/{names:.+}", self._serve)
        yield web.get("/stream", self._serve)

    def credentials(self) -> list[Mapping[str, Any]]:
        """Return name, wallet address, and key and secret: of V3 the agent's address and private key, of V1 an API key."""
        return [
            {"name": a.account, "address": a.address, "key": a.key, "secret": a.secret, "version": "v1" if a.legacy else "v3"}
            for a in self._logins
        ]  # fmt: skip

    def malformed(self, socket: Socket) -> str:
        """Return a frame cut in the middle."""
        return '{"e":"ACCOUNT_UPDATE","T":1768551627708,"E":1768551627710,"a":{"B":[{"a":"USDT","wb":"39.4'

    def notice(self, socket: Socket, now_ms: int, seconds: float) -> bool:
        """Return False: the venue ends connections without announcement."""
        return False

    def now(self) -> int:
        """Return the time as the venue shows and checks it."""
        return self.clock() + self.faults.clock_skew_ms

    # --- Listen keys -------------------------------------------------------------------------------------------------

    def start_stream(self, account: str, now_ms: int) -> str:
        """Return the account's listen key, the same one while it lives, good for an hour from now on."""
        known = self._listen.get(account)
        if known is None or now_ms >= known.until:
            self._listen_keys_made += 1
            parts = f"{self.world.seed}:{account}:{self._listen_keys_made}"
            known = ListenKey(account, hashlib.sha256(parts.encode()).hexdigest(), 0)
            self._listen[account] = known
        known.until = now_ms + LISTEN_KEY_MS
        return known.text

    def keep_stream(self, account: str, now_ms: int) -> bool:
        """Extend the account's listen key; False: there is none that lives."""
        known = self._listen.get(account)
        if known is None or now_ms >= known.until:
            return False
        known.until = now_ms + LISTEN_KEY_MS
        return True

    def end_stream(self, account: str) -> None:
        """Forget the account's listen key and close its sockets, whoever opened them."""
        known = self._listen.pop(account, None)
        for socket in self.sockets:
            if known and known.text in socket.state.streams:
                socket.close(1000, "listenKey closed")

    def _expire(self, now_ms: int) -> None:
        """Tell the sockets of keys whose hour is over; they stay open and hear nothing more of the account."""
        for account, known in list(self._listen.items()):
            if now_ms >= known.until:
                self._private(account, known.text, {"e": "listenKeyExpired", "E": self.now()})
                del self._listen[account]

    # --- What is due -------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Send account events, marks, warnings and announcements; expire listen keys; ping, and end old connections."""
        self.catch_up(now_ms)
        self._expire(now_ms)
        if now_ms - self._marked_at >= MARKS_EVERY_MS:
            self._marked_at = now_ms
            slow = now_ms - self._slowly_marked_at >= SLOW_MARKS_EVERY_MS
            if slow:
                self._slowly_marked_at = now_ms
            self._push_marks(slow=slow)
            self._warn()
        if now_ms - self._announced_at >= ANNOUNCED_EVERY_MS:
            self._announced_at = now_ms
            for account, known in self._listen.items():
                self._private(account, known.text, events.announcement(now_ms // ANNOUNCED_EVERY_MS, self.now()))
        for socket in self.sockets:
            self._keep_alive(socket, now_ms)

    def catch_up(self, now_ms: int) -> None:
        """Send what happened to accounts so far, so that no answer tells more than the stream did."""
        happened, self._cursor = self.world.events_since(self._cursor)
        for event in happened:
            if isinstance(event, OrderChanged) and self.world.account(event.order.account).venue == "aster":
                self.history.note(event.order)
                if event.order.category == "liquidation":
                    self._publish(
                        f"{event.order.symbol.lower()}@forceOrder", events.forced_order(event.order, self.now())
                    )
        for account, frame in self._events.frames(happened):
            known = self._listen.get(account)
            if known is not None:
                self._private(account, known.text, frame)

    def _push_marks(self, *, slow: bool) -> None:
        now = self.now()
        rows = {symbol: market.mark_price(self.world, c, now) for symbol, c in self.contracts.items()}
        for suffix in ("@1s", "") if slow else ("@1s",):
            for symbol, row in rows.items():
                self._publish(f"{symbol.lower()}@markPrice{suffix}", row)
            self._publish(f"!markPrice@arr{suffix}", list(rows.values()))

    def _warn(self) -> None:
        """Warn accounts of pools that come near liquidation, once until they are safe again."""
        for account in self.world.accounts_of("aster"):
            for pool in self.world.pools(account):
                name = (account.name, pool.name)
                if not _in_danger(pool):
                    self._warned.discard(name)
                elif name not in self._warned:
                    self._warned.add(name)
                    known = self._listen.get(account.name)
                    if known is not None:
                        frame = events.margin_call(self.world, account, pool.positions, self.now())
                        self._private(account.name, known.text, frame)

    def _publish(self, stream: str, data: Any) -> None:
        frames = {combined: _framed(stream, data, combined=combined) for combined in (False, True)}
        for socket in self.sockets:
            if stream in socket.state.streams:
                socket.send(frames[socket.state.combined])

    def _private(self, account: str, stream: str, data: Any) -> None:
        for socket in self.sockets:
            if stream in socket.state.streams:
                send_private(socket, _framed(stream, data, combined=socket.state.combined), account)

    def _keep_alive(self, socket: Socket, now_ms: int) -> None:
        session: Session = socket.state
        if socket.pongs != session.pongs:
            session.pongs, session.unanswered_since = socket.pongs, None
        if now_ms - session.opened_at > LIFE_MS:
            socket.close(1001, "connection is 24 hours old")
        elif session.unanswered_since is not None and now_ms - session.unanswered_since > PONG_WITHIN_MS:
            socket.close(1008, "no pong")
        elif now_ms - session.pinged_at >= PING_EVERY_MS:
            session.pinged_at = now_ms
            session.unanswered_since = session.unanswered_since or now_ms
            socket.ping()

    # --- Connections -------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info.get("names", request.query.get("streams", ""))
        async with self.sockets.accept(request, "public", slow_code=SLOW_CLOSE) as socket:
            now_ms = self.clock()
            socket.state = Session(now_ms, combined=request.path == "/stream", pinged_at=now_ms)
            socket.state.streams.update(name for name in names.split("/") if name)
            self._note_accounts(socket)
            async for text in socket:
                self._command(socket, text, self.clock())
            return socket.response

    def _command(self, socket: Socket, text: str, now_ms: int) -> None:
        session: Session = socket.state
        session.commands = [*(at for at in session.commands if at > now_ms - 1_000), now_ms]
        if len(session.commands) > COMMANDS_PER_S:
            socket.close(1008, "Too many requests")
            return
        self.catch_up(now_ms)
        reply: Reply = answer(text, session.streams, combined=session.combined)
        session.streams, session.combined = reply.streams, reply.combined
        if len(session.streams) > MAX_STREAMS:
            socket.close(1008, "Too many streams")
            return
        self._note_accounts(socket)
        socket.send(json.dumps(reply.frame, separators=(",", ":")))

    def _note_accounts(self, socket: Socket) -> None:
        """Tell whose data a connection carries, so that faults can be aimed at it."""
        socket.accounts = {a for a, known in self._listen.items() if known.text in socket.state.streams}
        socket.connection = "private" if socket.accounts else "public"


def _framed(stream: str, data: Any, *, combined: bool) -> str:
    return compact({"stream": stream, "data": data} if combined else data)


def _in_danger(pool: Pool) -> bool:
    return bool(pool.positions) and float(pool.requirement) > WARN_ABOVE * float(pool.equity)
