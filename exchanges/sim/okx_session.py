"""One OKX WebSocket connection: login gate, subscriptions, acknowledgements, snapshots, events, heartbeat.

Owns the state of a connection and when each push is due; what a row says is ``okx_figures``. Time is an argument. Source: OKX
v5 docs, "WebSocket" overview and the channels of the same names.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from exchanges.sim import okx_figures as figures
from exchanges.sim.front import Faults
from exchanges.sim.revalue import Key, Position
from exchanges.sim.sockets import Socket
from exchanges.sim.world import Account, BalanceChanged, PositionChanged, World

Arg = dict[str, Any]

PRIVATE = frozenset({"positions", "account", "balance_and_position"})
PUBLIC = frozenset({"mark-price", "instruments"})
BATCH_MS = 50
REGULAR_MS = 5_000
INTERVALS_MS = {"0": 0, "2000": 2_000, "3000": 3_000, "4000": 4_000}
MARK_MS, MARK_UNCHANGED_MS = 200, 10_000
SILENCE_MS = 30_000
LOGIN_WINDOW_MS = 30_000
OPERATIONS_PER_HOUR = 480
# Snapshots of more positions than this are split in two pages.
PAGE_ROWS = 5
# What tells two subscriptions apart; extraParams does not.
_IDENTITY = ("channel", "instType", "instFamily", "instId", "ccy")

LOGIN_ERRORS = {
    "60004": "Invalid timestamp",
    "60005": "Invalid apiKey",
    "60006": "Timestamp request expired",
    "60007": "Invalid sign",
    "60009": "Login failed.",
    "60024": "Wrong passphrase",
    "60032": "API key doesn't exist.",
    "50101": "APIKey does not match current environment.",
    "63999": "Login failed due to internal error. Please try again later.",
}


def sign(secret: str, text: str) -> str:
    """Return OKX's signature: base64 of HMAC-SHA256."""
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


@dataclass
class Subscription:
    """One subscribed argument.

    Attributes:
        arg: As acknowledged, without extraParams.
        every_ms: How often the whole state is repeated; 0: events only.
        due_at: When the next repetition (mark-price: the next frame, changed or not) is due.
        sent_mark, sent_at: Of mark-price: what was pushed last, and when.
    """

    arg: Arg
    every_ms: int
    due_at: int
    sent_mark: Decimal | None = None
    sent_at: int = 0


@dataclass
class Session:
    """The dialect of one connection.

    The front calls ``handle`` for every frame of the client, ``note`` for every change of an account, and ``tick`` often.
    """

    world: World
    socket: Socket
    faults: Faults
    peers: Iterable[Session]
    now_ms: int
    account: Account | None = None
    subscriptions: dict[tuple[str | None, ...], Subscription] = field(default_factory=dict)
    notice_until: int | None = None

    def __post_init__(self) -> None:
        self._opened_at = self._spoke_at = self.now_ms
        self._operations: list[int] = []
        self._positions: dict[Key, PositionChanged] = {}
        self._balances: dict[str, BalanceChanged] = {}
        self._batch_at: int | None = None

    @property
    def id(self) -> str:
        """The venue's ``connId``."""
        return hashlib.sha256(f"{self.world.seed}:{self.socket.id}".encode()).hexdigest()[:8]

    @property
    def private(self) -> bool:
        """True on the private path."""
        return self.socket.connection == "private"

    # --- What the client says --------------------------------------------------------------------------------------

    def handle(self, text: str, now_ms: int) -> None:
        """Answer one frame."""
        self.now_ms = now_ms
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
        arg = args[0] if args else {}
        code = self._judge(arg) or self._told_to_refuse()
        if code is None:
            self.account = next(a for a in self.world.accounts_of("okx") if a.key == arg["apiKey"])
            self.socket.accounts.add(self.account.name)
            self._tell({"event": "login", "code": "0", "msg": "", "connId": self.id})
            return
        self._error(code, LOGIN_ERRORS.get(code, LOGIN_ERRORS["60009"]))
        self.socket.close(4001, "Login Failed")

    def _judge(self, arg: Arg) -> str | None:
        """Return the code that refuses a login, or None."""
        try:
            at_s = int(arg["timestamp"])
        except (KeyError, ValueError, TypeError):
            return "60004"
        account = next((a for a in self.world.accounts_of("okx") if a.key == arg.get("apiKey")), None)
        if account is None:
            return "60005"
        if abs(self.now_ms - at_s * 1000) > LOGIN_WINDOW_MS:
            return "60006"
        if arg.get("passphrase") != account.passphrase:
            return "60024"
        right = sign(account.secret, f"{arg['timestamp']}GET/users/self/verify")
        return None if hmac.compare_digest(right.encode(), str(arg.get("sign")).encode()) else "60007"

    def _told_to_refuse(self) -> str | None:
        code = self.faults.take_wrong_login()
        return None if code is None else code or "60009"

    def _subscribe(self, arg: Arg, request: str | None, text: str) -> None:
        channel = arg.get("channel")
        if channel in PRIVATE and self.private and self.account is None:
            self._error("60011", "Please log in", request)
        elif channel == "positions" and self.private and not arg.get("instType"):
            self._error("60012", f"Invalid request: {text}", request)
        elif not self._exists(arg):
            named = ",".join(f"{name}:{arg[name]}" for name in _IDENTITY if arg.get(name))
            self._error(
                "60018",
                f"Wrong URL or {named} doesn't exist. Please use the correct URL, channel and parameters referring to API"
                " document.",
                request,
            )
        else:
            self._accept(arg, request)

    def _exists(self, arg: Arg) -> bool:
        """Say whether this path has this channel with these parameters."""
        channel, instrument = arg.get("channel"), arg.get("instId")
        if channel not in (PRIVATE if self.private else PUBLIC):
            return False
        if channel == "mark-price":
            return ("okx", instrument) in self.world.contracts
        if channel == "instruments":
            return arg.get("instType") in {"SWAP", "FUTURES", "SPOT", "MARGIN", "OPTION"}
        return instrument is None or ("okx", instrument) in self.world.contracts

    def _accept(self, arg: Arg, request: str | None) -> None:
        shown = {name: value for name, value in arg.items() if name != "extraParams"}
        key = _identity(arg)
        ack = {"event": "subscribe", "arg": shown, "connId": self.id}
        self._tell({"id": request, **ack} if request is not None else ack)
        every = _interval(arg)
        subscription = Subscription(shown, every, self.now_ms + every)
        if self.private and self._too_many(str(arg["channel"])):
            return
        self.subscriptions[key] = subscription
        self._first_push(subscription)

    def _too_many(self, channel: str) -> bool:
        """Count the connections of this channel and account; beyond 30 the newest subscription is dead."""
        mine = [s for s in self.peers if s.account is self.account and any(k[0] == channel for k in s.subscriptions)]
        count = len(mine) + (self not in mine)
        told = {"channel": channel, "connCount": str(min(count, 30)), "connId": self.id}
        self._tell({"event": "channel-conn-count-error" if count > 30 else "channel-conn-count", **told})
        return count > 30

    def _unsubscribe(self, arg: Arg, request: str | None, text: str) -> None:
        self.subscriptions.pop(_identity(arg), None)
        ack = {"event": "unsubscribe", "arg": {k: v for k, v in arg.items() if k != "extraParams"}, "connId": self.id}
        self._tell({"id": request, **ack} if request is not None else ack)

    # --- What happens ----------------------------------------------------------------------------------------------

    def note(self, event: PositionChanged | BalanceChanged) -> None:
        """Take a change of this connection's account into the batch that goes out 50 ms after its first change."""
        if self._batch_at is None:
            self._batch_at = self.now_ms + BATCH_MS
        if isinstance(event, PositionChanged):
            self._positions[event.position.key] = event
        else:
            self._balances[event.purse] = event

    def tick(self, now_ms: int) -> None:
        """Send what is due: events first, then repetitions of the whole state; close what has gone silent."""
        self.now_ms = now_ms
        repeats = any(s.every_ms and now_ms >= s.due_at for s in self.subscriptions.values())
        if self._batch_at is not None and (now_ms >= self._batch_at or repeats):
            self._flush()  # where both coincide, the event is first
        for subscription in self.subscriptions.values():
            if subscription.arg["channel"] == "mark-price":
                self._push_mark(subscription)
            elif subscription.every_ms and now_ms >= subscription.due_at:
                subscription.due_at = now_ms + subscription.every_ms
                self._regular(subscription)
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

    # --- Pushes ----------------------------------------------------------------------------------------------------

    def _first_push(self, subscription: Subscription) -> None:
        channel = subscription.arg["channel"]
        if channel == "mark-price":
            self._push_mark(subscription)
        elif channel == "balance_and_position":
            self._push_brief(subscription, "snapshot", None)
        else:
            self._regular(subscription)

    def _regular(self, subscription: Subscription) -> None:
        channel = subscription.arg["channel"]
        if channel == "positions":
            rows = self._rows(subscription, self.world.positions(self._owner.name))
            for page, last, part in _pages(rows):
                self._data(subscription, part, {"eventType": "snapshot", "curPage": page, "lastPage": last})
        elif channel == "account":
            ccy = subscription.arg.get("ccy")
            row = figures.account_row(self.world, self._owner, [ccy] if ccy else None)
            self._data(subscription, [row], {"eventType": "snapshot", "curPage": 1, "lastPage": True})

    def _flush(self) -> None:
        """Send the batch: one event frame per subscription that it concerns."""
        changed, money = list(self._positions.values()), list(self._balances)
        self._positions, self._balances, self._batch_at = {}, {}, None
        for subscription in self.subscriptions.values():
            channel = subscription.arg["channel"]
            if channel == "positions" and changed:
                rows = self._rows(subscription, [event.position for event in changed])
                if rows:
                    self._data(subscription, rows, {"eventType": "event_update"})
            elif channel == "account" and money:
                wanted = [ccy for ccy in money if subscription.arg.get("ccy") in {None, ccy}]
                if wanted:
                    row = figures.account_row(self.world, self._owner, wanted)
                    self._data(subscription, [row], {"eventType": "event_update"})
            elif channel == "balance_and_position":
                liquidated = any(event.cause == "liquidated" for event in changed)
                self._push_brief(subscription, "liquidation" if liquidated else "filled", (changed, money))

    def _push_brief(
        self, subscription: Subscription, kind: str, batch: tuple[list[PositionChanged], list[str]] | None
    ) -> None:
        account = self._owner
        positions = self.world.positions(account.name) if batch is None else [event.position for event in batch[0]]
        money = list(account.cash) if batch is None else batch[1]
        row = {
            "pTime": str(self.now_ms),
            "eventType": kind,
            "balData": [figures.brief_balance(self.world, account, ccy) for ccy in money],
            "posData": [figures.brief_position(account, position) for position in positions],
            "trades": [{"instId": p.symbol, "tradeId": str(p.trade_id)} for p in positions if not p.liquidated],
        }
        self._data(subscription, [row], {})

    def _push_mark(self, subscription: Subscription) -> None:
        """Push a changed mark at most every 200 ms, an unchanged one every 10 s."""
        contract = self.world.contract("okx", subscription.arg["instId"])
        mark = self.world.mark("okx", contract.symbol)
        waited = self.now_ms - subscription.sent_at
        if waited >= (MARK_UNCHANGED_MS if mark == subscription.sent_mark else MARK_MS):
            subscription.sent_mark, subscription.sent_at = mark, self.now_ms
            self._data(subscription, [figures.mark_row(self.world, contract, self.now_ms)], {})

    def _rows(self, subscription: Subscription, positions: Iterable[Position]) -> list[figures.Row]:
        return [
            figures.position_row(self.world, self._owner, position, self.now_ms)
            for position in positions
            if _covers(subscription.arg, position)
        ]

    @property
    def _owner(self) -> Account:
        assert self.account is not None, "private channels are subscribed after the login only"
        return self.account

    def _data(self, subscription: Subscription, rows: list[figures.Row], extra: dict[str, Any]) -> None:
        arg = dict(subscription.arg)
        if self.private:
            arg["uid"] = str(self._owner.uid)
        self._tell({"arg": arg, **extra, "data": rows})

    def _error(self, code: str, message: str, request: str | None = None) -> None:
        frame = {"event": "error", "code": code, "msg": message, "connId": self.id}
        self._tell({"id": request, **frame} if request is not None else frame)

    def _tell(self, frame: dict[str, Any]) -> None:
        self._say(json.dumps(frame, separators=(",", ":")))

    def _say(self, text: str) -> None:
        self._spoke_at = self.now_ms
        self.socket.send(text)


def _identity(arg: Arg) -> tuple[str | None, ...]:
    return tuple(arg.get(name) for name in _IDENTITY)


def _interval(arg: Arg) -> int:
    """Return how often a private channel repeats its state; only the documented values of ``updateInterval`` count."""
    if arg["channel"] not in {"positions", "account"}:
        return 0
    try:
        asked = str(json.loads(arg.get("extraParams") or "{}").get("updateInterval"))
    except (ValueError, TypeError, AttributeError):
        asked = ""
    if arg["channel"] == "account":
        return 0 if asked == "0" else REGULAR_MS
    return INTERVALS_MS.get(asked, REGULAR_MS)


def _covers(arg: Arg, position: Position) -> bool:
    if arg.get("instId"):
        return bool(arg["instId"] == position.symbol)
    wanted = arg.get("instFamily")
    return arg.get("instType") in {"ANY", "SWAP"} and wanted in {None, "", position.symbol.removesuffix("-SWAP")}


def _pages(rows: list[figures.Row]) -> Iterator[tuple[int, bool, list[figures.Row]]]:
    """Yield (page, last, rows); no rows are one empty page."""
    if len(rows) <= PAGE_ROWS:
        yield 1, True, rows
        return
    half = (len(rows) + 1) // 2
    yield 1, False, rows[:half]
    yield 2, True, rows[half:]
