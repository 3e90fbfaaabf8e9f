"""The simulated OKX: its REST paths and WebSocket endpoints over the world.

Owns routing, signatures of REST requests and the connections' life; what a connection says is ``okx_session``, what a row says
is ``okx_figures``. Source: OKX v5 docs, "REST authentication", "Error code", and the endpoints of the same paths.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from exchanges.sim import okx_figures as figures
from exchanges.sim.catalog import Contract, VenueName
from exchanges.sim.front import Clock, Faults
from exchanges.sim.okx_session import Session, sign
from exchanges.sim.sockets import Connection, Socket, Sockets
from exchanges.sim.world import Account, MarkChanged, World

REQUEST_WINDOW_MS = 30_000
# A login or subscribe request beyond 64 KiB closes the connection with 1009.
MAX_FRAME_BYTES = 64 * 1024
_FAMILIES = 5
_FIRST_CODE = 10_459

Rows = list[figures.Row]


@dataclass
class Refused(Exception):
    """A REST request that is answered with one of OKX's codes."""

    code: str
    message: str
    status: int = 200


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

    # --- The front -------------------------------------------------------------------------------------------------

    def routes(self) -> Iterable[web.RouteDef]:
        """Return OKX's paths."""
        yield web.get("/ws/v5/public", self._public_socket)
        yield web.get("/ws/v5/private", self._private_socket)
        for path, answer in (
            ("/api/v5/public/time", self._time),
            ("/api/v5/public/instruments", self._instruments),
            ("/api/v5/public/position-tiers", self._tiers),
            ("/api/v5/public/mark-price", self._mark_prices),
            ("/api/v5/system/status", self._status),
        ):
            yield web.get(path, self._public(answer))
        for path, private in (
            ("/api/v5/account/config", self._config),
            ("/api/v5/account/balance", self._balance),
            ("/api/v5/account/positions", self._positions),
        ):
            yield web.get(path, self._private(private))

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
        """Return the accounts with key, secret and passphrase."""
        return [
            {"name": a.name, "key": a.key, "secret": a.secret, "passphrase": a.passphrase}
            for a in self._world.accounts_of("okx")
        ]

    # --- WebSocket -------------------------------------------------------------------------------------------------

    async def _public_socket(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "public")

    async def _private_socket(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "private")

    async def _serve(self, request: web.Request, connection: Connection) -> web.StreamResponse:
        async with self.sockets.accept(request, connection, slow_code=4005, max_frame_bytes=MAX_FRAME_BYTES) as socket:
            session = Session(self._world, socket, self.faults, self._sessions.values(), self._clock())
            self._sessions[socket.id] = session
            try:
                async for text in socket:
                    session.handle(text, self._clock())
            finally:
                del self._sessions[socket.id]
            return socket.response

    # --- REST ------------------------------------------------------------------------------------------------------

    def _public(self, rows: Callable[[Mapping[str, str]], Rows]) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            return self._envelope(lambda: rows(request.query))

        return answer

    def _private(self, rows: Callable[[Account, Mapping[str, str]], Rows]) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            body = await request.text()
            return self._envelope(lambda: rows(self._authenticate(request, body), request.query))

        return answer

    def _envelope(self, rows: Callable[[], Rows]) -> web.Response:
        try:
            if self.faults.take_limit(self._clock()):
                raise Refused("50011", "Too Many Requests", 429)
            return _json({"code": "0", "msg": "", "data": rows()}, 200)
        except Refused as refused:
            return _json({"code": refused.code, "msg": refused.message, "data": []}, refused.status)

    def _authenticate(self, request: web.Request, body: str) -> Account:
        """Return the account that signed the request. Raises Refused with OKX's code for what is wrong."""
        names = {
            "OK-ACCESS-KEY": "50103",
            "OK-ACCESS-PASSPHRASE": "50104",
            "OK-ACCESS-SIGN": "50106",
            "OK-ACCESS-TIMESTAMP": "50107",
        }
        given = {name: request.headers.get(name, "") for name in names}
        for name, code in names.items():
            if not given[name]:
                raise Refused(code, f'Request header "{name}" cannot be empty', 401)
        key, phrase, signature, stamp = given.values()
        at = _milliseconds(stamp)
        if at is None:
            raise Refused("50112", "Invalid OK-ACCESS-TIMESTAMP", 401)
        if abs(self._clock() - at) > REQUEST_WINDOW_MS:
            raise Refused("50102", "Timestamp request expired", 401)
        account = next((a for a in self._world.accounts_of("okx") if a.key == key), None)
        if account is None:
            raise Refused("50111", "Invalid OK-ACCESS-KEY", 401)
        if phrase != account.passphrase:
            raise Refused("50105", "Request header OK-ACCESS-PASSPHRASE incorrect", 401)
        right = sign(account.secret, f"{stamp}{request.method}{request.raw_path}{body}")
        if not hmac.compare_digest(right.encode(), signature.encode()):
            raise Refused("50113", "Invalid Sign", 401)
        return account

    def _time(self, query: Mapping[str, str]) -> Rows:
        return [{"ts": str(self._clock())}]

    def _status(self, query: Mapping[str, str]) -> Rows:
        return []

    def _instruments(self, query: Mapping[str, str]) -> Rows:
        return [
            figures.instrument_row(contract, _FIRST_CODE + number)
            for number, contract in enumerate(self._world.listed("okx"))
            if self._matches(query, contract)
        ]

    def _mark_prices(self, query: Mapping[str, str]) -> Rows:
        now = self._clock()
        return [figures.mark_row(self._world, c, now) for c in self._world.listed("okx") if self._matches(query, c)]

    def _tiers(self, query: Mapping[str, str]) -> Rows:
        for name in ("instType", "tdMode"):
            _require(query, name)
        families = _require(
            {**query, "instFamily": query.get("instFamily") or query.get("uly", "")}, "instFamily"
        ).split(",")
        if len(families) > _FAMILIES:
            raise Refused("51000", "Parameter instFamily error", 400)
        known = {figures.family(contract): contract for contract in self._world.listed("okx")}
        unknown = [family for family in families if family not in known]
        if unknown or query["instType"] != "SWAP":
            raise Refused(
                "51001", f"Instrument ID, Instrument ID code, or Spread ID doesn't exist: {','.join(unknown)}."
            )
        return [row for family in families for row in figures.tier_rows(known[family])]

    def _matches(self, query: Mapping[str, str], contract: Contract) -> bool:
        """Say whether a public query asks for this contract. Raises Refused for a missing type or an unknown instrument."""
        kind, symbol, family = _require(query, "instType"), query.get("instId"), query.get("instFamily")
        if symbol and ("okx", symbol) not in self._world.contracts:
            raise Refused("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
        return (
            kind == "SWAP" and symbol in {None, "", contract.symbol} and family in {None, "", figures.family(contract)}
        )

    def _config(self, account: Account, query: Mapping[str, str]) -> Rows:
        return [figures.config_row(account)]

    def _balance(self, account: Account, query: Mapping[str, str]) -> Rows:
        ccys = query.get("ccy")
        return [figures.account_row(self._world, account, ccys.split(",") if ccys else None)]

    def _positions(self, account: Account, query: Mapping[str, str]) -> Rows:
        """Return open positions, newest first; ``pTime`` belongs to pushes alone."""
        wanted = {name: set(query[name].split(",")) for name in ("instId", "posId") if query.get(name)}
        rows = []
        for position in sorted(self._world.positions(account.name), key=lambda p: -p.opened_at):
            row = figures.position_row(self._world, account, position, self._clock())
            if all(row[name] in values for name, values in wanted.items()):
                row.pop("pTime")
                rows.append(row)
        return rows if query.get("instType") in {None, "", "SWAP"} else []


def _json(body: Mapping[str, Any], status: int) -> web.Response:
    return web.Response(text=json.dumps(body, separators=(",", ":")), status=status, content_type="application/json")


def _require(query: Mapping[str, str], name: str) -> str:
    value = query.get(name)
    if not value:
        raise Refused("50014", f"Parameter {name} can not be empty.", 400)
    return value


def _milliseconds(stamp: str) -> int | None:
    """Return the time of an ISO-8601 stamp in UTC with milliseconds, or None."""
    try:
        return round(datetime.fromisoformat(stamp).timestamp() * 1000) if stamp.endswith("Z") else None
    except ValueError:
        return None
