"""Bybit's v5 dialect over the world: its connections, what a client says on them, and how it is answered.

Owns logins, subscriptions and heartbeats; what is pushed is ``bybit_push``, REST is ``bybit_rest``. Never changes the world.
Sources: Bybit v5 docs (Integration Guidance, Connect), live frames where the docs are silent; what is not documented is marked
"assumed".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from exchanges.sim import bybit_market as market
from exchanges.sim.bybit_books import Books
from exchanges.sim.bybit_keys import Keyring
from exchanges.sim.bybit_push import Pushes, text_of
from exchanges.sim.bybit_rest import BybitRest
from exchanges.sim.catalog import VenueName
from exchanges.sim.front import Clock, Faults
from exchanges.sim.sockets import Socket, Sockets
from exchanges.sim.state import Account
from exchanges.sim.world import World

PRIVATE_TOPICS = ("position", "wallet", "order", "execution")
IDLE_MS = 600_000  # "max_active_time" when the address does not say otherwise
MAX_ARGS_CHARS = 21_000
MAX_SPOT_ARGS = 10
SLOW_CLOSE = 1008  # assumed: Bybit documents no code
_LOGIN_REFUSALS = {
    "10002": "invalid request, please check your server timestamp or recv_window param.",  # assumed: REST's words
    "10003": "Invalid apikey",
    "10004": "error sign!",
    "10010": "Unmatched IP",
    "33004": "Your api key has expired.",
}


@dataclass
class Session:
    """What is kept of one connection.

    Attributes:
        category: Of a public socket; ``""`` on the private one.
        topics, fresh: Subscribed, in order; just now, with no snapshot sent yet.
        idle_ms: With no frame either way for this long the connection is cut.
        active_at: When the last frame passed.
    """

    id: str
    category: str
    idle_ms: int
    active_at: int
    account: Account | None = None
    topics: dict[str, None] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)

    @property
    def private(self) -> bool:
        """True on the private socket."""
        return not self.category


class BybitFront:
    """See ``front.Front``."""

    name: VenueName = "bybit"

    def __init__(self, world: World, clock: Clock) -> None:
        self.world, self.clock = world, clock
        self.sockets, self.faults = Sockets(), Faults()
        books = Books(world, clock())
        self._keyring = Keyring(world, self.faults)
        self._pushes = Pushes(world, self.sockets, self.faults, books)
        self._rest = BybitRest(world, clock, self.faults, self._keyring, books, self._pushes.catch_up)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return Bybit's paths; REST and all streams share one port."""
        yield from self._rest.routes()
        yield web.get("/v5/private", self._private)
        yield web.get(f"/v5/public/{{category:{'|'.join(market.CATEGORIES)}}}", self._public)

    def credentials(self) -> list[Mapping[str, Any]]:
        """Return name, key and secret of every account, and the keys beside them."""
        return self._keyring.credentials()

    def malformed(self, socket: Socket) -> str:
        """Return a frame cut in the middle."""
        topic = "position" if socket.connection == "private" else "tickers.BTCUSDT"
        return f'{{"topic":"{topic}","data":[{{"symbol":"BTCUSDT","size":'

    def notice(self, socket: Socket, now_ms: int, seconds: float) -> bool:
        """Return False: Bybit's data sockets break without announcement."""
        return False

    def tick(self, now_ms: int) -> None:
        """Send what happened and the tickers of this 100 ms; cut idle connections."""
        self._pushes.catch_up(now_ms)
        self._pushes.tick(now_ms)
        for socket in self.sockets:
            if now_ms - socket.state.active_at > socket.state.idle_ms:
                socket.abort()

    # --- Frames that come in ---------------------------------------------------------------------------------------

    async def _private(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "")

    async def _public(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, request.match_info["category"])

    async def _serve(self, request: web.Request, category: str) -> web.StreamResponse:
        kind: Any = "public" if category else "private"
        async with self.sockets.accept(request, kind, slow_code=SLOW_CLOSE) as socket:
            name = hashlib.sha256(f"{self.world.seed}:{socket.id}".encode()).hexdigest()[:20] + f"-{socket.id:x}"
            idle_ms = idle_time(request.query.get("max_active_time"))
            socket.state = Session(name, category, idle_ms, self.clock())
            async for text in socket:
                socket.state.active_at = self.clock()
                socket.send(text_of(self._answer(socket, socket.state, text)))
                if category:
                    self._pushes.first(socket, self.clock())
        return socket.response

    def _answer(self, socket: Socket, session: Session, text: str) -> dict[str, Any]:
        """Return the answer to one frame; whatever it is, the connection stays open."""
        now_ms = self.clock() + self.faults.clock_skew_ms
        try:
            command = json.loads(text)
        except ValueError:
            command = None
        if not isinstance(command, dict):
            return _refusal(session, "", f"Failed to decode incoming data:{text[:100]}", {})
        match command.get("op"):
            case "ping":
                return _pong(session, command, now_ms)
            case "auth" if session.private:
                return self._log_in(socket, session, command, now_ms)
            case "subscribe" | "unsubscribe" as op:
                return self._subscribe(session, command, op)
            case _:
                return _refusal(session, str(command.get("op")), "error:invalid op", command)

    def _log_in(self, socket: Socket, session: Session, command: dict[str, Any], now_ms: int) -> dict[str, Any]:
        args = command.get("args")
        if not isinstance(args, list) or len(args) != 3 or not str(args[1]).isdigit() or int(args[1]) <= now_ms:
            return _refusal(session, "auth", "Params Error", {})
        key = self._keyring.find(str(args[0]))
        told = self.faults.take_wrong_login()
        wrong = self._keyring.refusal(key, f"GET/realtime{args[1]}", str(args[2]), now_ms) if key else 10003
        if told is None and key and not wrong:
            session.account = key.account
            socket.accounts = {key.account.name}
            return _logged_in(session, socket.id)
        code = told or str(wrong or 10004)
        what = _LOGIN_REFUSALS.get(code, "error")
        refusal = {"op": "auth", "success": False, "retCode": int(code), "retMsg": what, "connId": session.id}
        return refusal if socket.id % 2 else _refusal(session, "auth", what, {})

    def _subscribe(self, session: Session, command: dict[str, Any], op: str) -> dict[str, Any]:
        """Take all topics of a request, or none of them where one is wrong."""
        args = command.get("args")
        if not isinstance(args, list) or not args or not all(isinstance(topic, str) for topic in args):
            return _refusal(session, op, "Params Error", command)
        if session.private and session.account is None:  # assumed: the text is not documented
            return _refusal(session, op, "Request not authorized", command)
        if session.category == "option":
            return self._subscribe_options(session, args, op)
        why = self._why_not(session, args, op)
        if why:
            return _refusal(session, op, why, command)
        self._take(session, args, op)
        told = op if session.category == "spot" else ""
        return {"success": True, "ret_msg": told, "conn_id": session.id, "req_id": command.get("req_id", ""), "op": op}

    def _take(self, session: Session, topics: list[str], op: str) -> None:
        for topic in topics:
            if op == "unsubscribe":
                session.topics.pop(topic, None)
            elif topic not in session.topics:
                session.topics[topic] = None
                if not session.private:
                    session.fresh.append(topic)

    def _subscribe_options(self, session: Session, topics: list[str], op: str) -> dict[str, Any]:
        """The option socket tells which topics failed and takes the others."""
        known = [topic for topic in topics if self._known(session, topic)]
        self._take(session, known, op)
        data = {"failTopics": [topic for topic in topics if topic not in known], "successTopics": known}
        return {"success": bool(known), "conn_id": session.id, "data": data, "type": "COMMAND_RESP"}

    def _why_not(self, session: Session, topics: list[str], op: str) -> str:
        if session.category == "spot" and len(topics) > MAX_SPOT_ARGS:
            return f"args size >{MAX_SPOT_ARGS}"
        for topic in topics:
            if not self._known(session, topic):
                return f"error:handler not found,topic:{topic}"
        if op == "unsubscribe":
            return ""
        for topic in topics:
            if topic in session.topics:
                return f"error:already subscribed,topic:{topic}"
        if any(
            f"{kind}.{category}" in topics
            for kind in PRIVATE_TOPICS
            if kind in topics
            for category in market.CATEGORIES
        ):
            return "error:all-in-one and categorised topics cannot be mixed"  # assumed: the text is not documented
        if not session.private and sum(map(len, [*session.topics, *topics])) > MAX_ARGS_CHARS:
            return "error:args length exceeds limit"  # assumed: the text is not documented
        return ""

    def _known(self, session: Session, topic: str) -> bool:
        kind, _, rest = topic.partition(".")
        if session.private:
            return kind in PRIVATE_TOPICS and (not rest or (rest in market.CATEGORIES and kind != "wallet"))
        return kind == "tickers" and self._pushes.knows(session.category, rest)


def idle_time(text: str | None) -> int:
    """Return ``max_active_time`` of an address (``30s`` … ``600s``, ``1m`` … ``10m``) in milliseconds; else the default."""
    found = re.fullmatch(r"(\d{1,3})([sm])", text or "")
    if not found:
        return IDLE_MS
    milliseconds = int(found[1]) * (1_000 if found[2] == "s" else 60_000)
    return milliseconds if 30_000 <= milliseconds <= IDLE_MS else IDLE_MS


def _logged_in(session: Session, number: int) -> dict[str, Any]:
    """Both shapes of success are seen on the wire: connections alternate."""
    if number % 2:
        return {"success": True, "ret_msg": "", "op": "auth", "conn_id": session.id}
    return {"op": "auth", "success": True, "retCode": 0, "retMsg": "OK", "connId": session.id}


def _refusal(session: Session, op: str, why: str, command: Mapping[str, Any]) -> dict[str, Any]:
    found = {"success": False, "ret_msg": why, "conn_id": session.id, "op": op}
    return {**found, "req_id": command["req_id"]} if "req_id" in command else found


def _pong(session: Session, command: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """Public sockets answer with op ``ping``, the private one and that of options with op ``pong`` and the venue's clock."""
    if session.category == "option":
        return {"args": [str(now_ms)], "op": "pong"}
    if session.private:
        echoed = {"req_id": command["req_id"]} if "req_id" in command else {}
        return {**echoed, "op": "pong", "args": [str(now_ms)], "conn_id": session.id}
    return {
        "success": True, "ret_msg": "pong", "conn_id": session.id, "req_id": command.get("req_id", ""), "op": "ping",
    }  # fmt: skip
