"""Aster's REST answers: paths of V1 and V3, who may ask, weights, bans, errors.

Owns what is checked about a request and what it costs; the figures come from ``aster_figures``, ``aster_market`` and
``aster_history``. Sources: Aster docs "General Info", "LIMITS", the endpoints by name; weights as the venue page lists them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import parse_qs

from aiohttp import web

from exchanges.sim import aster_figures as figures
from exchanges.sim import aster_market as market
from exchanges.sim.aster_chain import Chain
from exchanges.sim.aster_history import History
from exchanges.sim.aster_keys import Keys, Login, Refused
from exchanges.sim.catalog import Contract
from exchanges.sim.front import Clock, Faults
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]
Params = Mapping[str, str]
Security = Literal["none", "signed", "stream"]

MINUTE_MS = 60_000
BAN_MS = 120_000
PATIENCE = 10  # questions after a 429, within its minute, before an address is banned


@dataclass(frozen=True)
class Asked:
    """One question that may be answered: by whom (None: anybody), in which version, with which parameters."""

    account: Account | None
    newer: bool
    params: Params


class Reads(Protocol):
    """What REST needs of the front."""

    world: World
    clock: Clock
    faults: Faults
    keys: Keys
    history: History

    @property
    def contracts(self) -> dict[str, Contract]:
        """What is listed now, by symbol."""

    def now(self) -> int:
        """Return the time as the venue shows and checks it."""

    def catch_up(self, now_ms: int) -> None:
        """Push to the streams what happened so far."""

    def start_stream(self, account: str, now_ms: int) -> str:
        """Return the account's listen key, which is good for another hour from now on."""

    def keep_stream(self, account: str, now_ms: int) -> bool:
        """Extend the account's listen key; False: there is none."""

    def end_stream(self, account: str) -> None:
        """Forget the account's listen key and close its sockets."""


Answer = Callable[[Asked], Any]


class AsterRest:
    """Answers of one front."""

    def __init__(self, front: Reads) -> None:
        self._front = front
        self._chain = Chain(front.world, front.keys, front.clock)
        self._minute = 0
        self._used = 0
        self._refused = 0
        self._banned_until = 0

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the REST paths of both versions, and the chain's."""
        for path, weight, answer in (
            ("ping", 1, lambda asked: {}),
            ("time", 1, lambda asked: {"serverTime": self._front.now()}),
            ("exchangeInfo", 1, lambda asked: market.exchange_info(self._front.contracts.values(), self._front.now())),
            ("premiumIndex", 1, lambda asked: self._market(asked, self._premium)),
            ("fundingInfo", 1, lambda asked: self._listed(asked, lambda c: market.funding_info(c, self._front.now()))),
            ("fundingRate", 1, lambda asked: self._listed(asked, lambda c: market.funding_rate(self._front.world, c))),
            ("ticker/bookTicker", 2, lambda asked: self._market(asked, self._book)),
        ):
            yield from (
                web.get(f"/fapi/{version}/{path}", self._handler(weight, "none", answer)) for version in ("v1", "v3")
            )
        history = self._front.history
        for old, new, cost, signed in (
            ("v4/account", "v3/accountWithJoinMargin", 5, self._account),
            ("v4/accountWithJoinMargin", "v3/account", 5, self._account),
            ("v2/balance", "v3/balance", 5, lambda asked: figures.balance(self._front.world, _known(asked))),
            ("v2/positionRisk", "v3/positionRisk", 5, self._positions),
            ("v1/positionSide/dual", "v3/positionSide/dual", 30, lambda asked: {"dualSidePosition": _known(asked).hedge}),
            ("v1/multiAssetsMargin", "v3/multiAssetsMargin", 30, self._multi),
            ("v1/leverageBracket", "v3/leverageBracket", 1, lambda asked: self._market(asked, figures.brackets)),
            ("v1/openOrders", "v3/openOrders", 40, lambda asked: history.open_orders(_known(asked), asked.params)),
            ("v1/openOrder", "v3/openOrder", 1, lambda asked: history.open_order(_known(asked), asked.params)),
            ("v1/order", "v3/order", 1, lambda asked: history.order(_known(asked), asked.params)),
            ("v1/allOrders", "v3/allOrders", 5, lambda asked: history.all_orders(_known(asked), asked.params)),
            ("v1/userTrades", "v3/userTrades", 5, lambda asked: history.trades(_known(asked), asked.params)),
            ("v1/income", "v3/income", 30, lambda asked: history.income(_known(asked), asked.params)),
            ("v1/forceOrders", "v3/forceOrders", 50, lambda asked: history.forced(_known(asked), asked.params)),
            (
                "v1/positionMargin/history", "v3/positionMargin/history", 1,
                lambda asked: history.margins(_known(asked), asked.params),
            ),
            ("v1/commissionRate", "v3/commissionRate", 20, self._commission),
            ("v1/adlQuantile", "v3/adlQuantile", 5, self._quantiles),
        ):  # fmt: skip
            yield from (web.get(f"/fapi/{path}", self._handler(cost, "signed", signed)) for path in (old, new))
        yield web.get("/fapi/v3/agent", self._handler(1, "signed", self._agents))
        for version in ("v1", "v3"):
            path = f"/fapi/{version}/listenKey"
            yield web.post(path, self._handler(1, "stream", self._start))
            yield web.put(path, self._handler(1, "stream", self._keep))
            yield web.delete(path, self._handler(1, "stream", self._end))
        # The spot host's list, which clients of both markets ask for: no spot is traded here.
        yield web.get("/api/v3/exchangeInfo", self._handler(1, "none", self._no_spot))
        yield web.post("/info", self._chain.handle)

    # --- What every request goes through -----------------------------------------------------------------------------

    def _handler(
        self, weight: int, security: Security, answer: Answer
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            body = await request.text()
            now_ms = self._front.now()
            try:
                self._charge(weight, request, now_ms)
                return self._respond(answer(self._checked(request, body, security, now_ms)))
            except Refused as refused:
                return self._respond({"code": refused.code, "msg": refused.message}, refused.status)

        return handle

    def _respond(self, value: Any, status: int = 200) -> web.Response:
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._used)}
        if status in {418, 429}:
            until = self._banned_until if status == 418 else (self._minute + 1) * MINUTE_MS
            headers["Retry-After"] = str(max(1, (until - self._front.now()) // 1000))
        return web.json_response(value, status=status, headers=headers)

    def _charge(self, weight: int, request: web.Request, now_ms: int) -> None:
        """Count a request against the address's minute. Raises Refused: 429 above the limit, 418 for who goes on then."""
        if now_ms // MINUTE_MS != self._minute:
            self._minute, self._used, self._refused = now_ms // MINUTE_MS, 0, 0
        if now_ms < self._banned_until:
            raise self._ban()
        if weight == 40 and "symbol" in request.query:  # orders of all symbols cost more than those of one
            weight = 1
        elif weight == 50 and "symbol" in request.query:
            weight = 20
        self._used += weight
        if self._front.faults.take_limit(self._front.clock()):
            raise Refused(-1003, "Too many requests; please use the websocket for live updates.", 429)
        if self._used > market.WEIGHT_PER_MINUTE:
            self._refused += 1
            if self._refused > PATIENCE:
                self._banned_until = now_ms + BAN_MS
                raise self._ban()
            text = f"Too many requests; current limit is {market.WEIGHT_PER_MINUTE} requests per minute."
            raise Refused(-1003, f"{text} Please use the websocket for live updates to avoid polling the API.", 429)

    def _ban(self) -> Refused:
        text = f"Way too many requests; IP banned until {self._banned_until}."
        return Refused(-1003, f"{text} Please use the websocket for live updates to avoid bans.", 418)

    def _checked(self, request: web.Request, body: str, security: Security, now_ms: int) -> Asked:
        """Return the question with who asks it. Raises Refused."""
        newer = request.path.startswith("/fapi/v3/")
        query = request.raw_path.partition("?")[2]
        params = {name: values[-1] for name, values in parse_qs(f"{query}&{body}").items()}
        if security == "none":
            return Asked(None, newer, params)
        login: Login
        if newer:
            login = self._front.keys.by_wallet(query, body, now_ms)
        elif security == "stream":
            login = self._front.keys.by_api_key(request.headers, now_ms)
        else:
            login = self._front.keys.by_hmac(request.headers, query, body, now_ms)
        self._front.catch_up(self._front.clock())
        return Asked(self._front.world.account(login.account), newer, params)

    # --- Public answers ----------------------------------------------------------------------------------------------

    def _contract(self, asked: Asked) -> Contract | None:
        """Return the symbol that is asked for, None for all. Raises Refused."""
        symbol = asked.params.get("symbol")
        if symbol is None:
            return None
        if symbol not in self._front.contracts:
            raise Refused(-1121, "Invalid symbol.")
        return self._front.contracts[symbol]

    def _market(self, asked: Asked, row: Callable[[Contract], Row]) -> Row | list[Row]:
        """Return one object where a symbol is asked for, else all as an array."""
        contract = self._contract(asked)
        return row(contract) if contract else [row(c) for c in self._front.contracts.values()]

    def _listed(self, asked: Asked, row: Callable[[Contract], Row]) -> list[Row]:
        """Return an array, of one where a symbol is asked for."""
        contract = self._contract(asked)
        return [row(c) for c in ([contract] if contract else self._front.contracts.values())]

    def _premium(self, contract: Contract) -> Row:
        return market.premium_index(self._front.world, contract, self._front.now())

    def _book(self, contract: Contract) -> Row:
        return market.book_ticker(self._front.world, contract, self._front.now())

    def _no_spot(self, asked: Asked) -> Row:
        return {"timezone": "UTC", "serverTime": self._front.now(), "rateLimits": [], "assets": [], "symbols": []}

    # --- Answers to an account ---------------------------------------------------------------------------------------

    def powers(self, account: Account) -> tuple[str, ...]:
        """Return what the account's key may do: ``read``, ``trade``, ``withdraw``."""
        usual = ("read", "trade") if account.can_trade else ("read",)
        return self._front.faults.key_powers.get(account.name, usual)

    def _account(self, asked: Asked) -> Row:
        account, powers = _known(asked), self.powers(_known(asked))
        flags = {"canTrade": "trade" in powers, "canDeposit": True, "canWithdraw": "withdraw" in powers}
        return figures.account_information(self._front.world, account, self._front.contracts.values(), flags)

    def _agents(self, asked: Asked) -> list[Row]:
        account, powers = _known(asked), self.powers(_known(asked))
        login = self._front.keys.by_address(account.address)
        assert login is not None
        return [
            {
                "agentName": "perpwire",
                "agentAddress": login.key,
                "ipWhitelist": "",
                "expired": login.expires_at,
                "canSpotTrade": "trade" in powers,
                "canPerpTrade": "trade" in powers,
                "canWithdraw": "withdraw" in powers,
            }
        ]

    def _positions(self, asked: Asked) -> list[Row]:
        contract = self._contract(asked)
        wanted = [contract] if contract else self._front.contracts.values()
        return figures.position_risk(self._front.world, _known(asked), wanted, newer=asked.newer)

    def _multi(self, asked: Asked) -> Row:
        return {"multiAssetsMargin": _known(asked).mode == "multi"}

    def _commission(self, asked: Asked) -> Row:
        contract = self._contract(asked)
        if contract is None:
            raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        return figures.commission_rate(_known(asked), contract)

    def _quantiles(self, asked: Asked) -> list[Row]:
        account = _known(asked)
        return self._listed(asked, lambda contract: figures.adl_quantile(account, contract))

    def _start(self, asked: Asked) -> Row:
        return {"listenKey": self._front.start_stream(_known(asked).name, self._front.clock())}

    def _keep(self, asked: Asked) -> Row:
        if not self._front.keep_stream(_known(asked).name, self._front.clock()):
            raise Refused(-1125, "This listenKey does not exist.")
        return {}

    def _end(self, asked: Asked) -> Row:
        self._front.end_stream(_known(asked).name)
        return {}


def _known(asked: Asked) -> Account:
    assert asked.account is not None
    return asked.account


def compact(value: Any) -> str:
    """Return JSON without spaces, as frames are written."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
