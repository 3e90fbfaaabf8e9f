"""Bybit's REST answers: envelope, signature, limits, cursors.

Owns what is checked about a request and how an answer is paged; the figures come from ``bybit_figures``. HTTP is 200 for
business errors, as at Bybit. Sources: Bybit v5 docs "Integration Guidance", "Rate Limit", the endpoints by name.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, unquote

from aiohttp import web

from exchanges.sim import bybit_figures as figures
from exchanges.sim import bybit_market as market
from exchanges.sim.catalog import Contract
from exchanges.sim.front import Clock, Faults
from exchanges.sim.revalue import Position
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]
T = TypeVar("T")

LIMIT_PER_S = 50  # per key and path
LIMIT_WINDOW_MS = 1_000
FLOOD, FLOOD_WINDOW_MS = 600, 5_000  # per IP, over all paths
DEFAULT_RECV_WINDOW_MS = 5_000
AHEAD_MS = 1_000  # a timestamp this far in the future is refused
SYMBOLS_PER_PAGE = 15  # of the risk limits
POSITIONS_PER_PAGE, MAX_POSITIONS_PER_PAGE = 20, 200
INSTRUMENTS_PER_PAGE, MAX_INSTRUMENTS_PER_PAGE = 500, 1_000
FLAT_LEVERAGE = Decimal(10)


def sign(account: Account, text: str) -> str:
    """Return the lower-case hex HMAC-SHA256 with an account's secret."""
    return hmac.new(account.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


class Refused(Exception):
    """A question that Bybit answers with an error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


_TOO_MANY = Refused(10006, "Too many visits!")


class Reads(Protocol):
    """What REST needs of the front."""

    world: World
    clock: Clock
    faults: Faults
    contracts: dict[str, Contract]

    def catch_up(self, now_ms: int) -> None:
        """Push to the streams what happened so far."""

    def seq(self, account: Account, symbol: str, index: int) -> int:
        """Return a position's cross sequence."""

    def account_by_key(self, key: str) -> Account | None:
        """Return whose key it is."""


Public = Callable[[Mapping[str, str]], Row]
Private = Callable[[Account, Mapping[str, str]], Row]
Handler = Callable[[web.Request], Awaitable[web.Response]]


class BybitRest:
    """Answers of one front."""

    def __init__(self, front: Reads) -> None:
        self._front = front
        self._world = front.world
        self._asked: dict[tuple[str, str], deque[int]] = {}
        self._arrivals: deque[int] = deque(maxlen=FLOOD + 1)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the REST paths."""
        public: dict[str, Public] = {
            "/v5/market/time": self._time,
            "/v5/market/instruments-info": self._instruments,
            "/v5/market/risk-limit": self._risk_limits,
            "/v5/market/tickers": self._tickers,
        }
        private: dict[str, Private] = {
            "/v5/account/info": self._account_info,
            "/v5/account/wallet-balance": self._wallet,
            "/v5/position/list": self._positions,
            "/v5/user/query-api": self._key,
        }
        yield from (web.get(path, self._public(answer)) for path, answer in public.items())
        yield from (web.get(path, self._private(answer)) for path, answer in private.items())

    # --- What every request goes through -----------------------------------------------------------------------------

    def _public(self, answer: Public) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            now_ms = self._front.clock()
            return self._respond(now_ms, {}, lambda: answer(request.query))

        return handle

    def _private(self, answer: Private) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            now_ms = self._front.clock()
            account = self._front.account_by_key(request.headers.get("X-BAPI-API-KEY", ""))
            headers, over = self._count(account.name if account else "", request.path, now_ms)

            def checked() -> Row:
                if over:
                    raise _TOO_MANY
                self._check_signature(request, account, now_ms)
                self._front.catch_up(now_ms)
                assert account is not None
                return answer(account, request.query)

            return self._respond(now_ms, headers, checked)

        return handle

    def _respond(self, now_ms: int, headers: dict[str, str], answer: Callable[[], Row]) -> web.Response:
        if self._flooded(now_ms):
            return web.Response(status=403, text="access too frequent")
        try:
            if self._front.faults.take_limit(now_ms):
                raise _TOO_MANY
            return _envelope(now_ms, answer(), headers=headers)
        except Refused as refused:
            if refused is _TOO_MANY:
                reset = max(now_ms + LIMIT_WINDOW_MS, self._front.faults.limited_until)
                headers = _limit_headers(0, reset)
            return _envelope(now_ms, {}, refused, headers=headers)

    def _flooded(self, now_ms: int) -> bool:
        """Say whether this machine asked too often; nothing but waiting helps then."""
        self._arrivals.append(now_ms)
        return len(self._arrivals) > FLOOD and self._arrivals[0] > now_ms - FLOOD_WINDOW_MS

    def _count(self, owner: str, path: str, now_ms: int) -> tuple[dict[str, str], bool]:
        """Count a request against its user and path; return the headers that say how many are left, and whether it is too many."""
        asked = self._asked.setdefault((owner, path), deque(maxlen=LIMIT_PER_S + 1))
        while asked and asked[0] <= now_ms - LIMIT_WINDOW_MS:
            asked.popleft()
        asked.append(now_ms)
        left = LIMIT_PER_S - len(asked)
        return _limit_headers(max(0, left), asked[0] + LIMIT_WINDOW_MS), left < 0

    def _check_signature(self, request: web.Request, account: Account | None, now_ms: int) -> None:
        """Return when the owner of the key signed this request just now.

        Raises:
            Refused: 10002 outside ``now − recv_window <= timestamp < now + 1 s``, 10003 unknown key, 10004 wrong signature.
            web.HTTPUnauthorized: A header is missing.
        """
        key, stamp, signature = (request.headers.get(f"X-BAPI-{name}") for name in ("API-KEY", "TIMESTAMP", "SIGN"))
        window = request.headers.get("X-BAPI-RECV-WINDOW", str(DEFAULT_RECV_WINDOW_MS))
        if key is None or stamp is None or signature is None or not stamp.isdigit() or not window.isdigit():
            raise web.HTTPUnauthorized
        if account is None:
            raise Refused(10003, "API key is invalid. Check whether the key and domain are matched.")
        if not now_ms - int(window) <= int(stamp) < now_ms + AHEAD_MS:
            raise Refused(
                10002,
                "invalid request, please check your server timestamp or recv_window param. "
                f"req_timestamp[{stamp}],server_timestamp[{now_ms}],recv_window[{window}]",
            )
        origin = f"{stamp}{key}{window}{request.raw_path.partition('?')[2]}"
        if not hmac.compare_digest(sign(account, origin), signature):
            raise Refused(10004, f"error sign! origin_string[{origin}]")

    # --- Public answers ----------------------------------------------------------------------------------------------

    def _time(self, query: Mapping[str, str]) -> Row:
        now_ms = self._front.clock()
        return {"timeSecond": str(now_ms // 1000), "timeNano": str(now_ms * 1_000_000)}

    def _listed(self, query: Mapping[str, str]) -> list[Contract]:
        """Return the contracts that a market question means; Bybit's other categories are empty here."""
        if _category(query) != "linear":
            return []
        symbol = query.get("symbol")
        if symbol is None:
            return list(self._front.contracts.values())
        if symbol not in self._front.contracts:
            raise Refused(10001, "params error: symbol invalid")
        return [self._front.contracts[symbol]]

    def _instruments(self, query: Mapping[str, str]) -> Row:
        limit = _limit(query, INSTRUMENTS_PER_PAGE, MAX_INSTRUMENTS_PER_PAGE)
        page, cursor = _page(self._listed(query), lambda c: c.symbol, _cursor(query), limit)
        return {
            "category": query["category"],
            "list": [market.instrument_row(c) for c in page],
            "nextPageCursor": cursor,
        }

    def _risk_limits(self, query: Mapping[str, str]) -> Row:
        page, cursor = _page(self._listed(query), lambda c: c.symbol, _cursor(query), SYMBOLS_PER_PAGE)
        rows = [row for contract in page for row in market.risk_limit_rows(contract)]
        return {"category": query["category"], "list": rows, "nextPageCursor": cursor}

    def _tickers(self, query: Mapping[str, str]) -> Row:
        now_ms = self._front.clock()
        rows = [market.ticker(self._world, contract, now_ms) for contract in self._listed(query)]
        return {"category": query["category"], "list": rows}

    # --- Private answers ---------------------------------------------------------------------------------------------

    def _account_info(self, account: Account, query: Mapping[str, str]) -> Row:
        return {
            "marginMode": "REGULAR_MARGIN" if account.mode == "cross" else "ISOLATED_MARGIN",
            "updatedTime": "1700000000000",
            "unifiedMarginStatus": 5,
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _wallet(self, account: Account, query: Mapping[str, str]) -> Row:
        if query.get("accountType") != "UNIFIED":
            raise Refused(10001, "accountType only support UNIFIED.")
        wanted = query["coin"].split(",") if query.get("coin") else list(account.cash)
        coins = [ccy for ccy in account.cash if ccy in wanted and account.cash[ccy]]  # coins of nothing are left out
        return {"list": [figures.wallet_row(self._world, account, coins)]}

    def _key(self, account: Account, query: Mapping[str, str]) -> Row:
        return {
            "id": str(account.uid % 10**8),
            "note": account.name,
            "apiKey": account.key,
            "readOnly": 1,
            "secret": "",
            "permissions": {
                "ContractTrade": ["Order", "Position"],
                "Spot": [],
                "Wallet": [],
                "Options": [],
                "Derivatives": ["DerivativesTrade"],
                "Exchange": [],
                "Earn": [],
            },
            "ips": ["*"],
            "type": 1,
            "deadlineDay": 83,
            "expiredAt": "2099-01-01T00:00:00Z",
            "createdAt": "2024-01-01T00:00:00Z",
            "unified": 0,
            "uta": 1,
            "userID": account.uid % 10**9,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "isMaster": True,
            "parentUid": "0",
        }

    def _positions(self, account: Account, query: Mapping[str, str]) -> Row:
        category = _category(query)
        limit = _limit(query, POSITIONS_PER_PAGE, MAX_POSITIONS_PER_PAGE)
        symbol, settle = query.get("symbol"), query.get("settleCoin")
        if category != "linear":
            return {"category": category, "list": [], "nextPageCursor": ""}
        if not symbol and not settle:
            raise Refused(10001, "params error: symbol or settleCoin is required")
        if symbol:
            self._listed(query)
            found = self._legs(account, symbol)
        else:
            found = [p for p in self._world.positions(account.name) if self._settle(p) == settle]

        def place(position: Position) -> str:
            return f"{position.symbol},{_index(account, position)}"

        page, cursor = _page(sorted(found, key=place), place, _cursor(query), limit)
        if page:  # seen on the wire: the last page has a cursor too, and what follows it is empty
            cursor = quote(place(page[-1]), safe="")
        page.sort(
            key=lambda position: bool(position.size)
        )  # the legs of a symbol have no fixed order: empty ones first
        return {"category": category, "list": [self._row(account, p) for p in page], "nextPageCursor": cursor}

    def _settle(self, position: Position) -> str:
        return self._front.contracts[position.symbol].settle

    def _legs(self, account: Account, symbol: str) -> list[Position]:
        """Return every leg of a symbol, open or not: one in one-way mode, two in hedge mode."""
        open_ = {_index(account, p): p for p in self._world.positions(account.name) if p.symbol == symbol}
        leverage = next((p.leverage for p in open_.values()), FLAT_LEVERAGE)
        indices = (1, 2) if account.hedge else (0,)
        return [open_.get(i) or figures.empty_leg(self._world, account, symbol, i, leverage) for i in indices]

    def _row(self, account: Account, position: Position) -> Row:
        seq = self._front.seq(account, position.symbol, _index(account, position))
        return figures.position_row(self._world, account, position, seq)


def _index(account: Account, position: Position) -> int:
    return figures.position_index(account, position)


def _category(query: Mapping[str, str]) -> str:
    category = query.get("category", "")
    if category not in {"linear", "inverse", "option", "spot"}:
        raise Refused(10001, "params error: category only support linear, inverse, option or spot")
    return category


def _limit(query: Mapping[str, str], default: int, highest: int) -> int:
    text = query.get("limit", str(default))
    if not text.isdigit() or not 1 <= int(text) <= highest:
        raise Refused(10001, f"params error: limit must be 1 to {highest}")
    return int(text)


def _cursor(query: Mapping[str, str]) -> str:
    """Return where to go on; clients send the cursor as it was given (percent-encoded) or encoded once more."""
    return unquote(query.get("cursor", ""))


def _page(rows: list[T], place: Callable[[T], str], after: str, limit: int) -> tuple[list[T], str]:
    """Return the next rows (ordered by ``place``) behind ``after``, and the cursor where more follow."""
    left = [row for row in rows if place(row) > after]
    page = left[:limit]
    return page, quote(place(page[-1]), safe="") if len(left) > limit else ""


def _limit_headers(left: int, reset_ms: int) -> dict[str, str]:
    return {
        "X-Bapi-Limit": str(LIMIT_PER_S),
        "X-Bapi-Limit-Status": str(left),
        "X-Bapi-Limit-Reset-Timestamp": str(reset_ms),
    }


def _envelope(
    now_ms: int, result: Row, refused: Refused | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    body = {
        "retCode": refused.code if refused else 0,
        "retMsg": refused.message if refused else "OK",
        "result": result,
        "retExtInfo": {},
        "time": now_ms,
    }
    text = json.dumps(body, separators=(",", ":"))
    return web.Response(text=text, content_type="application/json", headers=headers)
