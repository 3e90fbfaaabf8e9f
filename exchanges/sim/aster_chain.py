"""Aster Chain's RPC: an account's public face by its wallet address, without any key (JSON-RPC 2.0 on ``POST /info``).

An account with privacy enabled is there, but tells nothing. It knows no liquidation price and no maintenance margin. Source:
Aster docs "aster-chain-rpc".
"""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web

from exchanges.sim.aster_figures import position_side, signed
from exchanges.sim.aster_keys import Keys
from exchanges.sim.exact import plain
from exchanges.sim.front import Clock
from exchanges.sim.revalue import Position
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

GENESIS_MS = 1_772_678_119_418
WEEK_MS = 7 * 86_400_000
MOST = 1_000
# Accounts that show nothing to strangers.
PRIVATE = frozenset({"aster-multi"})
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
# Balances are JSON numbers here, with all their digits: no float may touch them.
_BALANCE = re.compile(r'"walletBalance": ?"(-?[0-9.]+)"')


class Unanswerable(Exception):
    """A question with an error of JSON-RPC: code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


class Chain:
    """Answers over one world."""

    def __init__(self, world: World, keys: Keys, clock: Clock) -> None:
        self._world, self._keys, self._clock = world, keys, clock
        self._methods = {
            "aster_getBalance": self._balance,
            "aster_openOrders": self._open_orders,
            "aster_userFills": self._fills,
        }

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one call."""
        try:
            call = json.loads(await request.text())
        except ValueError:
            call = None
        number = call.get("id") if isinstance(call, dict) else None
        try:
            result = {"result": self.answer(call)}
        except Unanswerable as error:
            result = {"error": {"code": error.code, "message": error.message}}
        text = json.dumps({**result, "id": number, "jsonrpc": "2.0"})
        return web.Response(text=_BALANCE.sub(r'"walletBalance": \1', text), content_type="application/json")

    def answer(self, call: object) -> Row:
        """Return the result of a call. Raises Unanswerable."""
        if not isinstance(call, dict):
            raise Unanswerable(-32700, "Parse error")
        method, params = self._methods.get(str(call.get("method"))), call.get("params")
        if method is None:
            raise Unanswerable(-32601, "Method not found")
        if not isinstance(params, list) or not params or not _ADDRESS.fullmatch(str(params[0])):
            raise Unanswerable(-32602, "Invalid params")
        login = self._keys.by_address(params[0])
        account = self._world.account(login.account) if login else None
        private = account is not None and account.name in PRIVATE
        head = {"address": params[0], "accountPrivacy": "enabled" if private else "disabled"}
        return head if private else {**head, **method(account, params)}

    def _balance(self, account: Account | None, params: list[Any]) -> Row:
        positions = self._world.positions(account.name) if account else []
        # One of many wallets of the world: an unknown one is empty, not an error.
        return {
            "perpAssets": [
                {"asset": asset, "walletBalance": plain(cash)}
                for asset, cash in (account.cash if account else {}).items()
            ],
            "positions": [{"tradingProduct": "perps", "positions": [self._position(account, p) for p in positions]}]
            if account
            else [],
            "staking": None,
        }

    def _position(self, account: Account | None, position: Position) -> Row:
        assert account is not None
        notional = plain(self._world.notional(position))
        side = position_side(position.leg)
        return {
            "id": f"{account.uid}_{position.symbol}_{side}",
            "symbol": position.symbol,
            "collateral": "USDT",
            "positionAmount": plain(signed(position)),
            "entryPrice": plain(position.entry_price),
            "unrealizedProfit": plain(self._world.unrealized_pnl(position)),
            "askNotional": "0",
            "bidNotional": "0",
            "notionalValue": notional,
            "markPrice": plain(self._world.mark("aster", position.symbol)),
            "leverage": int(position.leverage),
            "isolated": position.margin is not None,
            "isolatedWallet": "0" if position.margin is None else plain(position.margin),
            "adl": 1,
            "positionSide": side,
            "marginValue": notional,
        }

    def _open_orders(self, account: Account | None, params: list[Any]) -> Row:
        symbol = params[1] if len(params) > 1 else None
        found = [
            {
                "orderId": f"web_{order.id}",
                "symbol": order.symbol,
                "side": "BUY" if order.buy else "SELL",
                "type": "LIMIT",
                "origQty": plain(order.size),
                "price": plain(order.price),
            }
            for order in (self._world.orders(account.name) if account else [])
            if not symbol or order.symbol == symbol
        ]
        return {"openOrders": found[:MOST]}

    def _fills(self, account: Account | None, params: list[Any]) -> Row:
        symbol, begin, end = (*params[1:4], None, None, None)[:3]
        if end is None:
            end = begin + WEEK_MS if isinstance(begin, int) else self._clock()
        if begin is None:
            begin = end - WEEK_MS
        if not isinstance(begin, int) or not isinstance(end, int) or not 0 <= end - begin <= WEEK_MS:
            raise Unanswerable(-32602, "Invalid params")
        found = [
            {
                "symbol": fill.symbol,
                "side": "BUY" if fill.trade.buy else "SELL",
                "price": plain(fill.trade.price),
                "qty": plain(fill.trade.size),
                "time": fill.at,
            }
            for fill in reversed(self._world.fills(account.name) if account else [])
            if begin <= fill.at <= end and begin >= GENESIS_MS and (not symbol or fill.symbol == symbol)
        ]
        return {"startTime": begin, "endTime": end, "fills": found[:MOST]}
