"""What every account really did, for a test that counts: ``GET /truth?books=1``.

Owns the shape of fills and sums there; ids are those that the account's venue tells, amounts are exact effects on the balance.
"""

from __future__ import annotations

from typing import Any

from exchanges.sim import bybit_trades, hyperliquid_history, okx_trades
from exchanges.sim.changes import Filled
from exchanges.sim.exact import plain
from exchanges.sim.world import World

Row = dict[str, Any]


def books(world: World) -> Row:
    """Return ``{"fills": […], "realized": […]}`` since the world began; every decimal is a string.

    Fills, oldest first within their account, at most the newest 5,000 of each: ``fills`` of ``realized`` counts them all. Sums by
    account and symbol: ``realized_pnl`` of the price alone, ``settled`` of periodic settlements, ``premium`` of options.
    """
    return {
        "fills": [_fill(world, fill) for name in world.accounts for fill in world.fills(name)],
        "realized": [
            {
                "account": name,
                "venue": world.account(name).venue,
                "symbol": symbol,
                "ccy": world.contract(world.account(name).venue, symbol).settle,
                "fills": total.fills,
                "realized_pnl": plain(total.pnl),
                "fees": plain(total.fees),
                "funding": plain(total.funding),
                "settled": plain(total.settled),
                "premium": plain(total.premium),
            }
            for (name, symbol), total in world.totals().items()
        ],
    }


def _fill(world: World, fill: Filled) -> Row:
    position, trade = fill.position, fill.trade
    trade_id, order_id = _ids(world, fill)
    return {
        "account": fill.account, "venue": position.venue, "symbol": fill.symbol, "leg": position.leg,
        "margin_mode": position.mode, "at": fill.at, "trade_id": trade_id, "order_id": order_id,
        "side": "buy" if trade.buy else "sell", "size": plain(trade.size), "price": plain(trade.price), "fee": plain(trade.fee),
        "realized_pnl": plain(trade.pnl), "before": plain(trade.before), "role": "maker" if trade.maker else "taker",
        "category": trade.category,
    }  # fmt: skip


def _ids(world: World, fill: Filled) -> tuple[str, str]:
    """Return trade id and order id as the venue tells them."""
    trade = fill.trade
    match fill.position.venue:
        case "okx":
            return okx_trades.trade_id(trade), okx_trades.order_id(trade.order_id)
        case "bybit":
            order = bybit_trades.order_id(world, fill.account, trade.order_id)
            return bybit_trades.execution_id(world, fill), order
        case "hyperliquid":
            return str(hyperliquid_history.fill_row(world, fill)["tid"]), str(trade.order_id)
        case "aster":
            return str(trade.id), str(trade.order_id)
