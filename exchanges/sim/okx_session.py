"""One OKX WebSocket connection: login gate, subscriptions, acknowledgements, heartbeat, its end.

Owns the state of a connection; what it pushes is ``okx_push``, who may log in ``okx_keys``. Time is an argument. Source: OKX v5
docs, "WebSocket" overview.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from exchanges.sim import okx_figures as figures
from exchanges.sim import okx_market as market
from exchanges.sim import okx_push as push
from exchanges.sim.front import Faults, send_private
from exchanges.sim.okx_keys import LOGIN_ERRORS, Doorman
from exchanges.sim.okx_push import Arg, Pushes, Row, Subscription
from exchanges.sim.sockets import Socket
from exchanges.sim.world import Account, World, WorldEvent

PRIVATE = frozenset({"positions", "account", "balance_and_position", "liquidation-warning", "orders", "fills"})
PUBLIC = frozenset({"mark-price", "index-tickers", "funding-rate", "instruments"})
# Channels with an instType that must be given; ANY is allowed.
TYPED = frozenset({"positions", "liquidation-warning", "orders"})
INST_TYPES = frozenset({"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"})
CONNECTIONS = 30  # per channel and account; ``fills`` is not counted
INTERVALS_MS = {"0": 0, "2000": 2_000, "3000": 3_000, "4000": 4_000}
SILENCE_MS = 30_000
OPERATIONS_PER_HOUR = 480
# What tells two subscriptions apart; extraParams does not.
_IDENTITY = ("channel", "instType", "instFamily", "instId", "ccy")
_LOOKS_MS = {
    "mark-price": 1,
    "index-tickers": 1,
    "funding-rate": push.FUNDING_RATE_MS,
    "instruments": push.LISTING_MS,
    "liquidation-warning": push.WARNING_CHECK_MS,
}


@dataclass
class Session:
    """The dialect of one connection.

    The front calls ``handle`` for every frame of the client, ``note`` for every change of an account, and ``tick`` often.

    Attributes:
        peers: All sessions of the venue: connections of an account are counted over them.
        demo: The client came to the address of the demo environment.
    """

    world: World
    socket: Socket
    faults: Faults
    peers: Iterable[Session]
    now_ms: int
    demo: bool = False
    notice_until: int | None = None

    def __post_init__(self) -> None:
        self._opened_at = self._spoke_at = self.now_ms
        self._operations: list[int] = []
        self._doorman = Doorman(self.world, self.faults)
        self._pushes = Pushes(self.world, self.faults, self._data)

    @property
    def id(self) -> str:
        """The venue's ``connId``."""
        return hashlib.sha256(f"{self.world.seed}:{self.socket.id}".encode()).hexdigest()[:8]

    @property
    def private(self) -> bool:
        """True on the private path."""
        return self.socket.connection == "private"

    @property
    def account(self) -> Account | None:
        """Who is logged in."""
        return self._pushes.account

    @property
    def subscriptions(self) -> dict[tuple[str | None, ...], Subscription]:
        """What is subscribed."""
        return self._pushes.subscriptions

    @property
    def _shown_ms(self) -> int:
        """The venue's clock."""
        return self.now_ms + self.faults.clock_skew_ms

    # --- What the client says --------------------------------------------------------------------------------------

    def handle(self, text: str, now_ms: int) -> None:
        """Answer one frame."""
        self.now_ms = self._pushes.now_ms = now_ms
        if text == "ping":
            self._say("pong")
            return
        try:
            frame = json.loads(text)
            operation, args, request = frame["op"], frame["args"], frame.get("id")
            well_formed = isinstance(args, list) and all(isinstance(arg, dict) for arg in args)
        except (ValueError, KeyError, TypeError, AttributeError):
            self._error("60012", f"Invalid request: {text}")
            return
        if not well_formed:
            self._error("60012", f"Invalid request: {text}", request)
        elif operation not in {"login", "subscribe", "unsubscribe"}:
            self._error("60019", f"Invalid op: {operation}", request)
        elif self._too_often():
            self._error("60014", "Requests too frequent", request)
        elif operation == "login":
            self._login(args)
        else:
            for arg in args:
                (self._subscribe if operation == "subscribe" else self._unsubscribe)(arg, request, text)

    def _too_often(self) -> bool:
        self._operations = [at for at in self._operations if at > self.now_ms - 3_600_000]
        self._operations.append(self.now_ms)
        return len(self._operations) > OPERATIONS_PER_HOUR

    def _login(self, args: list[Arg]) -> None:
        if self.account is not None or not self.private:
            self._error("60031", "The WebSocket endpoint does not allow multiple or repeated logins.")
            return
        judged = self._doorman.log_in(args[0] if args else {}, self.demo, self._shown_ms)
        if isinstance(judged, Account):
            code = self.faults.take_wrong_login()
            if code is None:
                self._pushes.account = judged
                self.socket.accounts.add(judged.name)
                self._tell({"event": "login", "code": "0", "msg": "", "connId": self.id})
                return
            judged = code or "60009"
        self._error(judged, LOGIN_ERRORS.get(judged, LOGIN_ERRORS["60009"]))
        self.socket.close(4001, "Login Failed")

    def _subscribe(self, arg: Arg, request: str | None, text: str) -> None:
        channel = arg.get("channel")
        if channel in PRIVATE and self.private and self.account is None:
            self._error("60011", "Please log in", request)
        elif channel in TYPED and self.private and not arg.get("instType"):
            self._error("60012", f"Invalid request: {text}", request)
        elif not self._exists(arg):
            named = ",".join(f"{name}:{arg[name]}" for name in _IDENTITY if arg.get(name))
            self._error(
                "60018",
                f"Wrong URL or {named} doesn't exist. Please use the correct URL, channel and parameters referring to API"
                " document.",
                request,
            )
        elif channel == "fills" and self.account is not None and figures.level(self.account) == "Lv1":
            self._error("64003", "Your trading fee tier doesn't meet the requirement to access this channel", request)
        else:
            self._accept(arg, request)

    def _exists(self, arg: Arg) -> bool:
        """Say whether this path has this channel with these parameters."""
        channel, instrument, kind = arg.get("channel"), arg.get("instId"), arg.get("instType")
        if channel not in (PRIVATE if self.private else PUBLIC):
            return False
        if channel == "index-tickers":
            return market.index_price(self.world, str(instrument)) is not None
        if channel == "instruments":
            return kind in INST_TYPES
        if channel in {"mark-price", "funding-rate"}:
            contract = self.world.contracts.get(("okx", str(instrument)))
            return contract is not None and (channel == "mark-price" or contract.kind == "perp")
        if channel in TYPED and kind not in INST_TYPES | {"ANY"}:
            return False
        return instrument is None or ("okx", instrument) in self.world.contracts

    def _accept(self, arg: Arg, request: str | None) -> None:
        shown = {name: value for name, value in arg.items() if name != "extraParams"}
        ack = {"event": "subscribe", "arg": shown, "connId": self.id}
        self._tell({"id": request, **ack} if request is not None else ack)
        if self.private and self._too_many(str(arg["channel"])):
            return
        every = _interval(arg)
        subscription = Subscription(shown, every, self.now_ms + every)
        self.subscriptions[_identity(arg)] = subscription
        self._pushes.begin(subscription)

    def _too_many(self, channel: str) -> bool:
        """Count the connections of this channel and account; beyond 30 the newest subscription is dead."""
        if channel == "fills":
            return False
        mine = [s for s in self.peers if s.account is self.account and any(k[0] == channel for k in s.subscriptions)]
        count = len(mine) + (self not in mine)
        told = {"channel": channel, "connCount": str(min(count, CONNECTIONS)), "connId": self.id}
        over = count > CONNECTIONS
        self._tell({"event": "channel-conn-count-error" if over else "channel-conn-count", **told})
        return over

    def _unsubscribe(self, arg: Arg, request: str | None, text: str) -> None:
        self.subscriptions.pop(_identity(arg), None)
        ack = {"event": "unsubscribe", "arg": {k: v for k, v in arg.items() if k != "extraParams"}, "connId": self.id}
        self._tell({"id": request, **ack} if request is not None else ack)

    # --- What happens ----------------------------------------------------------------------------------------------

    def note(self, event: WorldEvent) -> None:
        """Take a change of this connection's account."""
        self._pushes.now_ms = self.now_ms
        self._pushes.note(event)

    def tick(self, now_ms: int) -> None:
        """Send what is due; close what has gone silent."""
        self.now_ms = now_ms
        self._pushes.tick(now_ms)
        self._close_when_due()

    def announce(self, ms: int) -> None:
        """Give notice of a service upgrade and close after ``ms``."""
        text = "The connection will soon be closed for a service upgrade. Please reconnect."
        self._tell({"event": "notice", "code": "64008", "msg": text, "connId": self.id})
        self.notice_until = self.now_ms + ms

    def _close_when_due(self) -> None:
        if self.notice_until is not None and self.now_ms >= self.notice_until:
            self.socket.close(1001, "service upgrade")
        never = not self.subscriptions and self.now_ms - self._opened_at >= SILENCE_MS
        if not self.socket.stalled and (never or self.now_ms - self._spoke_at >= SILENCE_MS):
            self.socket.close(4004, "No data received in 30s")

    # --- What goes out ---------------------------------------------------------------------------------------------

    def _data(self, arg: Arg, rows: list[Row], extra: dict[str, Any], snapshot: bool) -> None:
        shown = dict(arg)
        if self.account is not None:
            shown["uid"] = str(self.account.uid)
        text = _json({"arg": shown, **extra, "data": rows})
        self._spoke_at = self.now_ms
        if self.account is None:
            self.socket.send(text)
        else:
            send_private(self.socket, text, snapshot=snapshot)

    def _error(self, code: str, message: str, request: str | None = None) -> None:
        frame = {"event": "error", "code": code, "msg": message, "connId": self.id}
        self._tell({"id": request, **frame} if request is not None else frame)

    def _tell(self, frame: dict[str, Any]) -> None:
        self._say(_json(frame))

    def _say(self, text: str) -> None:
        self._spoke_at = self.now_ms
        self.socket.send(text)


def _json(frame: dict[str, Any]) -> str:
    return json.dumps(frame, separators=(",", ":"))


def _identity(arg: Arg) -> tuple[str | None, ...]:
    return tuple(arg.get(name) for name in _IDENTITY)


def _interval(arg: Arg) -> int:
    """Return how often a subscription is looked after; of ``updateInterval`` only the documented values count."""
    if arg["channel"] not in {"positions", "account"}:
        return _LOOKS_MS.get(arg["channel"], 0)
    try:
        asked = str(json.loads(arg.get("extraParams") or "{}").get("updateInterval"))
    except (ValueError, TypeError, AttributeError):
        asked = ""
    if arg["channel"] == "account":
        return 0 if asked == "0" else push.REGULAR_MS
    return INTERVALS_MS.get(asked, push.REGULAR_MS)
