"""What Bybit's sockets push: an account's events to its private topics, tickers to the public ones.

Owns which frame goes to whom and when; how a client subscribes is ``bybit``. No private topic has a snapshot, the wallet does not
follow the mark, and a position is pushed on every edit of an order, unchanged and with the same sequence. Sources: Bybit v5 docs,
the topics by name.
"""

from __future__ import annotations

import json
from typing import Any

from exchanges.sim import bybit_figures as figures
from exchanges.sim import bybit_market as market
from exchanges.sim import bybit_trades as trades
from exchanges.sim.bybit_books import Books
from exchanges.sim.bybit_trades import Executed
from exchanges.sim.changes import (
    BalanceChanged,
    Filled,
    FundingPaid,
    MarkChanged,
    Order,
    OrderChanged,
    PositionChanged,
    WorldEvent,
)
from exchanges.sim.faults import Faults
from exchanges.sim.revalue import Key, Position
from exchanges.sim.sockets import Socket, Sockets, send_private
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

TICKER_EVERY_MS = 100


class Pushes:
    """The pushes of one front.

    Args:
        sockets: With a ``bybit.Session`` as state each.
        books: Numbers what happens.
    """

    def __init__(self, world: World, sockets: Sockets, faults: Faults, books: Books) -> None:
        self._world = world
        self._sockets = sockets
        self._faults = faults
        self._books = books
        self._cursor = world.cursor()
        self._told = {key: self._ticker(*key, world.now_ms) for key in self._keys()}
        self._ticked_at = world.now_ms

    # --- Private ---------------------------------------------------------------------------------------------------

    def catch_up(self, now_ms: int) -> None:
        """Push what the world did since last time, so that REST never answers what a stream has not been given yet."""
        events, self._cursor = self._world.events_since(self._cursor)
        for event in events:
            if not isinstance(event, MarkChanged) and self._world.accounts[event.account].venue == "bybit":
                self._push_event(self._world.accounts[event.account], event, now_ms)

    def _push_event(self, account: Account, event: WorldEvent, now_ms: int) -> None:
        match event:
            case OrderChanged(order=order):
                self._push_order(account, order, now_ms)
            case Filled() | FundingPaid():
                self._push_execution(account, event, now_ms)
            case PositionChanged(cause="silent") | BalanceChanged(cause="silent"):
                pass  # nobody is told
            case PositionChanged(cause="split"):
                self._push_execution(account, event, now_ms)
                self._push_position(account, event.position, now_ms)
            case PositionChanged():
                self._push_position(account, event.position, now_ms)
            case BalanceChanged():
                self._push(account, "wallet", "", [figures.wallet_row(self._world, account, [event.purse])], now_ms)
            case _:
                pass

    def _push_order(self, account: Account, order: Order, now_ms: int) -> None:
        """Push an order, and after an edit its position too, with the sequence that it has."""
        category = self._category(order.symbol)
        self._push(account, "order", category, [trades.order_row(self._world, order)], now_ms)
        if order.status in {"filled", "cancelled"}:
            self._books.finish(order)
        if order.status in {"open", "cancelled"}:
            held = account.positions.get(Key(order.symbol, order.leg, order.mode))
            flat = figures.empty_leg(self._world, account, order.symbol, order.leg)
            self._push_position(account, held or flat, now_ms)

    def _push_execution(self, account: Account, event: Executed, now_ms: int) -> None:
        seq = self._books.execute(event)
        category = self._category(event.position.symbol)
        self._push(account, "execution", category, [trades.execution_row(self._world, event, seq)], now_ms)

    def _push_position(self, account: Account, position: Position, now_ms: int) -> None:
        category = self._category(position.symbol)
        if self._listeners(account, "position", category):
            seq = self._books.position_seq(account.name, position.symbol, position.leg)
            row = figures.position_row(self._world, account, position, seq)
            self._push(account, "position", category, [figures.pushed_position(row, category)], now_ms)

    def _push(self, account: Account, kind: str, category: str, rows: list[Row], now_ms: int) -> None:
        shown = now_ms + self._faults.clock_skew_ms
        for socket, topic in self._listeners(account, kind, category):
            frame = {"id": f"{account.uid}_{kind}_{shown}", "topic": topic, "creationTime": shown, "data": rows}
            socket.state.active_at = now_ms
            send_private(socket, text_of(frame))

    def _category(self, symbol: str) -> str:
        return market.category(self._world.contract("bybit", symbol))

    def _listeners(self, account: Account, kind: str, category: str) -> list[tuple[Socket, str]]:
        """Return the account's sockets with the topic under which each subscribed to ``kind``."""
        names = (kind, f"{kind}.{category}")
        sockets = self._sockets.matching("private", account.name)
        return [(socket, topic) for socket in sockets for topic in names if topic in socket.state.topics]

    # --- Public ----------------------------------------------------------------------------------------------------

    def knows(self, category: str, symbol: str) -> bool:
        """Say whether a public socket has a ticker for a symbol."""
        return (category, symbol) in self._told

    def tick(self, now_ms: int) -> None:
        """Send the tickers of this 100 ms: what changed on futures, everything on spot and options."""
        if now_ms - self._ticked_at < TICKER_EVERY_MS:
            return
        self._ticked_at = now_ms
        sockets = self._sockets.matching("public")
        for key, before in self._told.items():
            now = self._ticker(*key, now_ms)
            changed = {name: value for name, value in now.items() if before[name] != value}
            if not changed:
                continue
            self._told[key] = now
            category, symbol = key
            whole = category in {"spot", "option"}
            data = now if whole else {"symbol": symbol, **changed}
            listening = [s for s in sockets if s.state.category == category and f"tickers.{symbol}" in s.state.topics]
            if listening:
                frame = self._frame(symbol, "snapshot" if whole else "delta", data, now_ms)
                for socket in listening:
                    socket.state.active_at = now_ms
                    socket.send(frame)

    def first(self, socket: Socket, now_ms: int) -> None:
        """Send the snapshots of topics that were just subscribed."""
        fresh, socket.state.fresh = socket.state.fresh, []
        for topic in fresh:
            symbol = topic.partition(".")[2]
            socket.send(self._frame(symbol, "snapshot", self._told[socket.state.category, symbol], now_ms))

    def _frame(self, symbol: str, kind: str, data: dict[str, str], now_ms: int) -> str:
        shown = now_ms + self._faults.clock_skew_ms
        return text_of(
            {"topic": f"tickers.{symbol}", "type": kind, "data": data, "cs": self._books.next(), "ts": shown}
        )

    def _keys(self) -> list[tuple[str, str]]:
        listed = [(market.category(contract), symbol) for symbol, contract in market.contracts(self._world).items()]
        return [*listed, *(("spot", symbol) for symbol in market.spot_pairs())]

    def _ticker(self, category: str, symbol: str, now_ms: int) -> dict[str, str]:
        if category == "spot":
            return market.spot_ticker(self._world, symbol, market.spot_pairs()[symbol])
        contract = market.find(self._world, symbol)
        assert contract is not None, "nothing is ever taken off the list"
        return market.ticker(self._world, contract, now_ms)


def text_of(frame: dict[str, Any]) -> str:
    """Return a frame as text."""
    return json.dumps(frame, separators=(",", ":"))
