"""What Bybit's REST tells an account about itself: mode, wallet, positions, orders, executions, transaction log.

Owns which rows answer which question; figures come from ``bybit_figures`` and ``bybit_trades``. Sources: Bybit v5 docs, the
endpoints by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from exchanges.sim import bybit_closed as closed
from exchanges.sim import bybit_figures as figures
from exchanges.sim import bybit_market as market
from exchanges.sim import bybit_pages as pages
from exchanges.sim import bybit_trades as trades
from exchanges.sim.bybit_books import Books
from exchanges.sim.bybit_pages import Query, Refused, Row
from exchanges.sim.catalog import Contract
from exchanges.sim.changes import Order
from exchanges.sim.revalue import Leg, Position
from exchanges.sim.state import Account
from exchanges.sim.world import World

Answer = Callable[[Account, Query, int], Row]

POSITIONS_PER_PAGE, MAX_POSITIONS_PER_PAGE = 20, 200
ORDERS_PER_PAGE, MAX_ORDERS_PER_PAGE = 20, 50
CLOSED_PER_PAGE, MAX_CLOSED_PER_PAGE = 50, 100
EXECUTIONS_PER_PAGE, MAX_EXECUTIONS_PER_PAGE = 50, 100
LOG_PER_PAGE, MAX_LOG_PER_PAGE = 20, 50
MAX_COINS = 20  # of one question for what is transferable


class AccountAnswers:
    """Answers over the world; ``answers`` by path takes account, query and the venue's time."""

    def __init__(self, world: World, books: Books) -> None:
        self._world = world
        self._books = books
        self.answers: dict[str, Answer] = {
            "/v5/account/info": self._info,
            "/v5/account/wallet-balance": self._wallet,
            "/v5/account/withdrawal": self._transferable,
            "/v5/account/transaction-log": self._log,
            "/v5/position/list": self._positions,
            "/v5/position/closed-pnl": self._closed,
            "/v5/order/realtime": self._open_orders,
            "/v5/order/history": self._order_history,
            "/v5/execution/list": self._executions,
        }

    def _info(self, account: Account, query: Query, now_ms: int) -> Row:
        return {
            "marginMode": figures.MARGIN_MODES[account.mode],
            "updatedTime": "1700000000000",
            "unifiedMarginStatus": 5,
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _wallet(self, account: Account, query: Query, now_ms: int) -> Row:
        if query.get("accountType") != "UNIFIED":
            raise Refused(10001, "accountType only support UNIFIED.")
        wanted = query["coin"].split(",") if query.get("coin") else list(account.cash)
        coins = [ccy for ccy in account.cash if ccy in wanted and account.cash[ccy]]  # coins of nothing are left out
        return {"list": [figures.wallet_row(self._world, account, coins)]}

    def _transferable(self, account: Account, query: Query, now_ms: int) -> Row:
        coins = query.get("coinName", "").split(",")
        if not all(coins) or len(coins) > MAX_COINS:
            raise Refused(10001, f"params error: coinName must be 1 to {MAX_COINS} coins")
        amounts = {ccy: figures.figure(figures.transferable(self._world, account, ccy)) for ccy in coins}
        return {"availableWithdrawal": amounts[coins[0]], "availableWithdrawalMap": amounts}

    # --- Positions ---------------------------------------------------------------------------------------------------

    def _positions(self, account: Account, query: Query, now_ms: int) -> Row:
        category = pages.category(query)
        if category == "spot":
            raise Refused(10001, "params error: category only support linear, inverse or option")
        most = pages.limit(query, POSITIONS_PER_PAGE, MAX_POSITIONS_PER_PAGE)
        symbol, settle = query.get("symbol"), query.get("settleCoin")
        if category == "linear" and not symbol and not settle:
            raise Refused(10001, "params error: symbol or settleCoin is required")
        if symbol:
            found = self._legs(account, self._contract(category, symbol))
        else:
            found = [p for p in self._world.positions(account.name) if self._asked(p.symbol, category, query)]

        def place(position: Position) -> str:
            return f"{position.symbol},{figures.position_index(position)}"

        page, cursor = pages.onward(sorted(found, key=place), place, pages.cursor(query), most)
        if page:  # seen on the wire: the last page has a cursor too, and what follows it is empty
            cursor = pages.encoded(place(page[-1]))
        page.sort(
            key=lambda position: bool(position.size)
        )  # the legs of a symbol have no fixed order: empty ones first
        return {"category": category, "list": [self._row(account, p) for p in page], "nextPageCursor": cursor}

    def _contract(self, category: str, symbol: str) -> Contract:
        contract = market.find(self._world, symbol)
        if contract is None or market.category(contract) != category:
            raise Refused(10001, "params error: symbol invalid")
        return contract

    def _asked(self, symbol: str, category: str, query: Query) -> bool:
        """Say whether a question that names no symbol, or this one, means it."""
        contract = self._world.contract("bybit", symbol)
        return (
            market.category(contract) == category
            and query.get("symbol") in {None, "", symbol}
            and query.get("settleCoin") in {None, "", contract.settle}
            and query.get("baseCoin") in {None, "", contract.base}
        )

    def _legs(self, account: Account, contract: Contract) -> list[Position]:
        """Return every leg of a symbol, open or not: one in one-way mode, two in hedge mode."""
        open_ = {p.leg: p for p in self._world.positions(account.name) if p.symbol == contract.symbol}
        leverage = next((p.leverage for p in open_.values()), figures.FLAT_LEVERAGE)
        legs: tuple[Leg, ...] = ("long", "short") if account.hedge else ("net",)
        empty = {leg: figures.empty_leg(self._world, account, contract.symbol, leg, leverage) for leg in legs}
        return list({**empty, **open_}.values())

    def _row(self, account: Account, position: Position) -> Row:
        seq = self._books.position_seq(account.name, position.symbol, position.leg)
        return figures.position_row(self._world, account, position, seq)

    # --- Orders ------------------------------------------------------------------------------------------------------

    def _open_orders(self, account: Account, query: Query, now_ms: int) -> Row:
        """Return open orders; by id also one that is done; with ``openOnly=1`` those that were done lately."""
        category, text = pages.category(query), query.get("orderId")
        if text:
            order = trades.order_of(self._world, account.name, text)
            found = [order] if order else []
        else:
            if category == "linear" and not any(query.get(name) for name in ("symbol", "baseCoin", "settleCoin")):
                raise Refused(10001, "params error: symbol, baseCoin or settleCoin is required")
            recent = query.get("openOnly") == "1"
            found = self._books.done(account.name) if recent else self._world.orders(account.name)
        return self._orders(found, category, query)

    def _order_history(self, account: Account, query: Query, now_ms: int) -> Row:
        category, text = pages.category(query), query.get("orderId")
        start, end = pages.window(query, now_ms, pages.LONGEST_WINDOW_MS)
        if text:
            order = trades.order_of(self._world, account.name, text)
            return self._orders([order] if order else [], category, query)
        done = [order for order in self._books.done(account.name) if start <= order.created_at <= end]
        return self._orders(done, category, query)

    def _orders(self, orders: list[Order], category: str, query: Query) -> Row:
        most = pages.limit(query, ORDERS_PER_PAGE, MAX_ORDERS_PER_PAGE)
        asked = [order for order in orders if self._asked(order.symbol, category, query)]
        rows = [trades.order_row(self._world, order) for order in asked]
        return _newest(category, rows, "createdTime", ("orderId",), query, most)

    # --- The past ----------------------------------------------------------------------------------------------------

    def _executions(self, account: Account, query: Query, now_ms: int) -> Row:
        category = pages.category(query)
        start, end = pages.window(query, now_ms, pages.LONGEST_WINDOW_MS)
        most = pages.limit(query, EXECUTIONS_PER_PAGE, MAX_EXECUTIONS_PER_PAGE)
        rows = [
            trades.listed_execution(self._world, event, seq)
            for event, seq in self._books.executions(account.name)
            if start <= event.at <= end and self._asked(event.position.symbol, category, query)
        ]
        chosen = [row for row in rows if all(query.get(n) in {None, "", row[n]} for n in ("orderId", "execType"))]
        return _newest(category, chosen, "execTime", ("execId",), query, most)

    def _closed(self, account: Account, query: Query, now_ms: int) -> Row:
        category = pages.category(query)
        if category not in {"linear", "inverse"}:
            raise Refused(10001, "params error: category only support linear or inverse")
        start, end = pages.window(query, now_ms, pages.LONGEST_WINDOW_MS)
        most = pages.limit(query, CLOSED_PER_PAGE, MAX_CLOSED_PER_PAGE)
        chosen = [
            row
            for row in closed.closed_rows(self._world, account, category)
            if start <= int(row["createdTime"]) <= end and query.get("symbol") in {None, "", row["symbol"]}
        ]
        return _newest(category, chosen, "createdTime", ("orderId", "symbol"), query, most)

    def _log(self, account: Account, query: Query, now_ms: int) -> Row:
        start, end = pages.window(query, now_ms, pages.DAY_MS)
        most = pages.limit(query, LOG_PER_PAGE, MAX_LOG_PER_PAGE)
        chosen = [
            row
            for row in trades.log_rows(self._world, account)
            if start <= int(row["transactionTime"]) <= end
            and all(query.get(name) in {None, "", row[name]} for name in ("category", "currency", "type"))
        ]
        return _newest("", chosen, "transactionTime", ("id",), query, most)


def _newest(category: str, rows: list[Row], at: str, names: Sequence[str], query: Query, most: int) -> Row:
    """Return a page of rows, newest first; ``names``: what tells rows of one time apart."""

    def place(row: dict[str, Any]) -> str:
        return pages.place_in_time(row[at], ":".join(str(row[name]) for name in names))

    page, cursor = pages.backward(sorted(rows, key=place, reverse=True), place, pages.cursor(query), most)
    answer: Row = {"list": page, "nextPageCursor": cursor}
    return {"category": category, **answer} if category else answer
