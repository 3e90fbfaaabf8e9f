"""Hyperliquid's rows of fills, fundings, ledger updates and orders: the same ids in its stream and in its answers.

Pure. Fees are positive when paid; ``usdc`` of a funding is the effect on the balance. Fills of one coin form a chain: each
begins where the one before ended. Sources: Hyperliquid docs ("Info endpoint", "Subscriptions"), shapes as in recorded messages.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

from exchanges.sim.changes import Filled, FundingPaid, Order, Transferred
from exchanges.sim.hyperliquid_figures import shown
from exchanges.sim.world import World

Row = dict[str, Any]

# Who trades which coin in slices: these fills are told on a channel of their own, and not among the others.
SLICED = frozenset({("hl-main", "SOL")})
TWAP_ID = 2_288_616
# Some of what a maker sells is bought by somebody who is being liquidated: the counterparty's fill says so.
_STRANGER = "0x" + "5" * 40
_LIQUIDATED_OF = 5  # every so many trades of a maker
_NO_HASH = "0x" + "0" * 64
_ZERO = Decimal(0)


def _hash(*parts: object) -> str:
    return "0x" + hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()


def is_slice(fill: Filled) -> bool:
    """Say whether a fill is a slice of a TWAP."""
    sliced = (fill.account, fill.symbol) in SLICED and fill.trade.category == "normal"
    return sliced or fill.trade.category == "twap"


def fill_row(world: World, fill: Filled) -> Row:
    """Return a fill; ``tid`` is the same for both sides of a trade and not unique alone."""
    trade, sliced = fill.trade, is_slice(fill)
    row: Row = {
        "coin": fill.symbol,
        "px": shown(trade.price),
        "sz": shown(trade.size),
        "side": "B" if trade.buy else "A",
        "time": fill.at,
        "startPosition": shown(trade.before),
        "dir": _direction(fill),
        "closedPnl": shown(trade.pnl),
        "hash": _NO_HASH if sliced else _hash(world.seed, fill.symbol, trade.id),
        "oid": trade.order_id,
        "crossed": not trade.maker,
        "fee": shown(-trade.fee),
        "tid": int(_hash("tid", fill.symbol, trade.id)[2:14], 16),
        "feeToken": "USDC",
        "twapId": TWAP_ID if sliced else None,
    }
    if trade.category == "liquidation":
        user = world.account(fill.account).address
        row["liquidation"] = {"liquidatedUser": user, "markPx": shown(trade.price), "method": "market"}
    elif trade.maker and trade.id % _LIQUIDATED_OF == 0:
        row["liquidation"] = {"liquidatedUser": _STRANGER, "markPx": shown(trade.price), "method": "market"}
    return row


def _direction(fill: Filled) -> str:
    trade, position = fill.trade, fill.position
    before = trade.before
    after = before + (trade.size if trade.buy else -trade.size)
    side = "Long" if (before or after) > 0 else "Short"
    if trade.category == "liquidation":
        return f"Liquidated {position.mode.title()} {side}"
    if trade.category in {"adl", "delivery"}:
        return {"adl": "Auto-Deleveraging", "delivery": "Settlement"}[trade.category]
    if before * after < 0:
        return "Long > Short" if before > 0 else "Short > Long"
    return f"{'Open' if abs(after) > abs(before) else 'Close'} {side}"


def slice_row(world: World, fill: Filled) -> Row:
    """Return a fill as the channel of TWAP slices has it."""
    return {"fill": fill_row(world, fill), "twapId": TWAP_ID}


def funding_row(payment: FundingPaid) -> Row:
    """Return a payment of funding as the stream has it; negative: paid."""
    position = payment.position
    return {
        "time": payment.at,
        "coin": position.symbol,
        "usdc": shown(payment.amount),
        "szi": shown(position.sign * position.size),
        "fundingRate": shown(payment.rate),
        "nSamples": None,
    }


def funding_answer(payment: FundingPaid) -> Row:
    """Return a payment of funding as questions are answered: wrapped."""
    row = funding_row(payment)
    at = row.pop("time")
    return {"time": at, "hash": _NO_HASH, "delta": {"type": "funding", **row}}


def ledger_row(transfer: Transferred) -> Row:
    """Return money that came or went; amounts are positive, the type tells the direction."""
    size = shown(abs(transfer.amount))
    delta: Row
    match transfer.kind:
        case "deposit":
            delta = {"type": "deposit", "usdc": size}
        case "withdrawal":
            delta = {"type": "withdraw", "usdc": size, "nonce": transfer.at, "fee": "0.0"}
        case "rebate" | "bonus":
            delta = {"type": "rewardsClaim", "amount": size, "token": "USDC"}
        case _:
            delta = {"type": "accountClassTransfer", "usdc": size, "toPerp": transfer.amount > 0}
    return {"time": transfer.at, "hash": _hash("transfer", transfer.id), "delta": delta}


def liquidation_row(world: World, fill: Filled) -> Row:
    """Return the durable record of a liquidation."""
    trade = fill.trade
    delta = {
        "type": "liquidation",
        "liquidatedNtlPos": shown(trade.size * trade.price),
        "accountValue": "0.0",
        "leverageType": fill.position.mode.title(),
        "liquidatedPositions": [{"coin": fill.symbol, "szi": shown(trade.before)}],
    }
    return {"time": fill.at, "hash": _hash("liquidation", fill.symbol, trade.id), "delta": delta}


# --- Orders ------------------------------------------------------------------------------------------------------------


def order_row(order: Order) -> Row:
    """Return an order in its short form; ``sz`` is what is left of it."""
    row = {
        "coin": order.symbol,
        "side": "B" if order.buy else "A",
        "limitPx": shown(order.price),
        "sz": shown(order.size - order.filled),
        "oid": order.id,
        "timestamp": order.created_at,
        "origSz": shown(order.size),
    }
    return {**row, "reduceOnly": True} if order.reduce_only else row


def frontend_row(order: Order) -> Row:
    """Return an order in its long form."""
    resting = order.status in {"open", "partially_filled"} or order.updated_at > order.created_at
    return {
        **order_row(order),
        "reduceOnly": order.reduce_only,
        "children": [],
        "isPositionTpsl": False,
        "isTrigger": False,
        "triggerPx": "0.0",
        "triggerCondition": "N/A",
        "orderType": "Limit" if resting else "Market",
        "tif": "Gtc" if resting else "FrontendMarket",
        "cloid": None,
    }


def order_status(order: Order) -> str:
    """Return an order's status in the venue's words."""
    if order.status == "cancelled":
        return "reduceOnlyCanceled" if order.reduce_only else "canceled"
    return "filled" if order.status == "filled" else "open"


def status_row(order: Order, *, long: bool) -> Row:
    """Return an order with its status."""
    row = frontend_row(order) if long else order_row(order)
    return {"order": row, "status": order_status(order), "statusTimestamp": order.updated_at}
