"""Bybit's closed PnL: a row a closing order (and a session settlement of USDC contracts), net of what opening and closing cost.

Pure. Source: Bybit v5 docs, "Get Closed PnL", whose sample keeps ``closedPnl = ±(cumExitValue - cumEntryValue) - openFee -
closeFee``; no funding is in it. ``side`` is the closing order's.
"""

from __future__ import annotations

from typing import Any

from exchanges.sim import bybit_market as market
from exchanges.sim import bybit_trades as trades
from exchanges.sim.bybit_figures import figure
from exchanges.sim.closings import Closing
from exchanges.sim.exact import plain
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

# Documented for this list: Trade, BustTrade, SessionSettlePnL, Settle, MovePosition, CorporateAction. Assumed: ADL is a trade here.
_KINDS = {"normal": "Trade", "twap": "Trade", "adl": "Trade", "liquidation": "BustTrade", "delivery": "Settle"}


def closed_rows(world: World, account: Account, category: str) -> list[Row]:
    """Return what was closed of linear or inverse contracts, oldest first."""
    found = []
    for closing in world.closings(account.name):
        if market.category(world.contract("bybit", closing.position.symbol)) == category:
            found.append(_row(world, account, closing))
    return found


def _row(world: World, account: Account, closing: Closing) -> Row:
    contract, position = world.contract("bybit", closing.position.symbol), closing.position
    order = world.order(account.name, closing.order_id)
    size, settlement = closing.size, not closing.order_id
    if contract.inverse:  # values are in coins, average prices harmonic
        entry_value, exit_value = closing.entry_coins, closing.exit_coins
        entry, exit_ = size / entry_value, size / exit_value
    else:
        entry_value, exit_value = closing.entry_value, closing.exit_value
        entry, exit_ = entry_value / size, exit_value / size
    return {
        "symbol": contract.symbol,
        "orderType": "Limit" if order is not None and order.updated_at > order.created_at else "Market",
        "leverage": plain(position.leverage),
        "updatedTime": str(closing.updated_at),
        "side": "Sell" if position.sign > 0 else "Buy",
        "orderId": "" if settlement else trades.order_id(world, account.name, closing.order_id),
        "closedPnl": figure(closing.pnl + closing.open_fee + closing.close_fee),
        "openFee": figure(-closing.open_fee),
        "closeFee": figure(-closing.close_fee),
        "avgEntryPrice": figure(entry),
        "qty": plain(order.size if order is not None else size),
        "cumEntryValue": figure(entry_value),
        "createdTime": str(closing.created_at),
        "orderPrice": plain(order.price) if order is not None else "0",
        "closedSize": plain(size),
        "avgExitPrice": figure(exit_),
        "execType": "SessionSettlePnL" if settlement else _KINDS[closing.category],
        "fillCount": str(closing.fills),
        "cumExitValue": figure(exit_value),
    }
