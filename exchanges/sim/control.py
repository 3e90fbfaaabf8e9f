"""The simulator's control port: the truth, standing still, and faults on demand.

Owns no state of its own but the stalls that end by themselves. Routes: ``GET /truth``, ``POST /pause``, ``POST /resume``,
``POST /faults``. What is asked wrongly is answered with RFC 9457 problem JSON that names what is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from exchanges.sim.exact import plain
from exchanges.sim.front import Clock, Front
from exchanges.sim.revalue import Position
from exchanges.sim.sockets import Socket
from exchanges.sim.world import Impossible, UnknownName, World

_SOCKETS = ("venue", "account", "connection")
_NOTICE_S = 60.0


class BadRequest(ValueError):
    """A control request that cannot be understood; the message names what is known."""


@dataclass(frozen=True)
class _Kind:
    """One kind of fault: which fields it takes, and what carries it out and returns what was affected."""

    fields: tuple[str, ...]
    act: Callable[[Mapping[str, Any]], list[Any]]


class Control:
    """The routes of the control port over the world and its fronts."""

    def __init__(self, world: World, fronts: Iterable[Front], clock: Clock) -> None:
        self._world = world
        self._fronts = {front.name: front for front in fronts}
        self._clock = clock
        self._stalls: list[tuple[float, Socket]] = []
        self._kinds = {
            "drop": _Kind((*_SOCKETS, "abort", "code"), self._drop),
            "stall": _Kind((*_SOCKETS, "seconds"), self._stall),
            "429": _Kind(("venue", "count", "seconds"), self._limit),
            "wrong_login": _Kind(("venue", "count", "code"), self._wrong_login),
            "malformed": _Kind(_SOCKETS, self._malformed),
            "notice": _Kind((*_SOCKETS, "seconds"), self._notice),
            "close_position": _Kind(("account", "symbol", "side"), self._close_position),
            "open_position": _Kind(("account", "symbol", "side", "size"), self._open_position),
            "shock": _Kind(("underlying", "fraction"), self._shock),
        }

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the control port's routes."""
        yield web.get("/truth", self._get_truth)
        yield web.post("/pause", self._post_pause)
        yield web.post("/resume", self._post_resume)
        yield web.post("/faults", self._post_faults)

    def tick(self, now_ms: int) -> None:
        """End the stalls whose time is over."""
        over = [socket for until, socket in self._stalls if now_ms >= until]
        self._stalls = [(until, socket) for until, socket in self._stalls if now_ms < until and not socket.closed]
        for socket in over:
            socket.unstall()

    def truth(self) -> dict[str, Any]:
        """Return the world as it really is now."""
        return self._world.truth()

    def pause(self) -> None:
        """Let the world stand still; pushes that are due still go out."""
        self._world.step(self._clock())
        self._world.pause()

    def resume(self) -> None:
        """Let the world go on, and every stalled connection speak again."""
        self._world.step(self._clock())
        self._world.resume()
        for front in self._fronts.values():
            for socket in front.sockets:
                if socket.stalled:
                    socket.unstall()
        self._stalls.clear()

    def fault(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one fault and return ``{"kind", "affected": […]}``.

        Raises:
            BadRequest | UnknownName | Impossible: With a message that names what is known.
        """
        name = str(wanted.get("kind"))
        kind = self._kinds.get(name)
        if kind is None:
            raise BadRequest(f"there is no fault {name!r}: there are {', '.join(self._kinds)}")
        strange = [field for field in wanted if field not in {"kind", *kind.fields}]
        if strange:
            raise BadRequest(f"{name} has no field {', '.join(strange)}: it takes {', '.join(kind.fields)}")
        self._world.step(self._clock())
        return {"kind": name, "affected": kind.act(wanted)}

    # --- Faults of connections -------------------------------------------------------------------------------------

    def _drop(self, wanted: Mapping[str, Any]) -> list[Any]:
        code = int(_number(wanted, "code", 1001))
        hit = self._matching(wanted)
        for _, socket in hit:
            if wanted.get("abort"):
                socket.abort()
            else:
                socket.close(code, "going away")
        return [_told(front, socket) for front, socket in hit]

    def _stall(self, wanted: Mapping[str, Any]) -> list[Any]:
        until = self._clock() + 1000 * _number(wanted, "seconds", float("inf"))
        hit = self._matching(wanted)
        for _, socket in hit:
            socket.stall()
            self._stalls.append((until, socket))
        return [_told(front, socket) for front, socket in hit]

    def _malformed(self, wanted: Mapping[str, Any]) -> list[Any]:
        hit = self._matching(wanted)
        for front, socket in hit:
            socket.send(front.malformed(socket))
        return [_told(front, socket) for front, socket in hit]

    def _notice(self, wanted: Mapping[str, Any]) -> list[Any]:
        seconds = _number(wanted, "seconds", _NOTICE_S)
        now = self._clock()
        return [
            _told(front, socket)
            for front, socket in self._matching(wanted)
            if front.notice(socket, now, seconds)
        ]  # fmt: skip

    def _limit(self, wanted: Mapping[str, Any]) -> list[Any]:
        fronts = self._venues(wanted)
        for front in fronts:
            if "seconds" in wanted:
                front.faults.limited_until = int(self._clock() + 1000 * _number(wanted, "seconds", 0))
            if "count" in wanted or "seconds" not in wanted:
                front.faults.limited = int(_number(wanted, "count", 1))
        return [front.name for front in fronts]

    def _wrong_login(self, wanted: Mapping[str, Any]) -> list[Any]:
        fronts = [front for front in self._venues(wanted) if front.name != "hyperliquid"]
        if not fronts:
            raise BadRequest("hyperliquid has no login: name okx, bybit or no venue")
        for front in fronts:
            front.faults.wrong_logins = int(_number(wanted, "count", 1))
            front.faults.wrong_code = str(wanted.get("code", ""))
        return [front.name for front in fronts]

    # --- Acts in the world -----------------------------------------------------------------------------------------

    def _close_position(self, wanted: Mapping[str, Any]) -> list[Any]:
        side = _one_of(wanted, "side", ("long", "short"))
        return [_shown(p) for p in self._world.close_position(_text(wanted, "account"), _text(wanted, "symbol"), side)]

    def _open_position(self, wanted: Mapping[str, Any]) -> list[Any]:
        side = _one_of(wanted, "side", ("long", "short"))
        size = _decimal(wanted, "size") if "size" in wanted else None
        account, symbol = _text(wanted, "account"), _text(wanted, "symbol")
        return [_shown(position) for position in self._world.open_position(account, symbol, side, size)]

    def _shock(self, wanted: Mapping[str, Any]) -> list[Any]:
        name = _text(wanted, "underlying")
        self._world.shift(name, _decimal(wanted, "fraction"))
        return [name]

    # --- Who is meant ----------------------------------------------------------------------------------------------

    def _venues(self, wanted: Mapping[str, Any]) -> list[Front]:
        name = _one_of(wanted, "venue", tuple(self._fronts))
        return [front for front in self._fronts.values() if name in {None, front.name}]

    def _matching(self, wanted: Mapping[str, Any]) -> list[tuple[Front, Socket]]:
        account = wanted.get("account")
        if account is not None:
            self._world.account(str(account))
        connection = _one_of(wanted, "connection", ("public", "private"))
        return [(f, s) for f in self._venues(wanted) for s in f.sockets.matching(connection, account)]

    # --- HTTP ------------------------------------------------------------------------------------------------------

    async def _get_truth(self, request: web.Request) -> web.Response:
        return web.json_response(self.truth())

    async def _post_pause(self, request: web.Request) -> web.Response:
        self.pause()
        return web.json_response({"paused": True})

    async def _post_resume(self, request: web.Request) -> web.Response:
        self.resume()
        return web.json_response({"paused": False})

    async def _post_faults(self, request: web.Request) -> web.Response:
        try:
            wanted = json.loads(await request.text())
            if not isinstance(wanted, dict):
                raise BadRequest(f"a fault is a JSON object such as {{'kind': 'drop'}}, not {wanted!r}")
            return web.json_response(self.fault(wanted))
        except json.JSONDecodeError as error:
            return _problem(f"the body is not JSON: {error}")
        except (BadRequest, UnknownName, Impossible) as error:
            return _problem(str(error))


def _problem(detail: str) -> web.Response:
    body = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": detail}
    return web.json_response(body, status=400, content_type="application/problem+json")


def _told(front: Front, socket: Socket) -> dict[str, Any]:
    return {
        "venue": front.name,
        "connection": socket.connection,
        "accounts": sorted(socket.accounts),
        "socket": socket.id,
    }


def _shown(position: Position) -> dict[str, str]:
    return {
        "account": position.account, "symbol": position.symbol, "side": position.side, "size": plain(position.size),
    }  # fmt: skip


def _text(wanted: Mapping[str, Any], field: str) -> str:
    if not isinstance(wanted.get(field), str):
        raise BadRequest(f"{wanted['kind']} needs {field} as text")
    return str(wanted[field])


def _one_of(wanted: Mapping[str, Any], field: str, known: tuple[str, ...]) -> Any:
    value = wanted.get(field)
    if value is not None and value not in known:
        raise BadRequest(f"{field} is {value!r}: it may be {', '.join(known)} or absent")
    return value


def _number(wanted: Mapping[str, Any], field: str, default: float) -> float:
    value = wanted.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise BadRequest(f"{field} is {value!r}: it is a number, 0 or more")
    return value


def _decimal(wanted: Mapping[str, Any], field: str) -> Decimal:
    try:
        value = Decimal(str(wanted[field]))
    except (KeyError, InvalidOperation):
        raise BadRequest(f"{wanted['kind']} needs {field} as a decimal such as '0.1'") from None
    if not value.is_finite():
        raise BadRequest(f"{field} is {value}: it is a finite decimal")
    return value
