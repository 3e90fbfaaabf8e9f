"""Aster's rows of orders, fills and income: the same ids and signs in its stream and in its REST answers.

Pure. Commissions are positive when paid and negative when rebated, in both; income has the sign of its effect on the balance.
Sources: Aster docs "Event: Order Update", "Query Order", "Account Trade List", "Get Income History", "User's Force Orders"
(its sample of a trade has a negative commission; answers of the same interface seen in public logs have a positive one).
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

from exchanges.sim.aster_figures import amount, position_side
from exchanges.sim.changes import Filled, FundingPaid, Order, Transferred
from exchanges.sim.exact import plain

Row = dict[str, Any]

_STATUS = {"open": "NEW", "partially_filled": "PARTIALLY_FILLED", "filled": "FILLED", "cancelled": "CANCELED"}
_INCOME_OF_TRANSFERS = {"deposit": "TRANSFER", "withdrawal": "TRANSFER", "bonus": "WELCOME_BONUS"}


def client_id(order: Order) -> str:
    """Return an order's client id: it tells who placed an order that the account did not."""
    special = {
        "liquidation": f"autoclose-{order.created_at}{order.id % 10**6:06}",
        "adl": "adl_autoclose",
        "delivery": f"settlement_autoclose-{order.id}",
    }
    return special.get(order.category, f"web_{order.id}")


def status(order: Order) -> str:
    """Return an order's status."""
    return _STATUS[order.status]


def _kind(order: Order) -> tuple[str, str]:
    """Return order type and time in force: resting orders are limits; what fills at once is a market order, or a takeover's."""
    if order.category in {"liquidation", "delivery"}:
        return "LIMIT", "IOC"
    if order.category == "adl" or order.status in {"open", "partially_filled"} or order.updated_at > order.created_at:
        return "LIMIT", "GTC"
    return "MARKET", "GTC"


def order_row(order: Order) -> Row:
    """Return an order as REST shows it."""
    kind, force = _kind(order)
    average = order.price if order.filled else Decimal(0)
    return {
        "orderId": order.id,
        "symbol": order.symbol,
        "status": status(order),
        "clientOrderId": client_id(order),
        "price": "0" if kind == "MARKET" else plain(order.price),
        "avgPrice": amount(average),
        "origQty": plain(order.size),
        "executedQty": plain(order.filled),
        "cumQuote": plain(order.filled * average),
        "timeInForce": force,
        "type": kind,
        "reduceOnly": order.reduce_only,
        "closePosition": False,
        "side": "BUY" if order.buy else "SELL",
        "positionSide": position_side(order.leg),
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": kind,
        "time": order.created_at,
        "updateTime": order.updated_at,
    }


def order_event(order: Order, execution: str, fill: Filled | None, at: int) -> Row:
    """Return the frame of an order's change; ``n`` and ``N`` are absent without a commission."""
    kind, force = _kind(order)
    trade = fill.trade if fill else None
    row: Row = {
        "s": order.symbol,
        "c": client_id(order),
        "S": "BUY" if order.buy else "SELL",
        "o": "LIQUIDATION" if order.category == "liquidation" else kind,
        "f": force,
        "q": plain(order.size),
        "p": "0" if kind == "MARKET" else plain(order.price),
        "ap": plain(order.price if order.filled else Decimal(0)),
        "sp": "0",
        "x": execution,
        "X": status(order),
        "i": order.id,
        "l": plain(trade.size) if trade else "0",
        "z": plain(order.filled),
        "L": plain(trade.price) if trade else "0",
        "T": at,
        "t": trade.id if trade else 0,
        "b": "0",
        "a": "0",
        "m": bool(trade and trade.maker),
        "R": order.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": kind,
        "ps": position_side(order.leg),
        "cp": False,
        "rp": plain(trade.pnl) if trade else "0",
    }
    if fill and commission(fill):
        row |= {"N": fill.trade.paid_in or "USDT", "n": plain(commission(fill))}
    return {"e": "ORDER_TRADE_UPDATE", "E": at, "T": at, "o": row}


def commission(fill: Filled) -> Decimal:
    """Return what a fill cost (negative: brought), in the coin that was taken; a liquidation pays none, but insurance."""
    trade = fill.trade
    return Decimal(0) if trade.category == "liquidation" else -(trade.fee if trade.paid is None else trade.paid)


def trade_row(fill: Filled) -> Row:
    """Return a fill as REST shows it."""
    trade = fill.trade
    return {
        "symbol": fill.symbol,
        "id": trade.id,
        "orderId": trade.order_id,
        "side": "BUY" if trade.buy else "SELL",
        "price": plain(trade.price),
        "qty": plain(trade.size),
        "realizedPnl": plain(trade.pnl),
        "quoteQty": plain(trade.size * trade.price),
        "commission": plain(commission(fill)),
        "commissionAsset": trade.paid_in or "USDT",
        "time": fill.at,
        "positionSide": position_side(fill.position.leg),
        "maker": trade.maker,
        "buyer": trade.buy,
    }


# --- Income ------------------------------------------------------------------------------------------------------------


def _income(symbol: str, kind: str, value: Decimal, asset: str, at: int, number: str, trade: str = "") -> Row:
    digest = hashlib.sha256(f"{symbol}:{kind}:{number}".encode()).hexdigest()
    return {
        "symbol": symbol,
        "incomeType": kind,
        "income": amount(value),
        "asset": asset,
        "time": at,
        "info": trade or kind,
        "tranId": int(digest[:15], 16),
        "tradeId": trade,
    }


def income_of_fill(fill: Filled) -> list[Row]:
    """Return what a fill brought and cost; a liquidation's penalty goes to the insurance fund."""
    trade, number = fill.trade, f"{fill.account}:{fill.trade.id}"
    kind = "INSURANCE_CLEAR" if trade.category == "liquidation" else "COMMISSION"
    cost = (kind, trade.fee, "USDT") if trade.paid is None else (kind, trade.paid, trade.paid_in)
    return [
        _income(fill.symbol, kind, value, asset, fill.at, number, str(trade.id))
        for kind, value, asset in (("REALIZED_PNL", trade.pnl, "USDT"), cost)
        if value
    ]


def income_of_funding(payment: FundingPaid) -> Row:
    """Return one payment of funding."""
    position = payment.position
    return _income(position.symbol, "FUNDING_FEE", payment.amount, "USDT", payment.at, str(payment.id))


def income_of_transfer(transfer: Transferred) -> Row:
    """Return money that came or went."""
    kind = _INCOME_OF_TRANSFERS.get(transfer.kind, "MARKET_MERCHANT_RETURN_REWARD")
    return _income("", kind, transfer.amount, transfer.purse, transfer.at, str(transfer.id))
