"""The world as it really is, as JSON-ready data: what the control port answers and what tests compare with.

Owns the chronicle: every change of a position with its real cause, and every switch of an account's mode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from exchanges.sim.changes import Filled, FundingPaid, ModeChanged, Order, PositionChanged, WorldEvent
from exchanges.sim.exact import plain
from exchanges.sim.revalue import Position
from exchanges.sim.state import Account, State

# Changes that can be asked for by number, and how many are told to who does not ask.
CHANGES_KEPT = 20_000
CHANGES_TOLD = 100
SWITCHES_KEPT = 1_000
# What leaves nothing that a client could find: no fill, order, payment or bill, no change of the account.
TRACELESS = frozenset({"silent", "expired"})
# Venues that tell of a split in their own way; elsewhere size and entry simply are others.
_TELL_SPLITS = frozenset({"okx", "bybit"})


class Chronicle:
    """Every change of a position, numbered from 1, with its real cause and the ids of what a client could find of it.

    Attributes:
        switches: The newest switches of mode, oldest first.
    """

    def __init__(self) -> None:
        self._count = 0
        self._kept: deque[tuple[int, PositionChanged, dict[str, str]]] = deque(maxlen=CHANGES_KEPT)
        self._ids: dict[str, str] = {}
        self.switches: deque[ModeChanged] = deque(maxlen=SWITCHES_KEPT)

    def take(self, event: WorldEvent) -> None:
        """Write down an event; what belongs to a change (its fill, its payment) comes before it."""
        match event:
            case Filled(trade=trade):
                self._ids = {"trade": str(trade.id), "order": str(trade.order_id)}
            case FundingPaid(id=number):
                self._ids = {"payment": str(number)}
            case PositionChanged():
                self._count += 1
                self._kept.append((self._count, event, self._ids))
                self._ids = {}
            case ModeChanged():
                self.switches.append(event)
            case _:
                pass

    def since(self, number: int | None) -> list[dict[str, Any]]:
        """Return the changes after a number, oldest first (None: the newest few); each names its own number as ``n``."""
        count = CHANGES_TOLD if number is None else max(0, self._count - number)
        first = max(0, len(self._kept) - count)
        return [_change(*self._kept[i]) for i in range(first, len(self._kept))]


def _change(number: int, event: PositionChanged, ids: dict[str, str]) -> dict[str, Any]:
    position = event.position
    return {
        "n": number, "at": event.at, "account": position.account, "venue": position.venue, "symbol": position.symbol,
        "side": position.side, "leg": position.leg, "margin_mode": position.mode,
        "before": None if event.before is None else _stood(event.before),
        "after": _stood(position) if position.size else None,
        "cause": event.cause, "trace": _leaves_trace(event), "ids": ids,
    }  # fmt: skip


def _leaves_trace(event: PositionChanged) -> bool:
    untold = event.cause == "split" and event.position.venue not in _TELL_SPLITS
    return not untold and event.cause not in TRACELESS


def _stood(position: Position) -> dict[str, str | None]:
    return {
        "side": position.side, "leg": position.leg, "margin_mode": position.mode, "size": plain(position.size),
        "entry_price": plain(position.first_entry or position.entry_price),
        "margin": None if position.margin is None else plain(position.margin),
    }  # fmt: skip


def truth(state: State) -> dict[str, Any]:
    """Return positions (open ones, and liquidated ones with size 0), balances, open orders, modes and marks.

    Every decimal is a string.
    """
    marks: dict[str, dict[str, str]] = {}
    for (venue, symbol), mark in state.marks().items():
        marks.setdefault(venue, {})[symbol] = plain(mark)
    return {
        "positions": [_position(state, p) for account in state.accounts.values() for p in _told(state, account)],
        "balances": [row for account in state.accounts.values() for row in _balances(state, account)],
        "orders": [_order(account, o) for account in state.accounts.values() for o in state.orders(account.name)],
        "modes": {account.name: {"mode": account.mode, "hedge": account.hedge} for account in state.accounts.values()},
        "marks": marks,
    }


def _told(state: State, account: Account) -> Iterator[Position]:
    yield from state.positions(account.name)
    yield from account.liquidated.values()


def _position(state: State, position: Position) -> dict[str, Any]:
    return {
        "account": position.account,
        "venue": position.venue,
        "symbol": position.symbol,
        "side": position.side,
        "leg": position.leg,
        "margin_mode": position.mode,
        "size": plain(position.size),
        "entry_price": plain(position.first_entry or position.entry_price),
        "mark_price": plain(state.mark(position.venue, position.symbol)),
        "unrealized_pnl": plain(state.unrealized_pnl(position)),
        "liquidated": position.liquidated,
    }


def _order(account: Account, order: Order) -> dict[str, Any]:
    return {
        "id": str(order.id), "account": account.name, "venue": account.venue, "symbol": order.symbol, "leg": order.leg,
        "margin_mode": order.mode, "side": "buy" if order.buy else "sell", "price": plain(order.price),
        "size": plain(order.size), "filled": plain(order.filled), "status": order.status,
        "reduce_only": order.reduce_only,
    }  # fmt: skip


def _balances(state: State, account: Account) -> Iterator[dict[str, str]]:
    for purse, cash in account.cash.items():
        mine = [p for p in account.positions.values() if state.contracts[p.venue, p.symbol].purse == purse]
        equity = cash + sum((state.worth(p) for p in mine), Decimal(0))
        perps = account.venue == "hyperliquid"
        # What OKX calls the balance of a currency has left out isolated margins; the others count them in.
        total = state.cross_cash(account, purse) if account.venue == "okx" else cash
        yield {
            "account": account.name, "venue": account.venue, "ccy": "USDC" if perps else purse,
            "purse": f"perp:{purse}" if perps else purse, "total": plain(total), "equity": plain(equity),
        }  # fmt: skip
    for ccy, total in account.spot.items():
        yield {
            "account": account.name, "venue": account.venue, "ccy": ccy, "purse": "spot", "total": plain(total),
            "equity": plain(total),
        }  # fmt: skip
