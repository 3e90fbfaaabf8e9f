"""OKX's REST answers over the world: envelope, rate limits, parameters, pages.

Owns what is checked about a request and which rows answer it; who may ask is ``okx_keys``, what a row says ``okx_figures``,
``okx_market`` and ``okx_trades``. Source: OKX v5 docs, "Error code" and the endpoints of the same paths, with their rate limits.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from exchanges.sim import okx_closed as closed
from exchanges.sim import okx_figures as figures
from exchanges.sim import okx_market as market
from exchanges.sim import okx_trades as trades
from exchanges.sim.catalog import Contract, Mode
from exchanges.sim.front import Clock, Faults
from exchanges.sim.okx_keys import Doorman, Refused, powers
from exchanges.sim.okx_market import Row
from exchanges.sim.world import Account, World

Rows = list[Row]
Query = Mapping[str, str]
Public = Callable[[Query], Rows]
Private = Callable[[Account, Query], Rows]

# Requests in so many milliseconds: of an address on public paths (per instrument where one is named), of a user on private ones.
LIMITS: dict[str, tuple[int, int]] = {
    "/api/v5/public/time": (10, 2_000),
    "/api/v5/public/instruments": (20, 2_000),
    "/api/v5/public/position-tiers": (10, 2_000),
    "/api/v5/public/mark-price": (10, 2_000),
    "/api/v5/public/funding-rate": (10, 2_000),
    "/api/v5/public/discount-rate-interest-free-quota": (2, 2_000),
    "/api/v5/market/index-tickers": (20, 2_000),
    "/api/v5/system/status": (1, 5_000),
    "/api/v5/account/config": (5, 2_000),
    "/api/v5/account/balance": (10, 2_000),
    "/api/v5/account/positions": (10, 2_000),
    "/api/v5/account/positions-history": (10, 2_000),
    "/api/v5/account/bills": (5, 1_000),
    "/api/v5/account/bills-archive": (5, 2_000),
    "/api/v5/trade/order": (60, 2_000),
    "/api/v5/trade/orders-pending": (60, 2_000),
    "/api/v5/trade/fills": (60, 2_000),
    "/api/v5/trade/fills-history": (10, 2_000),
}
_FAMILIES = 5
_MOST_ROWS = 100
_DAY_MS = 86_400_000
_UNKNOWN_INSTRUMENT = "Instrument ID, Instrument ID code, or Spread ID doesn't exist."
_INST_TYPES = {"SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"}


class OkxRest:
    """Answers of one front."""

    def __init__(self, world: World, clock: Clock, faults: Faults) -> None:
        self._world = world
        self._clock = clock
        self._faults = faults
        self._doorman = Doorman(world, faults)
        self._asked: dict[tuple[str, str, str], deque[int]] = {}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the REST paths."""
        public: dict[str, Public] = {
            "/api/v5/public/time": self._time,
            "/api/v5/public/instruments": self._instruments,
            "/api/v5/public/position-tiers": self._tiers,
            "/api/v5/public/mark-price": self._mark_prices,
            "/api/v5/public/funding-rate": self._funding_rates,
            "/api/v5/public/discount-rate-interest-free-quota": self._discounts,
            "/api/v5/market/index-tickers": self._indices,
            "/api/v5/system/status": lambda query: [],
        }
        private: dict[str, Private] = {
            "/api/v5/account/config": self._config,
            "/api/v5/account/balance": self._balance,
            "/api/v5/account/positions": self._positions,
            "/api/v5/account/positions-history": self._positions_history,
            "/api/v5/account/bills": self._bills(7),
            "/api/v5/account/bills-archive": self._bills(90),
            "/api/v5/trade/order": self._order,
            "/api/v5/trade/orders-pending": self._pending,
            "/api/v5/trade/fills": self._fills,
            "/api/v5/trade/fills-history": self._fills_history,
        }
        yield from (web.get(path, self._public(rows)) for path, rows in public.items())
        yield from (web.get(path, self._private(rows)) for path, rows in private.items())

    # --- What every request goes through -----------------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        """The venue's clock."""
        return self._clock() + self._faults.clock_skew_ms

    def _public(self, rows: Public) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            def checked() -> Rows:
                if self._over(request.path, request.remote or "", request.query.get("instId", "")):
                    # Both spellings of the same refusal are documented.
                    raise Refused(
                        "50011", "Rate limit reached. Please refer to API docs and throttle requests accordingly"
                    )
                return rows(request.query)

            return self._envelope(checked)

        return answer

    def _private(self, rows: Private) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            body = await request.text()

            def checked() -> Rows:
                account = self._doorman.admit(request.headers, request.method, request.raw_path, body, self._now_ms)
                if self._over(request.path, account.name, ""):
                    raise Refused("50011", "Too Many Requests", 429)
                return rows(account, request.query)

            return self._envelope(checked)

        return answer

    def _envelope(self, rows: Callable[[], Rows]) -> web.Response:
        try:
            if self._faults.take_limit(self._clock()):
                raise Refused("50011", "Too Many Requests", 429)
            return _json({"code": "0", "msg": "", "data": rows()}, 200)
        except Refused as refused:
            return _json({"code": refused.code, "msg": refused.message, "data": []}, refused.status)

    def _over(self, path: str, who: str, what: str) -> bool:
        """Count a request, and say whether it is too many; a refused one is not counted."""
        count, window_ms = LIMITS[path]
        now_ms = self._clock()
        asked = self._asked.setdefault((path, who, what), deque())
        while asked and asked[0] <= now_ms - window_ms:
            asked.popleft()
        if len(asked) >= count:
            return True
        asked.append(now_ms)
        return False

    # --- Public answers ----------------------------------------------------------------------------------------------

    def _time(self, query: Query) -> Rows:
        return [{"ts": str(self._now_ms)}]

    def _instruments(self, query: Query) -> Rows:
        return [
            market.instrument_row(contract, code, self._world.now_ms)
            for code, contract in market.numbered(self._world)
            if self._matches(query, contract)
        ]

    def _mark_prices(self, query: Query) -> Rows:
        now = self._now_ms
        return [market.mark_row(self._world, c, now) for c in self._world.listed("okx") if self._matches(query, c)]

    def _funding_rates(self, query: Query) -> Rows:
        symbol, now = _require(query, "instId"), self._now_ms
        swaps = [c for c in self._world.listed("okx") if c.kind == "perp" and symbol in {"ANY", c.symbol}]
        if not swaps:
            raise Refused("51001", _UNKNOWN_INSTRUMENT)
        return [market.funding_row(self._world, contract, now) for contract in swaps]

    def _indices(self, query: Query) -> Rows:
        symbol, quote = query.get("instId"), query.get("quoteCcy")
        if not symbol and not quote:
            raise Refused("50014", "Parameter quoteCcy or instId can not be empty.", 400)
        pairs = [symbol] if symbol else [p for p in market.index_pairs(self._world) if p.endswith(f"-{quote}")]
        prices = [(pair, market.index_price(self._world, pair)) for pair in pairs]
        if any(price is None for _, price in prices):
            raise Refused("51001", _UNKNOWN_INSTRUMENT)
        return [market.index_row(pair, price, self._now_ms) for pair, price in prices if price is not None]

    def _discounts(self, query: Query) -> Rows:
        everything = sorted({ccy for account in self._world.accounts_of("okx") for ccy in account.cash})
        return [market.discount_row(ccy) for ccy in everything if query.get("ccy") in {None, "", ccy}]

    def _tiers(self, query: Query) -> Rows:
        for name in ("instType", "tdMode"):
            _require(query, name)
        families = _require(
            {**query, "instFamily": query.get("instFamily") or query.get("uly", "")}, "instFamily"
        ).split(",")
        if len(families) > _FAMILIES:
            raise Refused("51000", "Parameter instFamily error", 400)
        listed = [c for c in self._world.listed("okx") if market.inst_type(c) == query["instType"]]
        known = {market.family(contract): contract for contract in listed}
        unknown = [family for family in families if family not in known]
        if unknown:
            raise Refused("51001", f"{_UNKNOWN_INSTRUMENT.removesuffix('.')}: {','.join(unknown)}.")
        modes: dict[str, Mode] = {"cross": "cross", "isolated": "isolated"}
        if query["tdMode"] not in modes:
            raise Refused("51000", "Parameter tdMode error", 400)
        return [row for family in families for row in market.tier_rows(known[family], modes[query["tdMode"]])]

    def _matches(self, query: Query, contract: Contract) -> bool:
        """Say whether a public query asks for this contract. Raises Refused for a missing type or an unknown instrument."""
        kind, symbol, family = _require(query, "instType"), query.get("instId"), query.get("instFamily")
        if symbol and ("okx", symbol) not in self._world.contracts:
            raise Refused("51001", _UNKNOWN_INSTRUMENT)
        return (
            kind == market.inst_type(contract)
            and symbol in {None, "", contract.symbol}
            and family in {None, "", market.family(contract)}
        )

    # --- Private answers ---------------------------------------------------------------------------------------------

    def _config(self, account: Account, query: Query) -> Rows:
        return [figures.config_row(account, powers(account, self._faults))]

    def _balance(self, account: Account, query: Query) -> Rows:
        ccys = query.get("ccy")
        return [figures.account_row(self._world, account, ccys.split(",") if ccys else None)]

    def _positions(self, account: Account, query: Query) -> Rows:
        """Return open positions, newest first; ``pTime`` belongs to pushes alone."""
        positions = sorted(self._world.positions(account.name), key=lambda p: -p.opened_at)
        rows = [figures.position_row(self._world, account, position, self._now_ms) for position in positions]
        for row in rows:
            row.pop("pTime")
        return _chosen(rows, query, "instType", "instId", "posId")

    def _positions_history(self, account: Account, query: Query) -> Rows:
        """Return positions of the last three months that were closed at least in part, newest first.

        ``after`` and ``before`` are times of the latest change; all rows of a page's last millisecond are in it.
        """
        since = self._now_ms - 90 * _DAY_MS
        rows = [row for row in closed.history_rows(self._world, account) if int(row["uTime"]) >= since]
        chosen = _chosen(rows, query, "instType", "instId", "mgnMode", "type", "posId")
        # With ``before`` alone the newest come here, not those next to it, unlike everywhere else.
        found = _page(chosen, {"after": str(self._now_ms + 1), **query}, "uTime")
        return [*found, *(row for row in chosen if found and row["uTime"] == found[-1]["uTime"] and row not in found)]

    def _pending(self, account: Account, query: Query) -> Rows:
        """Return open orders, newest first; ``after`` and ``before`` are order ids."""
        orders = reversed(self._world.orders(account.name))
        rows = _chosen(
            [trades.order_row(self._world, account, order) for order in orders],
            query, "instType", "instId", "ordType", "state",
        )  # fmt: skip
        return _page(rows, query, "ordId")

    def _order(self, account: Account, query: Query) -> Rows:
        symbol = _require(query, "instId")
        if ("okx", symbol) not in self._world.contracts:
            raise Refused("51001", _UNKNOWN_INSTRUMENT)
        number = trades.order_number(_require(query, "ordId"))
        order = None if number is None else self._world.order(account.name, number)
        if order is None or order.symbol != symbol:
            raise Refused("51603", "Order does not exist")
        return [trades.order_row(self._world, account, order)]

    def _fills(self, account: Account, query: Query) -> Rows:
        return self._filled(account, query, 3)

    def _fills_history(self, account: Account, query: Query) -> Rows:
        _require(query, "instType")
        return self._filled(account, query, 90)

    def _filled(self, account: Account, query: Query, days: int) -> Rows:
        """Return fills, newest first; ``after`` and ``before`` are bill ids."""
        found = reversed(self._world.fills(account.name))
        rows = sorted(
            (trades.fill_row(self._world, account, fill) for fill in found),
            key=lambda row: int(row["billId"]),
            reverse=True,
        )
        chosen = _chosen(self._since(rows, query, days), query, "instType", "instId", "ordId", "subType")
        return _page(chosen, query, "billId")

    def _bills(self, days: int) -> Private:
        def answer(account: Account, query: Query) -> Rows:
            rows = self._since(trades.bills(self._world, account), query, days)
            chosen = _chosen(rows, query, "instType", "instId", "ccy", "mgnMode", "type", "subType")
            alone = query.get("begin") and not any(query.get(name) for name in ("end", "after", "before"))
            # A window with a beginning alone is read from there: so of bills, not of fills.
            return _page(chosen, {**query, "before": "0"} if alone else query, "billId")

        return answer

    def _since(self, rows: Rows, query: Query, days: int) -> Rows:
        """Return the rows inside ``begin`` and ``end`` that are not older than the venue keeps."""
        begin = max(_number(query, "begin", 0), self._now_ms - days * _DAY_MS)
        end = _number(query, "end", self._now_ms)
        return [row for row in rows if begin <= int(row["ts"]) <= end]


def _chosen(rows: Rows, query: Query, *names: str) -> Rows:
    """Return the rows with the asked values; several are separated by commas."""
    if query.get("instType") and query["instType"] not in _INST_TYPES:
        raise Refused("51000", "Parameter instType error", 400)
    wanted = {name: set(query[name].split(",")) for name in names if query.get(name)}
    return [row for row in rows if all(row[name] in values for name, values in wanted.items())]


def _page(rows: Rows, query: Query, place: str) -> Rows:
    for bound in ("after", "before"):
        _number(query, bound, 0)
    limit = _number(query, "limit", _MOST_ROWS)
    return trades.page(
        rows, lambda row: int(row[place]), query.get("after", ""), query.get("before", ""), min(limit, _MOST_ROWS)
    )


def _number(query: Query, name: str, default: int) -> int:
    text = query.get(name) or str(default)
    if not text.isdigit():
        raise Refused("51000", f"Parameter {name} error", 400)
    return int(text)


def _json(body: Mapping[str, Any], status: int) -> web.Response:
    return web.Response(text=json.dumps(body, separators=(",", ":")), status=status, content_type="application/json")


def _require(query: Query, name: str) -> str:
    value = query.get(name)
    if not value:
        raise Refused("50014", f"Parameter {name} can not be empty.", 400)
    return value
