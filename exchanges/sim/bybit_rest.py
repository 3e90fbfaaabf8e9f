"""Bybit's REST: envelope, signature, limits, and the answers about its markets.

Owns what is checked about every request; what an account is told is ``bybit_account``, pages and windows are ``bybit_pages``. HTTP
is 200 for business errors, as at Bybit. Sources: Bybit v5 docs "Integration Guidance", "Rate Limit", the endpoints by name.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from exchanges.sim import bybit_market as market
from exchanges.sim import bybit_pages as pages
from exchanges.sim.bybit_account import AccountAnswers
from exchanges.sim.bybit_books import Books
from exchanges.sim.bybit_keys import MESSAGES, Key, Keyring
from exchanges.sim.bybit_pages import Query, Refused, Row
from exchanges.sim.catalog import Contract
from exchanges.sim.front import Clock, Faults
from exchanges.sim.world import World

# Requests of a user a second and path.
LIMIT_PER_S = 50
LIMITS = {"/v5/account/transaction-log": 25, "/v5/user/query-api": 10}
LIMIT_WINDOW_MS = 1_000
FLOOD, FLOOD_WINDOW_MS = 600, 5_000  # per IP, over all paths
DEFAULT_RECV_WINDOW_MS = 5_000
AHEAD_MS = 1_000  # a timestamp this far in the future is refused
SYMBOLS_PER_PAGE = 15  # of the risk limits
INSTRUMENTS_PER_PAGE, MAX_INSTRUMENTS_PER_PAGE = 500, 1_000
KEY_PATH = "/v5/user/query-api"  # any key may ask this
_TOO_MANY = Refused(10006, "Too many visits!")

Public = Callable[[Query], Row]
Handler = Callable[[web.Request], Awaitable[web.Response]]


class BybitRest:
    """Answers of one front.

    Args:
        catch_up: Pushes to the streams what happened so far.
    """

    def __init__(
        self, world: World, clock: Clock, faults: Faults, keyring: Keyring, books: Books,
        catch_up: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._world = world
        self._clock = clock
        self._faults = faults
        self._keyring = keyring
        self._catch_up = catch_up
        self._account = AccountAnswers(world, books)
        self._asked: dict[tuple[str, str], deque[int]] = {}
        self._arrivals: deque[int] = deque(maxlen=FLOOD + 1)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the REST paths."""
        public: dict[str, Public] = {
            "/v5/market/time": self._time,
            "/v5/market/instruments-info": self._instruments,
            "/v5/market/risk-limit": self._risk_limits,
            "/v5/market/tickers": self._tickers,
            "/v5/spot-margin-trade/collateral": self._collateral,
        }
        yield from (web.get(path, self._public(answer)) for path, answer in public.items())
        yield from (web.get(path, self._private()) for path in [*self._account.answers, KEY_PATH])

    # --- What every request goes through -----------------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        """The venue's clock."""
        return self._clock() + self._faults.clock_skew_ms

    def _public(self, answer: Public) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            return self._respond({}, lambda: answer(request.query))

        return handle

    def _private(self) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            key = self._keyring.find(request.headers.get("X-BAPI-API-KEY", ""))
            headers, over = self._count(key.account.name if key else "", request.path)

            def checked() -> Row:
                if over:
                    raise _TOO_MANY
                found = self._check_signature(request, key)
                self._catch_up(self._clock())
                if request.path == KEY_PATH:
                    return self._keyring.information(found, request.headers["X-BAPI-API-KEY"])
                if not self._keyring.may_read(found.account):
                    raise Refused(10005, MESSAGES[10005])
                return self._account.answers[request.path](found.account, request.query, self._now_ms)

            return self._respond(headers, checked)

        return handle

    def _respond(self, headers: dict[str, str], answer: Callable[[], Row]) -> web.Response:
        if self._flooded(self._clock()):
            return web.Response(status=403, text="access too frequent")
        try:
            if self._faults.take_limit(self._clock()):
                raise _TOO_MANY
            return _envelope(self._now_ms, answer(), headers=headers)
        except Refused as refused:
            if refused is _TOO_MANY:
                reset = max(self._clock() + LIMIT_WINDOW_MS, self._faults.limited_until)
                headers = {**headers, **_limit_headers(0, reset + self._faults.clock_skew_ms)}
            return _envelope(self._now_ms, {}, refused, headers=headers)

    def _flooded(self, now_ms: int) -> bool:
        """Say whether this machine asked too often; nothing but waiting helps then."""
        self._arrivals.append(now_ms)
        return len(self._arrivals) > FLOOD and self._arrivals[0] > now_ms - FLOOD_WINDOW_MS

    def _count(self, owner: str, path: str) -> tuple[dict[str, str], bool]:
        """Count a request against its user and path; return the headers that say how many are left, and whether it is too many."""
        limit, now_ms = LIMITS.get(path, LIMIT_PER_S), self._clock()
        asked = self._asked.setdefault((owner, path), deque(maxlen=limit + 1))
        while asked and asked[0] <= now_ms - LIMIT_WINDOW_MS:
            asked.popleft()
        asked.append(now_ms)
        left = limit - len(asked)
        reset = asked[0] + LIMIT_WINDOW_MS + self._faults.clock_skew_ms
        return {"X-Bapi-Limit": str(limit), **_limit_headers(max(0, left), reset)}, left < 0

    def _check_signature(self, request: web.Request, key: Key | None) -> Key:
        """Return the key that signed this request just now.

        Raises:
            Refused: 10002 outside ``now − recv_window <= timestamp < now + 1 s``, 10003 unknown key, else ``Keyring.refusal``.
            web.HTTPUnauthorized: A header is missing.
        """
        text, stamp, signature = (request.headers.get(f"X-BAPI-{name}") for name in ("API-KEY", "TIMESTAMP", "SIGN"))
        window = request.headers.get("X-BAPI-RECV-WINDOW", str(DEFAULT_RECV_WINDOW_MS))
        if text is None or stamp is None or signature is None or not stamp.isdigit() or not window.isdigit():
            raise web.HTTPUnauthorized
        if key is None:
            raise Refused(10003, MESSAGES[10003])
        now_ms = self._now_ms
        if not now_ms - int(window) <= int(stamp) < now_ms + AHEAD_MS:
            raise Refused(
                10002,
                "invalid request, please check your server timestamp or recv_window param. "
                f"req_timestamp[{stamp}],server_timestamp[{now_ms}],recv_window[{window}]",
            )
        origin = f"{stamp}{text}{window}{request.raw_path.partition('?')[2]}"
        code = self._keyring.refusal(key, origin, signature, now_ms)
        if code:
            raise Refused(code, f"error sign! origin_string[{origin}]" if code == 10004 else MESSAGES[code])
        return key

    # --- Public answers ----------------------------------------------------------------------------------------------

    def _time(self, query: Query) -> Row:
        now_ms = self._now_ms
        return {"timeSecond": str(now_ms // 1000), "timeNano": str(now_ms * 1_000_000)}

    def _listed(self, query: Query) -> list[Contract]:
        """Return the contracts that a market question means; spot has none."""
        category, symbol = pages.category(query), query.get("symbol")
        listed = [c for c in market.contracts(self._world).values() if market.category(c) == category]
        if symbol is None:
            return listed
        found = [contract for contract in listed if contract.symbol == symbol]
        if not found:
            raise Refused(10001, "params error: symbol invalid")
        return found

    def _pairs(self, query: Query) -> dict[str, str]:
        """Return the spot markets that a question means."""
        pairs, symbol = market.spot_pairs(), query.get("symbol")
        if symbol is not None and symbol not in pairs:
            raise Refused(10001, "params error: symbol invalid")
        return {name: coin for name, coin in pairs.items() if symbol in {None, name}}

    def _instruments(self, query: Query) -> Row:
        limit = pages.limit(query, INSTRUMENTS_PER_PAGE, MAX_INSTRUMENTS_PER_PAGE)
        if pages.category(query) == "spot":
            rows = [market.spot_instrument_row(*pair) for pair in self._pairs(query).items()]
            return {"category": "spot", "list": rows, "nextPageCursor": ""}
        page, cursor = pages.onward(self._listed(query), lambda c: c.symbol, pages.cursor(query), limit)
        rows = [market.instrument_row(self._world, contract) for contract in page]
        return {"category": query["category"], "list": rows, "nextPageCursor": cursor}

    def _risk_limits(self, query: Query) -> Row:
        if pages.category(query) not in {"linear", "inverse"}:
            raise Refused(10001, "params error: category only support linear or inverse")
        page, cursor = pages.onward(self._listed(query), lambda c: c.symbol, pages.cursor(query), SYMBOLS_PER_PAGE)
        rows = [row for contract in page for row in market.risk_limit_rows(contract)]
        return {"category": query["category"], "list": rows, "nextPageCursor": cursor}

    def _collateral(self, query: Query) -> Row:
        wanted = query.get("currency")
        return {"list": [market.collateral_row(coin) for coin in market.collateral_coins() if wanted in {None, coin}]}

    def _tickers(self, query: Query) -> Row:
        if pages.category(query) == "spot":
            rows = [market.spot_ticker(self._world, *pair) for pair in self._pairs(query).items()]
        else:
            rows = [market.ticker(self._world, contract, self._now_ms) for contract in self._listed(query)]
        return {"category": query["category"], "list": rows}


def _limit_headers(left: int, reset_ms: int) -> dict[str, str]:
    return {"X-Bapi-Limit-Status": str(left), "X-Bapi-Limit-Reset-Timestamp": str(reset_ms)}


def _envelope(
    now_ms: int, result: Row, refused: Refused | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    body: dict[str, Any] = {
        "retCode": refused.code if refused else 0,
        "retMsg": refused.message if refused else "OK",
        "result": result,
        "retExtInfo": {},
        "time": now_ms,
    }
    text = json.dumps(body, separators=(",", ":"))
    return web.Response(text=text, content_type="application/json", headers=headers)
