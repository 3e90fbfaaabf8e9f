"""Faults of connections, answers and keys: what the venues do wrong, as the control port orders it.

Writes the fronts' ``Faults`` and their sockets, and ends by itself what has an end. Never touches the world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from exchanges.sim.front import Clock, Faults, Front
from exchanges.sim.sockets import Socket
from exchanges.sim.wanted import BadRequest, Wanted, number, one_of, text
from exchanges.sim.world import World

_SOCKETS = ("venue", "account", "connection")
_NOTICE_S = 60.0
_LATE_MS = 2_000.0
_POWERS = ("read", "trade", "withdraw")
# A frame that waits for the next one, which is to overtake it, waits at most this long.
_HELD_MS = 500


@dataclass(frozen=True)
class Kind:
    """One kind of fault: which fields it takes, and what carries it out and returns what was affected."""

    fields: tuple[str, ...]
    act: Callable[[Any, Wanted], list[Any]]


class Disturbances:
    """The faults in force over the fronts of a world."""

    def __init__(self, world: World, fronts: Mapping[str, Front], clock: Clock) -> None:
        self._world = world
        self._fronts = fronts
        self._clock = clock
        self._stalls: list[tuple[float, Socket]] = []
        self._gaps: dict[str, float] = {}
        self._late: dict[str, float] = {}
        self._held: dict[Socket, int] = {}

    def tick(self, now_ms: int) -> None:
        """End what has run its time: stalls, gaps, late answers; let go frames that nothing overtook."""
        over = [socket for until, socket in self._stalls if now_ms >= until]
        self._stalls = [(until, socket) for until, socket in self._stalls if now_ms < until and not socket.closed]
        for socket in over:
            socket.unstall()
        for account in [name for name, until in self._gaps.items() if now_ms >= until]:
            self.speak(account)
        for venue in [name for name, until in self._late.items() if now_ms >= until]:
            del self._late[venue]
            self._fronts[venue].faults.late_rest_ms = 0
        self._let_go(now_ms)

    def hush(self, account: str, seconds: float) -> None:
        """Swallow every private push of an account for that long from now, or longer where it was to last longer."""
        self._gaps[account] = max(self._gaps.get(account, 0.0), self._clock() + 1000 * seconds)
        front = self._fronts.get(self._world.account(account).venue)
        if front is not None:
            front.faults.suppressed.add(account)

    def speak(self, account: str) -> None:
        """Push an account's events again."""
        self._gaps.pop(account, None)
        for front in self._fronts.values():
            front.faults.suppressed.discard(account)

    def unstall(self) -> None:
        """Let every stalled connection speak again."""
        for front in self._fronts.values():
            for socket in front.sockets:
                if socket.stalled:
                    socket.unstall()
        self._stalls.clear()

    def _let_go(self, now_ms: int) -> None:
        waiting = [socket for front in self._fronts.values() for socket in front.sockets if socket.held is not None]
        self._held = {socket: self._held.get(socket, now_ms) for socket in waiting}
        for socket, since in self._held.items():
            if now_ms - since >= _HELD_MS:
                socket.release()

    # --- Connections -----------------------------------------------------------------------------------------------

    def drop(self, wanted: Wanted) -> list[Any]:
        """Close connections, or cut them."""
        code = int(number(wanted, "code", 1001))
        hit = self._matching(wanted)
        for _, socket in hit:
            if wanted.get("abort"):
                socket.abort()
            else:
                socket.close(code, "going away")
        return _told(hit)

    def stall(self, wanted: Wanted) -> list[Any]:
        """Leave connections open but silent."""
        until = self._clock() + 1000 * number(wanted, "seconds", inf)
        hit = self._matching(wanted)
        for _, socket in hit:
            socket.stall()
            self._stalls.append((until, socket))
        return _told(hit)

    def malformed(self, wanted: Wanted) -> list[Any]:
        """Send a frame that nobody can read."""
        hit = self._matching(wanted)
        for front, socket in hit:
            socket.send(front.malformed(socket))
        return _told(hit)

    def notice(self, wanted: Wanted) -> list[Any]:
        """Announce the end of connections."""
        seconds, now = number(wanted, "seconds", _NOTICE_S), self._clock()
        return _told([(f, s) for f, s in self._matching(wanted) if f.notice(s, now, seconds)])

    def gap(self, wanted: Wanted) -> list[Any]:
        """Swallow the private pushes of an account, or of every account of a venue (0 seconds: push again)."""
        venue, account = one_of(wanted, "venue", self._fronts), wanted.get("account")
        if venue is None and account is None:
            raise BadRequest("gap needs account or venue")
        named = [self._world.account(str(account))] if account is not None else self._world.accounts_of(venue)
        seconds = number(wanted, "seconds", inf)
        for owner in named:
            if seconds:
                self.hush(owner.name, seconds)
            else:
                self.speak(owner.name)
        return [owner.name for owner in named]

    def duplicate(self, wanted: Wanted) -> list[Any]:
        """Send the next private frames twice."""
        return self._count(wanted, "duplicate")

    def reorder(self, wanted: Wanted) -> list[Any]:
        """Swap the next pairs of private frames."""
        return self._count(wanted, "reorder")

    def half_frame(self, wanted: Wanted) -> list[Any]:
        """Cut the next private frames in half."""
        return self._count(wanted, "half_frame")

    # --- Answers ---------------------------------------------------------------------------------------------------

    def server_error(self, wanted: Wanted) -> list[Any]:
        """Answer the next REST requests with a gateway's HTML page."""
        return self._count(wanted, "server_error")

    def limit(self, wanted: Wanted) -> list[Any]:
        """Refuse REST requests for their rate: so many, or for so long."""
        fronts = self._venues(wanted)
        for front in fronts:
            if "seconds" in wanted:
                front.faults.limited_until = int(self._clock() + 1000 * number(wanted, "seconds", 0))
            if "count" in wanted or "seconds" not in wanted:
                front.faults.limited = int(number(wanted, "count", 1))
        return [front.name for front in fronts]

    def late_rest(self, wanted: Wanted) -> list[Any]:
        """Compute REST answers at once and deliver them ``ms`` later, for so long (0 ms: on time again)."""
        fronts = self._venues(wanted)
        for front in fronts:
            front.faults.late_rest_ms = int(number(wanted, "ms", _LATE_MS))
            self._late[front.name] = self._clock() + 1000 * number(wanted, "seconds", inf)
        return [front.name for front in fronts]

    def clock_skew(self, wanted: Wanted) -> list[Any]:
        """Let a venue's clock be ahead by ``ms`` (negative: behind, 0: right again)."""
        fronts = self._venues(wanted)
        for front in fronts:
            front.faults.clock_skew_ms = int(number(wanted, "ms", 0, least=-inf))
        return [front.name for front in fronts]

    # --- Keys ------------------------------------------------------------------------------------------------------

    def wrong_login(self, wanted: Wanted) -> list[Any]:
        """Refuse logins that are right."""
        fronts = [front for front in self._venues(wanted) if front.name != "hyperliquid"]
        if not fronts:
            raise BadRequest("hyperliquid has no login: name okx, bybit, aster or no venue")
        for front in fronts:
            front.faults.wrong_logins = int(number(wanted, "count", 1))
            front.faults.wrong_code = str(wanted.get("code", ""))
        return [front.name for front in fronts]

    def key_powers(self, wanted: Wanted) -> list[Any]:
        """Report that an account's key may do these things."""
        name, faults = self._keyed(wanted)
        powers = wanted.get("powers", ["read", "trade"])
        if not isinstance(powers, list) or not set(powers) <= set(_POWERS):
            raise BadRequest(f"powers is {powers!r}: it is a list of {', '.join(_POWERS)}")
        faults.key_powers[name] = tuple(powers)
        return [name]

    def expired_key(self, wanted: Wanted) -> list[Any]:
        """Refuse an account's key as expired."""
        name, faults = self._keyed(wanted)
        faults.expired_keys.add(name)
        return [name]

    def lift(self, wanted: Wanted) -> list[Any]:
        """End every fault of a venue (of all): as if nothing had been ordered. What is closed stays closed."""
        fronts = self._venues(wanted)
        for front in fronts:
            for account in self._world.accounts_of(front.name):
                self._gaps.pop(account.name, None)
            self._late.pop(front.name, None)
            front.faults.clear()
            for socket in front.sockets:
                socket.release()
                if socket.stalled:
                    socket.unstall()
            mine = set(front.sockets)
            self._stalls = [(until, socket) for until, socket in self._stalls if socket not in mine]
        return [front.name for front in fronts]

    # --- Who is meant ----------------------------------------------------------------------------------------------

    def _keyed(self, wanted: Wanted) -> tuple[str, Faults]:
        account = self._world.account(text(wanted, "account"))
        front = self._fronts.get(account.venue)
        if front is None or account.venue == "hyperliquid":
            raise BadRequest(f"{account.name} has no key: Hyperliquid is read by address")
        return account.name, front.faults

    def _count(self, wanted: Wanted, field: str) -> list[Any]:
        fronts = self._venues(wanted)
        for front in fronts:
            setattr(front.faults, field, int(number(wanted, "count", 1)))
        return [front.name for front in fronts]

    def _venues(self, wanted: Wanted) -> list[Front]:
        name = one_of(wanted, "venue", self._fronts)
        return [front for front in self._fronts.values() if name in {None, front.name}]

    def _matching(self, wanted: Wanted) -> list[tuple[Front, Socket]]:
        account = wanted.get("account")
        if account is not None:
            self._world.account(str(account))
        connection = one_of(wanted, "connection", ("public", "private"))
        return [(f, s) for f in self._venues(wanted) for s in f.sockets.matching(connection, account)]


def _told(hit: Iterable[tuple[Front, Socket]]) -> list[Any]:
    return [
        {"venue": f.name, "connection": s.connection, "accounts": sorted(s.accounts), "socket": s.id} for f, s in hit
    ]


KINDS: Mapping[str, Kind] = {
    "drop": Kind((*_SOCKETS, "abort", "code"), Disturbances.drop),
    "stall": Kind((*_SOCKETS, "seconds"), Disturbances.stall),
    "429": Kind(("venue", "count", "seconds"), Disturbances.limit),
    "wrong_login": Kind(("venue", "count", "code"), Disturbances.wrong_login),
    "malformed": Kind(_SOCKETS, Disturbances.malformed),
    "notice": Kind((*_SOCKETS, "seconds"), Disturbances.notice),
    "gap": Kind(("venue", "account", "seconds"), Disturbances.gap),
    "duplicate": Kind(("venue", "count"), Disturbances.duplicate),
    "reorder": Kind(("venue", "count"), Disturbances.reorder),
    "half_frame": Kind(("venue", "count"), Disturbances.half_frame),
    "server_error": Kind(("venue", "count"), Disturbances.server_error),
    "late_rest": Kind(("venue", "ms", "seconds"), Disturbances.late_rest),
    "clock_skew": Kind(("venue", "ms"), Disturbances.clock_skew),
    "key_powers": Kind(("account", "powers"), Disturbances.key_powers),
    "expired_key": Kind(("account",), Disturbances.expired_key),
    "lift": Kind(("venue",), Disturbances.lift),
}
