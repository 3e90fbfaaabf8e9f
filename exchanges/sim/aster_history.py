"""What Aster remembers: orders, trades, income, forced orders; windows, limits and paging of these questions.

Owns done orders, which the front hands in as they change. Sources: Aster docs "Query Order", "All Orders", "Account Trade
List", "Get Income History", "User's Force Orders".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from exchanges.sim import aster_orders as rows
from exchanges.sim.aster_figures import position_side
from exchanges.sim.aster_keys import Refused
from exchanges.sim.changes import Filled, Order
from exchanges.sim.exact import plain
from exchanges.sim.front import Clock
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]
Params = Mapping[str, str]

WEEK_MS = 7 * 86_400_000
KEPT = 5_000  # orders per account
_FORCED = {"LIQUIDATION": "liquidation", "ADL": "adl"}
_NO_ORDER = (-2013, "Order does not exist.")


class History:
    """Answers about the past, of one world's Aster accounts."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world, self._clock = world, clock
        self._orders: dict[str, deque[int]] = {a.name: deque(maxlen=KEPT) for a in world.accounts_of("aster")}

    def note(self, order: Order) -> None:
        """Remember that an order exists; what became of it the world knows."""
        known = self._orders[order.account]
        if order.id not in known:
            known.append(order.id)

    # --- Orders ----------------------------------------------------------------------------------------------------

    def order(self, account: Account, params: Params) -> Row:
        """Return one order by id or client id. Raises Refused: there is none."""
        symbol = self._symbol(params)
        number, name = params.get("orderId"), params.get("origClientOrderId")
        if number is None and name is None:
            raise Refused(-1102, "Param 'orderId' or 'origClientOrderId' must be sent, but both were empty/null!")
        for order in self._known(account, symbol):
            if str(order.id) == number or rows.client_id(order) == name:
                return rows.order_row(order)
        raise Refused(*_NO_ORDER)

    def open_order(self, account: Account, params: Params) -> Row:
        """Return one order if it is still open. Raises Refused."""
        row = self.order(account, params)
        if row["status"] not in {"NEW", "PARTIALLY_FILLED"}:
            raise Refused(*_NO_ORDER)
        return row

    def open_orders(self, account: Account, params: Params) -> list[Row]:
        """Return what is open, of one symbol or of all."""
        symbol = self._symbol(params) if "symbol" in params else None
        return [rows.order_row(o) for o in self._world.orders(account.name) if symbol in {None, o.symbol}]

    def all_orders(self, account: Account, params: Params) -> list[Row]:
        """Return a symbol's orders of a window, or from an order id on."""
        mine = self._known(account, self._symbol(params))
        limit = _limit(params, 500, 1000)
        if "orderId" in params:
            return [rows.order_row(o) for o in mine if o.id >= _integer(params, "orderId", 0)][:limit]
        begin, end = self._window(params)
        found = [rows.order_row(o) for o in mine if begin <= o.created_at <= end]
        return found[:limit] if "startTime" in params else found[-limit:]

    def forced(self, account: Account, params: Params) -> list[Row]:
        """Return liquidation and ADL orders of a window."""
        wanted = params.get("autoCloseType")
        if wanted is not None and wanted not in _FORCED:
            raise Refused(-1130, "Data sent for parameter 'autoCloseType' is not valid.")
        symbol = self._symbol(params) if "symbol" in params else None
        begin, end = self._window(params)
        found = [
            rows.order_row(o)
            for o in self._known(account, symbol)
            if o.category in ([_FORCED[wanted]] if wanted else _FORCED.values()) and begin <= o.updated_at <= end
        ]
        return found[-_limit(params, 50, 100) :]

    # --- Trades and income -----------------------------------------------------------------------------------------

    def trades(self, account: Account, params: Params) -> list[Row]:
        """Return a symbol's fills of a window, or from a trade id on, oldest first."""
        symbol, limit = self._symbol(params), _limit(params, 500, 1000)
        mine = [fill for fill in self._world.fills(account.name) if fill.symbol == symbol]
        if "fromId" in params:
            if "startTime" in params or "endTime" in params:
                raise Refused(-1128, "Combination of optional parameters invalid.")
            return [rows.trade_row(f) for f in mine if f.trade.id >= _integer(params, "fromId", 0)][:limit]
        begin, end = self._window(params)
        found = [fill for fill in mine if begin <= fill.at <= end]
        return [rows.trade_row(fill) for fill in (found[:limit] if "startTime" in params else found[-limit:])]

    def income(self, account: Account, params: Params) -> list[Row]:
        """Return money that came and went, oldest first."""
        symbol = self._symbol(params) if "symbol" in params else None
        kind, limit = params.get("incomeType"), _limit(params, 100, 1000)
        begin, end = self._span(params)
        found = [
            row
            for row in self._all_income(account)
            if begin <= row["time"] <= end and symbol in {None, row["symbol"]} and kind in {None, row["incomeType"]}
        ]
        return found[:limit] if "startTime" in params else found[-limit:]

    def _all_income(self, account: Account) -> list[Row]:
        fills: Sequence[Filled] = self._world.fills(account.name)
        found = [row for fill in fills for row in rows.income_of_fill(fill)]
        found += [rows.income_of_funding(payment) for payment in self._world.payments(account.name)]
        found += [rows.income_of_transfer(transfer) for transfer in self._world.transfers(account.name)]
        return sorted(found, key=lambda row: row["time"])

    def margins(self, account: Account, params: Params) -> list[Row]:
        """Return margin that was added to or taken from isolated positions of a symbol, oldest first."""
        symbol, limit = self._symbol(params), _limit(params, 100, 500)
        begin, end = self._span(params)
        found = []
        for change in self._world.changes(0):
            mine = change["cause"] == "margin" and (change["account"], change["symbol"]) == (account.name, symbol)
            if not mine or not begin <= change["at"] <= end or not (change["before"] and change["after"]):
                continue
            amount = Decimal(change["after"]["margin"]) - Decimal(change["before"]["margin"])
            found.append({
                "amount": plain(abs(amount)), "asset": "USDT", "symbol": symbol, "time": change["at"],
                "type": 1 if amount > 0 else 2, "positionSide": position_side(change["leg"]),
            })  # fmt: skip
        return found[-limit:]

    # --- What is asked ---------------------------------------------------------------------------------------------

    def _known(self, account: Account, symbol: str | None) -> list[Order]:
        """Return the account's orders that are remembered, oldest first."""
        found = (self._world.order(account.name, number) for number in self._orders[account.name])
        return [order for order in found if order is not None and symbol in {None, order.symbol}]

    def _symbol(self, params: Params) -> str:
        symbol = params.get("symbol")
        if not symbol:
            raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if symbol not in {contract.symbol for contract in self._world.listed("aster")}:
            raise Refused(-1121, "Invalid symbol.")
        return symbol

    def _span(self, params: Params) -> tuple[int, int]:
        """Return begin and end of a window, both inclusive; a week where one or both are left out."""
        now = self._clock()
        if "startTime" in params:
            begin = _integer(params, "startTime", 0)
            return begin, _integer(params, "endTime", max(now, begin))
        end = _integer(params, "endTime", now)
        return end - WEEK_MS, end

    def _window(self, params: Params) -> tuple[int, int]:
        """Return a window of at most a week. Raises Refused: longer, or it ends before it begins."""
        begin, end = self._span(params)
        if begin > end:
            raise Refused(-1023, "Start time is greater than end time.")
        if "endTime" not in params:
            return begin, min(end, begin + WEEK_MS)
        if end - begin > WEEK_MS:
            raise Refused(-1127, "Lookup interval is too big.")
        return begin, end


def _integer(params: Params, name: str, default: int) -> int:
    text = params.get(name)
    if text is None:
        return default
    if not text.isdigit():
        raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return int(text)


def _limit(params: Params, usual: int, most: int) -> int:
    wanted = _integer(params, "limit", usual)
    if not 0 < wanted <= most:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return wanted
