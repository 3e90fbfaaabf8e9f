"""Bybit's v5 dialect over the world: REST answers, the private stream, the public linear stream.

Owns logins, subscriptions and what is due on which socket. Never changes the world. No private topic has a snapshot: who
connects late asks REST. Sources: Bybit v5 docs (Integration Guidance, Connect, topics by name), live frames where the docs
are silent; what is not documented is marked "assumed".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from exchanges.sim import bybit_figures as figures
from exchanges.sim import bybit_market as market
from exchanges.sim.bybit_rest import BybitRest, sign
from exchanges.sim.catalog import VenueName
from exchanges.sim.changes import BalanceChanged, PositionChanged
from exchanges.sim.front import Clock, Faults
from exchanges.sim.revalue import Position
from exchanges.sim.sockets import Socket, Sockets
from exchanges.sim.state import Account
from exchanges.sim.world import World

PRIVATE_TOPICS = ("position", "wallet", "order", "execution")
CATEGORIES = ("linear", "inverse", "option", "spot")
TICKER_EVERY_MS = 100
# Every account edits an order this often: its position is pushed again with the same seq.
ORDER_EDIT_EVERY_MS = 7_000
IDLE_MS = 600_000  # "max_active_time" when the address does not say otherwise
MAX_ARGS_CHARS = 21_000
SLOW_CLOSE = 1008  # assumed: Bybit documents no code
_LOGIN_REFUSALS = {"10003": "Invalid apikey", "10004": "error sign!", "33004": "Your api key has expired."}


@dataclass
class Session:
    """What is kept of one connection.

    Attributes:
        topics, fresh: Subscribed, in order; just now, with no snapshot sent yet.
        idle_ms: With no frame either way for this long the connection is cut.
        active_at: When the last frame passed.
    """

    id: str
    private: bool
    idle_ms: int
    active_at: int
    account: Account | None = None
    topics: dict[str, None] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)


class BybitFront:
    """See ``front.Front``."""

    name: VenueName = "bybit"

    def __init__(self, world: World, clock: Clock) -> None:
        self.world, self.clock = world, clock
        self.sockets, self.faults = Sockets(), Faults()
        self.contracts = market.contracts(world)
        self._cursor = world.cursor()
        self._seqs: dict[tuple[str, str, int], int] = {}
        self._seq = clock()  # a venue's sequence never starts again: a later run goes on above an earlier one
        self._orders = 0
        self._tickers = {s: market.ticker(world, c, world.now_ms) for s, c in self.contracts.items()}
        self._ticked_at = world.now_ms
        self._edited_at = world.now_ms
        self._rest = BybitRest(self)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return Bybit's paths; REST and both streams share one port."""
        public = web.get(f"/v5/public/{{category:{'|'.join(CATEGORIES)}}}", self._public)
        return [*self._rest.routes(), web.get("/v5/private", self._private), public]

    def credentials(self) -> list[Mapping[str, Any]]:
        """Return name, key and secret of every account."""
        return [{"name": a.name, "key": a.key, "secret": a.secret} for a in self.world.accounts_of("bybit")]

    def malformed(self, socket: Socket) -> str:
        """Return a frame cut in the middle."""
        topic = "position" if socket.connection == "private" else "tickers.BTCUSDT"
        return f'{{"topic":"{topic}","data":[{{"symbol":"BTCUSDT","size":'

    def notice(self, socket: Socket, now_ms: int, seconds: float) -> bool:
        """Return False: Bybit's data sockets break without announcement."""
        return False

    # --- What is due -----------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Send what happened, the tickers of this 100 ms, order edits; cut idle connections."""
        self.catch_up(now_ms)
        if now_ms - self._ticked_at >= TICKER_EVERY_MS:
            self._ticked_at = now_ms
            self._push_tickers(now_ms)
        if now_ms - self._edited_at >= ORDER_EDIT_EVERY_MS:
            self._edited_at = now_ms
            self._edit_orders(now_ms)
        for socket in self.sockets:
            if now_ms - socket.state.active_at > socket.state.idle_ms:
                socket.abort()

    def catch_up(self, now_ms: int) -> None:
        """Push what the world did since last time, so that REST never answers what a stream has not been given yet."""
        events, self._cursor = self.world.events_since(self._cursor)
        for event in events:
            if isinstance(event, PositionChanged) and event.position.venue == "bybit":
                self._push_fill(event, now_ms)
            elif isinstance(event, BalanceChanged):
                account = self.world.accounts[event.account]
                if account.venue == "bybit":
                    row = figures.wallet_row(self.world, account, [event.purse])
                    self._push(account, "wallet", row, now_ms)

    def seq(self, account: Account, symbol: str, index: int) -> int:
        """Return the cross sequence at which a position last traded; -1 when it never did."""
        key = (account.name, symbol, index)
        if key not in self._seqs and any(
            p.symbol == symbol and figures.position_index(account, p) == index for p in account.positions.values()
        ):
            self._seqs[key] = self._next_seq()  # it was open before this front began to count
        return self._seqs.get(key, -1)

    def _next_seq(self) -> int:
        self._seq += 7
        return self._seq

    def _next_order(self, account: Account) -> str:
        self._orders += 1
        digits = hashlib.sha256(f"{self.world.seed}:{account.name}:{self._orders}".encode()).hexdigest()
        return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-8{digits[15:18]}-{digits[18:30]}"

    def _push_fill(self, change: PositionChanged, now_ms: int) -> None:
        position = change.position
        account = self.world.accounts[position.account]
        index = figures.position_index(account, position)
        seq = self._seqs[account.name, position.symbol, index] = self._next_seq()
        fill = figures.execution_row(self.world, change, self._next_order(account), self._next_order(account), seq)
        self._push(account, "execution", fill, now_ms)
        self._push(account, "order", figures.order_row(fill, "Filled", index, now_ms), now_ms)
        self._push_position(account, position, seq, now_ms)

    def _push_position(self, account: Account, position: Position, seq: int, now_ms: int) -> None:
        if self._listeners(account, "position"):
            row = figures.position_row(self.world, account, position, seq)
            self._push(account, "position", figures.pushed_position(row), now_ms)

    def _edit_orders(self, now_ms: int) -> None:
        """Let every account place or cancel a far order: the position comes again, unchanged, with the same seq."""
        for account in self.world.accounts_of("bybit"):
            positions = self.world.positions(account.name)
            if not positions or not self._listeners(account, "position"):
                continue
            turn = now_ms // ORDER_EDIT_EVERY_MS
            position = positions[turn % len(positions)]
            index = figures.position_index(account, position)
            seq = self.seq(account, position.symbol, index)
            change = PositionChanged(now_ms, position, "trade", None, position.size)
            edited = figures.execution_row(self.world, change, self._next_order(account), "", seq)
            status = "New" if turn % 2 else "Cancelled"
            self._push(account, "order", figures.order_row(edited, status, index, now_ms), now_ms)
            self._push_position(account, position, seq, now_ms)

    def _push_tickers(self, now_ms: int) -> None:
        """Send each contract's changed fields, and nothing where nothing changed."""
        for symbol, contract in self.contracts.items():
            before, now = self._tickers[symbol], market.ticker(self.world, contract, now_ms)
            changed = {name: value for name, value in now.items() if before[name] != value}
            if changed:
                self._tickers[symbol] = now
                frame = self._ticker_frame(symbol, "delta", {"symbol": symbol, **changed}, now_ms)
                for socket in self.sockets.matching("public"):
                    if f"tickers.{symbol}" in socket.state.topics:
                        self._send(socket, frame, now_ms)

    def _ticker_frame(self, symbol: str, kind: str, data: dict[str, str], now_ms: int) -> str:
        return _json({"topic": f"tickers.{symbol}", "type": kind, "data": data, "cs": self._next_seq(), "ts": now_ms})

    def _listeners(self, account: Account, kind: str) -> list[tuple[Socket, str]]:
        """Return the account's sockets with the topic under which each subscribed to ``kind``."""
        names = (kind, f"{kind}.linear")
        sockets = self.sockets.matching("private", account.name)
        return [(socket, topic) for socket in sockets for topic in names if topic in socket.state.topics]

    def _push(self, account: Account, kind: str, row: dict[str, Any], now_ms: int) -> None:
        for socket, topic in self._listeners(account, kind):
            frame = {"id": f"{account.uid}_{kind}_{now_ms}", "topic": topic, "creationTime": now_ms, "data": [row]}
            self._send(socket, _json(frame), now_ms)

    def _send(self, socket: Socket, frame: str, now_ms: int) -> None:
        socket.state.active_at = now_ms
        socket.send(frame)

    # --- Frames that come in ---------------------------------------------------------------------------------------

    async def _private(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, private=True)

    async def _public(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, private=False)

    async def _serve(self, request: web.Request, private: bool) -> web.StreamResponse:
        kind: Any = "private" if private else "public"
        async with self.sockets.accept(request, kind, slow_code=SLOW_CLOSE) as socket:
            name = hashlib.sha256(f"{self.world.seed}:{socket.id}".encode()).hexdigest()[:20] + f"-{socket.id:x}"
            idle_ms = idle_time(request.query.get("max_active_time"))
            socket.state = Session(name, private, idle_ms, self.clock())
            async for text in socket:
                now_ms = self.clock()
                for frame in self._answer(socket, socket.state, text, now_ms):
                    self._send(socket, _json(frame), now_ms)
                if not private:
                    self._first_tickers(socket, now_ms)
        return socket.response

    def _answer(self, socket: Socket, session: Session, text: str, now_ms: int) -> list[dict[str, Any]]:
        """Return the answers to one frame; whatever it is, the connection stays open."""
        session.active_at = now_ms
        try:
            command = json.loads(text)
        except ValueError:
            command = None
        if not isinstance(command, dict):
            return [_refusal(session, "", f"Failed to decode incoming data:{text[:100]}", {})]
        match command.get("op"):
            case "ping":
                return [_pong(session, command, now_ms)]
            case "auth" if session.private:
                return [self._log_in(socket, session, command, now_ms)]
            case "subscribe" | "unsubscribe" as op:
                return [self._subscribe(session, command, op)]
            case _:
                return [_refusal(session, str(command.get("op")), "error:invalid op", command)]

    def _log_in(self, socket: Socket, session: Session, command: dict[str, Any], now_ms: int) -> dict[str, Any]:
        args = command.get("args")
        if not isinstance(args, list) or len(args) != 3 or not str(args[1]).isdigit() or int(args[1]) <= now_ms:
            return _refusal(session, "auth", "Params Error", {})
        account = self.account_by_key(str(args[0]))
        code = self.faults.take_wrong_login()
        if code is None and account and hmac.compare_digest(sign(account, f"GET/realtime{args[1]}"), str(args[2])):
            session.account = account
            socket.accounts = {account.name}
            return _logged_in(session, socket.id)
        code = code or ("10004" if account else "10003")
        what = _LOGIN_REFUSALS.get(code, "error")
        refusal = {"op": "auth", "success": False, "retCode": int(code), "retMsg": what, "connId": session.id}
        return refusal if socket.id % 2 else _refusal(session, "auth", what, {})

    def account_by_key(self, key: str) -> Account | None:
        """Return the account that a key belongs to."""
        return next((a for a in self.world.accounts_of("bybit") if hmac.compare_digest(a.key, key)), None)

    def _subscribe(self, session: Session, command: dict[str, Any], op: str) -> dict[str, Any]:
        """Take all topics of a request, or none of them where one is wrong."""
        args = command.get("args")
        if not isinstance(args, list) or not args or not all(isinstance(topic, str) for topic in args):
            return _refusal(session, op, "Params Error", command)
        if session.private and session.account is None:  # assumed: the text is not documented
            return _refusal(session, op, "Request not authorized", command)
        why = self._why_not(session, args, op)
        if why:
            return _refusal(session, op, why, command)
        for topic in args:
            if op == "subscribe":
                session.topics[topic] = None
            else:
                session.topics.pop(topic, None)
        ack = {"success": True, "ret_msg": "", "conn_id": session.id, "req_id": command.get("req_id", ""), "op": op}
        if op == "subscribe" and not session.private:
            session.fresh.extend(args)
        return ack

    def _why_not(self, session: Session, topics: list[str], op: str) -> str:
        for topic in topics:
            if not self._known(session, topic):
                return f"error:handler not found,topic:{topic}"
        if op == "unsubscribe":
            return ""
        for topic in topics:
            if topic in session.topics:
                return f"error:already subscribed,topic:{topic}"
        if any(f"{kind}.{category}" in topics for kind in PRIVATE_TOPICS if kind in topics for category in CATEGORIES):
            return "error:all-in-one and categorised topics cannot be mixed"  # assumed: the text is not documented
        if not session.private and sum(map(len, [*session.topics, *topics])) > MAX_ARGS_CHARS:
            return "error:args length exceeds limit"  # assumed: the text is not documented
        return ""

    def _known(self, session: Session, topic: str) -> bool:
        kind, _, rest = topic.partition(".")
        if session.private:
            return kind in PRIVATE_TOPICS and (not rest or (rest in CATEGORIES and kind != "wallet"))
        return kind == "tickers" and rest in self.contracts

    def _first_tickers(self, socket: Socket, now_ms: int) -> None:
        """Send the snapshots of topics that were just subscribed."""
        fresh, socket.state.fresh = socket.state.fresh, []
        for topic in fresh:
            symbol = topic.partition(".")[2]
            self._send(socket, self._ticker_frame(symbol, "snapshot", self._tickers[symbol], now_ms), now_ms)


def idle_time(text: str | None) -> int:
    """Return ``max_active_time`` of an address (``30s`` … ``600s``, ``1m`` … ``10m``) in milliseconds; else the default."""
    found = re.fullmatch(r"(\d{1,3})([sm])", text or "")
    if not found:
        return IDLE_MS
    milliseconds = int(found[1]) * (1_000 if found[2] == "s" else 60_000)
    return milliseconds if 30_000 <= milliseconds <= IDLE_MS else IDLE_MS


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _logged_in(session: Session, number: int) -> dict[str, Any]:
    """Both shapes of success are seen on the wire: connections alternate."""
    if number % 2:
        return {"success": True, "ret_msg": "", "op": "auth", "conn_id": session.id}
    return {"op": "auth", "success": True, "retCode": 0, "retMsg": "OK", "connId": session.id}


def _refusal(session: Session, op: str, why: str, command: Mapping[str, Any]) -> dict[str, Any]:
    found = {"success": False, "ret_msg": why, "conn_id": session.id, "op": op}
    return {**found, "req_id": command["req_id"]} if "req_id" in command else found


def _pong(session: Session, command: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """The public socket answers with op ``ping``, the private one with op ``pong`` and its clock."""
    if session.private:
        echoed = {"req_id": command["req_id"]} if "req_id" in command else {}
        return {**echoed, "op": "pong", "args": [str(now_ms)], "conn_id": session.id}
    return {
        "success": True,
        "ret_msg": "pong",
        "conn_id": session.id,
        "req_id": command.get("req_id", ""),
        "op": "ping",
    }
