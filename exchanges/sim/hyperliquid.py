"""Hyperliquid's dialect over the world: ``POST /info`` and the one WebSocket for public and user data.

Owns subscriptions, limits and what is due on which socket. Never changes the world. Nothing is signed: everything is public
by address. States are pushed whole every few seconds and never because of a fill, while fills come at once: a client sees a
fill that the position does not show yet. Sources: Hyperliquid docs ("Info endpoint", "Websocket", "Timeouts and
heartbeats", "Rate limits"); error texts as seen on the wire.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from exchanges.sim import hyperliquid_figures as figures
from exchanges.sim import hyperliquid_market as market
from exchanges.sim.catalog import VenueName
from exchanges.sim.changes import OrderChanged
from exchanges.sim.front import Clock, Faults, send_private
from exchanges.sim.hyperliquid_events import pushes
from exchanges.sim.hyperliquid_info import Info, Unreadable, address_of, weight_of
from exchanges.sim.hyperliquid_market import SPOT_PAIR
from exchanges.sim.sockets import Socket, Sockets
from exchanges.sim.world import World

Row = dict[str, Any]

MAX_CONNECTIONS = 10
MAX_USERS = 10  # as documented; the error text speaks of 15
MAX_SUBSCRIPTIONS = 1_000
WEIGHT_PER_MINUTE = 1_200
MINUTE_MS = 60_000
IDLE_MS = 60_000  # counted from the last frame that the server sent
STATE_EVERY_MS = 4_000
STATE_SPREAD_MS = 1_000  # a state is due 4 to 5 s after the one before
CONTEXT_EVERY_MS = 1_000
MIDS_EVERY_MS = 5_000
RECENT = 100  # rows of a snapshot
SLOW_CLOSE = 1008  # assumed: not documented

# Subscription types with a user, whose whole state comes again every 4 to 5 s.
_STATES = ("clearinghouseState", "allDexsClearinghouseState", "spotState", "webData3", "openOrders")
# Those that tell what was last when they are subscribed, and then what happens.
_HISTORIES = ("userFills", "userTwapSliceFills", "userFundings", "userNonFundingLedgerUpdates")
# Those that tell nothing when they are subscribed, and name no user.
_EVENTS = ("userEvents", "orderUpdates")
_OF_USERS = (*_STATES, *_HISTORIES, *_EVENTS)
_TYPES = (*_OF_USERS, "activeAssetCtx", "fastAssetCtxs", "allMids")
_CHANNELS = {"userEvents": "user"}
_EVERY_MS = {"activeAssetCtx": CONTEXT_EVERY_MS, "allMids": MIDS_EVERY_MS}


@dataclass
class Subscription:
    """One subscription as the venue normalised it; ``due_at`` is None where only events bring frames."""

    wanted: Row
    due_at: int | None


@dataclass
class Session:
    """What is kept of one connection: subscriptions by their canonical text, and when a frame was last sent."""

    sent_at: int
    subscriptions: dict[str, Subscription] = field(default_factory=dict)


class HyperliquidFront:
    """See ``front.Front``."""

    name: VenueName = "hyperliquid"

    def __init__(self, world: World, clock: Clock) -> None:
        self.world, self.clock = world, clock
        self.sockets, self.faults = Sockets(), Faults()
        self._cursor = world.cursor()
        self._info = Info(world, self.now)
        self._prices = market.prices(world)
        self._priced_at = world.now_ms
        self._made = 0
        self._minute = 0
        self._used = 0
        self._allowed = WEIGHT_PER_MINUTE

    def routes(self) -> Iterable[web.RouteDef]:
        """Return Hyperliquid's two paths."""
        return [web.post("/info", self._answer_info), web.get("/ws", self._serve)]

    def credentials(self) -> list[Mapping[str, Any]]:
        """Return name and address of every account, and of its API wallet (an address to be refused by name)."""
        return [{"name": a.name, "address": a.address, "agent": a.agent} for a in self.world.accounts_of("hyperliquid")]

    def malformed(self, socket: Socket) -> str:
        """Return a frame cut in the middle."""
        return '{"channel":"allDexsClearinghouseState","data":{"user":"0x00","clearinghouseStates":[["",{"marginSum'

    def notice(self, socket: Socket, now_ms: int, seconds: float) -> bool:
        """Return False: the venue restarts without announcement."""
        return False

    def now(self) -> int:
        """Return the time as the venue shows it."""
        return self.clock() + self.faults.clock_skew_ms

    # --- What is due -----------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Send events, changed prices, and each subscription's next state; close connections that nothing was sent to."""
        self.catch_up(now_ms)
        if now_ms - self._priced_at >= CONTEXT_EVERY_MS:
            self._priced_at = now_ms
            self._push_prices(now_ms)
        for socket in self.sockets:
            for subscription in socket.state.subscriptions.values():
                if subscription.due_at is not None and now_ms >= subscription.due_at:
                    subscription.due_at = now_ms + self._pause(subscription.wanted["type"])
                    self._send_snapshot(socket, subscription.wanted, now_ms)
            if now_ms - socket.state.sent_at > IDLE_MS:
                socket.close(1000, "Inactive")

    def catch_up(self, now_ms: int) -> None:
        """Send what happened so far, so that no answer tells more than the stream did."""
        events, self._cursor = self.world.events_since(self._cursor)
        for event in events:
            if isinstance(event, OrderChanged) and self.world.account(event.account).venue == "hyperliquid":
                self._info.note(event.order)
        for account, kind, data in pushes(self.world, events):
            frame = _channel(_CHANNELS.get(kind, kind), data)
            for socket, _ in self._subscribed(kind, self.world.account(account).address):
                socket.state.sent_at = now_ms
                send_private(socket, frame, account)

    def _push_prices(self, now_ms: int) -> None:
        """Send ``fastAssetCtxs``: changed coins only, and of them changed keys only; nothing where nothing changed."""
        now = market.prices(self.world)
        changed = {
            coin: {key: value for key, value in pair.items() if self._prices.get(coin, {}).get(key) != value}
            for coin, pair in now.items()
            if pair != self._prices.get(coin)  # a coin that was listed since is told whole
        }
        self._prices = now
        if changed:
            frame = _channel("fastAssetCtxs", deflated(changed))
            for socket, _ in self._subscribed("fastAssetCtxs"):
                self._send(socket, frame, now_ms)

    def _subscribed(self, kind: str, user: str | None = None) -> Iterator[tuple[Socket, Subscription]]:
        for socket in self.sockets:
            for subscription in socket.state.subscriptions.values():
                if subscription.wanted["type"] == kind and subscription.wanted.get("user") == user:
                    yield socket, subscription

    def _pause(self, kind: str) -> int:
        self._made += 1
        return _EVERY_MS.get(kind) or STATE_EVERY_MS + self._made * 370 % STATE_SPREAD_MS

    def _send(self, socket: Socket, frame: str, now_ms: int) -> None:
        socket.state.sent_at = now_ms
        socket.send(frame)

    def _send_snapshot(self, socket: Socket, wanted: Row, now_ms: int) -> None:
        """Send a subscription's whole present state, if it has one."""
        if wanted["type"] in _EVENTS:
            return
        frame, account = self._frame(wanted, self.now()), self._info.name_of(wanted.get("user", ""))
        if account is None:
            self._send(socket, frame, now_ms)
        else:
            socket.state.sent_at = now_ms
            send_private(socket, frame, account, snapshot=True)

    # --- Frames ----------------------------------------------------------------------------------------------------

    def _frame(self, wanted: Row, now_ms: int) -> str:
        """Return a subscription's whole present state: its snapshot, and what comes again when it is due."""
        kind = wanted["type"]
        user = wanted.get("user", "")

        def recent(name: str, rows: list[Row]) -> Row:
            return {"isSnapshot": True, "user": user, name: rows}

        make: Mapping[str, Callable[[], Any]] = {
            "clearinghouseState": lambda: {
                "dex": wanted["dex"],
                "user": user,
                "clearinghouseState": self._info.state(user, wanted["dex"], now_ms),
            },
            "allDexsClearinghouseState": lambda: {
                "user": user,
                "clearinghouseStates": [[dex, self._info.state(user, dex, now_ms)] for dex in figures.DEXES],
            },
            "spotState": lambda: {"user": user, "spotState": self._info.spot(user)},
            "webData3": lambda: self._web_data(user, now_ms),
            "openOrders": lambda: {
                "dex": wanted["dex"],
                "user": user,
                "orders": self._info.open_orders(user, wanted["dex"], long=True),
            },
            "userFills": lambda: recent("fills", self._info.recent_fills(user, RECENT)),
            "userTwapSliceFills": lambda: recent("twapSliceFills", self._info.recent_slices(user, RECENT)),
            "userFundings": lambda: recent("fundings", self._info.fundings(user, RECENT)),
            "userNonFundingLedgerUpdates": lambda: recent("nonFundingLedgerUpdates", self._info.ledger(user)),
            "activeAssetCtx": lambda: {"coin": wanted["coin"], "ctx": self._info.context(wanted["coin"])},
            "fastAssetCtxs": lambda: deflated(self._prices),
            "allMids": lambda: self._info.all_mids(wanted["dex"]),
        }
        channel = "activeSpotAssetCtx" if wanted.get("coin") == SPOT_PAIR else kind
        return _channel(channel, make[kind]())

    def _web_data(self, user: str, now_ms: int) -> Row:
        """Return the account's mode (standard: ``abstraction`` is absent) and the venue's clock; it carries no positions."""
        state: Row = {"cumLedger": "0.0", "serverTime": now_ms, "isVault": False, "user": user}
        if self._info.mode_of(user) != "standard":
            state["abstraction"] = figures.MODES[self._info.mode_of(user)]
        return {"userState": state, "perpDexStates": [{"totalVaultEquity": "0.0"} for _ in figures.DEXES]}

    # --- Commands --------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if len(self.sockets) >= MAX_CONNECTIONS:
            return web.Response(status=429, text="Too many websocket connections")
        async with self.sockets.accept(request, "public", slow_code=SLOW_CLOSE) as socket:
            socket.state = Session(self.clock())
            async for text in socket:
                now_ms = self.clock()
                self.catch_up(now_ms)
                for frame in self._command(socket, text, now_ms):
                    self._send(socket, frame, now_ms)
            return socket.response

    def _command(self, socket: Socket, text: str, now_ms: int) -> list[str]:
        """Return the answers to one frame (a snapshot is sent by itself); an error never closes the connection."""
        try:
            command = json.loads(text)
        except ValueError:
            return [_unparsable(text)]
        match command:
            case {"method": "ping"}:
                return [_compact({"channel": "pong"})]
            case {"method": "subscribe" | "unsubscribe" as method, "subscription": {"type": str(kind)} as asked} if (
                kind in _TYPES
            ):
                return self._change(socket, method, dict(asked), text, now_ms)
            case {"method": "post", "id": int(number), "request": {"type": "info", "payload": dict(question)}}:
                return [self._post(number, question, text)]
            case _:
                return [_unparsable(text)]

    def _change(self, socket: Socket, method: str, asked: Row, text: str, now_ms: int) -> list[str]:
        try:
            wanted = self._normalised(asked)
        except Unreadable:
            return [_unparsable(text)]
        if wanted is None:
            return [_error(f"Invalid subscription {_compact(asked)}")]
        name, held = _compact(wanted), socket.state.subscriptions
        ack = _channel("subscriptionResponse", {"method": method, "subscription": wanted})
        if method == "unsubscribe":
            if name not in held:
                return [_error(f"Already unsubscribed: {name}")]
            del held[name]
            self._note_accounts(socket)
            return [ack]
        refusal = self._too_many(wanted)
        if name in held or refusal:
            return [_error(refusal if name not in held else f"Already subscribed: {name}")]
        pause = self._pause(wanted["type"]) if wanted["type"] in (*_STATES, *_EVERY_MS) else None
        held[name] = Subscription(wanted, None if pause is None else now_ms + pause)
        self._note_accounts(socket)
        self._send(socket, ack, now_ms)
        self._send_snapshot(socket, wanted, now_ms)
        return []

    def _normalised(self, asked: Row) -> Row | None:
        """Return a subscription as the venue acknowledges it: known keys with defaults, lower-case address; None: invalid.

        Raises:
            Unreadable: A user is missing or is no address.
        """
        kind = asked["type"]
        wanted: Row = {"type": kind}
        if kind in _OF_USERS:
            wanted["user"] = address_of(asked.get("user"))
        if kind in {"clearinghouseState", "openOrders", "allMids"}:
            wanted["dex"] = asked.get("dex") or ""
            if wanted["dex"] not in figures.DEXES:
                return None
        if kind == "spotState":
            wanted["ignorePortfolioMargin"] = bool(asked.get("ignorePortfolioMargin"))
        if kind == "userFills":
            wanted["aggregateByTime"] = bool(asked.get("aggregateByTime"))
        if kind == "activeAssetCtx":
            wanted["coin"] = asked.get("coin")
            if not self._info.lists(wanted["coin"]):
                return None
        return wanted

    def _too_many(self, wanted: Row) -> str:
        """Return why a further subscription is refused, or ``""``; limits count all connections of an address."""
        held = [s for socket in self.sockets for s in socket.state.subscriptions.values()]
        users = {s.wanted["user"] for s in held if "user" in s.wanted}
        if "user" in wanted and wanted["user"] not in users and len(users) >= MAX_USERS:
            return "Cannot track more than 15 total users."
        if len(held) >= MAX_SUBSCRIPTIONS:
            return f"Cannot track more than {MAX_SUBSCRIPTIONS} total subscriptions."  # assumed: the text is not documented
        return ""

    def _note_accounts(self, socket: Socket) -> None:
        """Tell whose data a connection carries, so that faults can be aimed at it."""
        names = (self._info.name_of(s.wanted.get("user", "")) for s in socket.state.subscriptions.values())
        socket.accounts = {name for name in names if name}
        socket.connection = "private" if socket.accounts else "public"

    def _post(self, number: int, question: Row, text: str) -> str:
        """Return the answer to a question that came over the socket; it costs what it costs over REST."""
        try:
            data = self._info.answer(question)
        except Unreadable:
            return _unparsable(text)
        response: Row = {"type": "info", "payload": {"type": question["type"], "data": data}}
        if not self._charge(weight_of(question, data)):
            response = {"type": "error", "payload": "429 Too Many Requests"}
        return _channel("post", {"id": number, "response": response})

    async def _answer_info(self, request: web.Request) -> web.Response:
        if self.faults.take_limit(self.clock()):
            return _too_many()
        self.catch_up(self.clock())
        try:
            question = json.loads(await request.text())
            answer = self._info.answer(question)
        except (ValueError, Unreadable):
            self._charge(weight_of(None))
            return web.Response(status=422, text="Failed to deserialize the JSON body into the target type")
        if not self._charge(weight_of(question, answer)):
            return _too_many()
        return web.Response(text=_compact(answer), content_type="application/json")

    def _charge(self, weight: int) -> bool:
        """Count a question against the address's minute; False: it is one too many."""
        minute = self.clock() // MINUTE_MS
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += weight
        return self._used <= self._allowed


def _too_many() -> web.Response:
    return web.Response(status=429, text="null", content_type="application/json")


def deflated(value: Any) -> str:
    """Return JSON as base64 of a raw DEFLATE stream (no zlib header), as ``fastAssetCtxs`` sends it."""
    squeezer = zlib.compressobj(wbits=-15)
    return base64.b64encode(squeezer.compress(_compact(value).encode()) + squeezer.flush()).decode()


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _channel(name: str, data: Any) -> str:
    return _compact({"channel": name, "data": data})


def _error(what: str) -> str:
    return _channel("error", what)


def _unparsable(text: str) -> str:
    return _error(f"Error parsing JSON into valid websocket request: {text}")
