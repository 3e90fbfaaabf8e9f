"""The world as it really is, as JSON-ready data: what the control port answers and what tests compare with."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from exchanges.sim.exact import plain
from exchanges.sim.revalue import Position
from exchanges.sim.state import Account, State


def truth(state: State) -> dict[str, Any]:
    """Return positions (open ones, and liquidated ones with size 0), balances and marks; every decimal is a string."""
    marks: dict[str, dict[str, str]] = {}
    for (venue, symbol), mark in state.marks().items():
        marks.setdefault(venue, {})[symbol] = plain(mark)
    return {
        "positions": [_position(state, p) for account in state.accounts.values() for p in _told(state, account)],
        "balances": [row for account in state.accounts.values() for row in _balances(state, account)],
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
        "margin_mode": position.mode,
        "size": plain(position.size),
        "entry_price": plain(position.entry_price),
        "mark_price": plain(state.mark(position.venue, position.symbol)),
        "unrealized_pnl": plain(state.unrealized_pnl(position)),
        "liquidated": position.liquidated,
    }


def _balances(state: State, account: Account) -> Iterator[dict[str, str]]:
    for purse, cash in account.cash.items():
        mine = [p for p in account.positions.values() if state.contracts[p.venue, p.symbol].purse == purse]
        equity = cash + sum((state.unrealized_pnl(p) for p in mine), Decimal(0))
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
