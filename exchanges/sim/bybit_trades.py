"""Bybit's rows of what happened: executions, orders, transaction log, with the ids that tie them together.

Pure. Values are text as on the wire except where Bybit sends numbers or booleans. ``execFee`` and ``fee`` are what was paid (a
rebate is negative), ``funding`` of the log is what was received. Sources: Bybit v5 docs (execution and order streams, Get Trade
History, Get Order History, Get Transaction Log, the enumerations execType, createType and type).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from exchanges.sim import bybit_market as market
from exchanges.sim import revalue
from exchanges.sim.bybit_figures import LEGS, figure
from exchanges.sim.catalog import TAKER_FEE, Contract
from exchanges.sim.changes import Filled, FundingPaid, Order, OrderCategory, PositionChanged, Transferred
from exchanges.sim.exact import plain
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]
Executed = Filled | FundingPaid | PositionChanged

_ZERO = Decimal(0)
_STATUSES = {"open": "New", "partially_filled": "PartiallyFilled", "filled": "Filled", "cancelled": "Cancelled"}
# execType, createType and type of the log by what an order was for.
_WORDS: dict[OrderCategory, tuple[str, str, str]] = {
    "normal": ("Trade", "CreateByUser", "TRADE"),
    "twap": ("Trade", "CreateByTWAP", "TRADE"),
    "liquidation": ("BustTrade", "CreateByTakeOver_PassThrough", "LIQUIDATION"),
    "adl": ("AdlTrade", "CreateByAdl_PassThrough", "ADL"),
    "delivery": ("Delivery", "CreateBySettle", "DELIVERY"),
}
_TRANSFERS = {
    "deposit": ("TRANSFER_IN", "TRANSFER_OUT"),
    "withdrawal": ("TRANSFER_IN", "TRANSFER_OUT"),
    "conversion": ("CURRENCY_BUY", "CURRENCY_SELL"),
    "interest": ("INTEREST", "INTEREST"),
    "rebate": ("FEE_REFUND", "FEE_REFUND"),
    "bonus": ("BONUS", "BONUS_RECOLLECT"),
}


def _uuid(*parts: object, tail: int | None = None) -> str:
    digits = hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()
    end = digits[18:30] if tail is None else f"{tail:012x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-8{digits[15:18]}-{end}"


def order_id(world: World, account: str, number: int) -> str:
    """Return an order's id; the world's number is its tail."""
    return _uuid(world.seed, "order", account, number, tail=number)


def order_of(world: World, account: str, text: str) -> Order | None:
    """Return the order that an id names, or None."""
    try:
        number = int(text.rpartition("-")[2], 16)
    except ValueError:
        return None
    return world.order(account, number) if text == order_id(world, account, number) else None


def execution_id(world: World, event: Executed) -> str:
    """Return execId: the same one whenever and however a fill, a funding or a corporate action is told."""
    match event:
        case Filled(account=account, symbol=symbol, trade=trade):
            return _uuid(world.seed, "fill", account, symbol, trade.id, trade.order_id)
        case FundingPaid(account=account, id=number):
            return _uuid(world.seed, "funding", account, number)
        case PositionChanged(position=position, at=at):
            return _uuid(world.seed, "action", position.account, position.symbol, position.leg, at)


# --- Executions ----------------------------------------------------------------------------------------------------------


def execution_row(world: World, event: Executed, seq: int) -> Row:
    """Return a row of the execution stream. No positionIdx, as at Bybit."""
    made = {Filled: _filled, FundingPaid: _funded, PositionChanged: _restated}[type(event)]
    contract = world.contract("bybit", event.position.symbol)
    empty = ("orderLinkId", "tradeIv", "markIv", "blockTradeId", "underlyingPrice", "indexPrice", "extraFees")
    return {
        **dict.fromkeys(empty, ""),
        "category": market.category(contract),
        "symbol": contract.symbol,
        "orderType": "Market",
        "leavesQty": "0",
        "stopOrderType": "UNKNOWN",
        "execId": execution_id(world, event),
        "execTime": str(event.at),
        "isMaker": False,
        "isLeverage": "0",
        "markPrice": plain(world.mark("bybit", contract.symbol)),
        "execPnl": "0",
        "closedSize": "0",
        "feeRate": "0",
        "feeCurrency": contract.settle,
        "seq": seq,
        **made(world, contract, event),
    }


def listed_execution(world: World, event: Executed, seq: int) -> Row:
    """Return a row of Get Trade History, which does not say what it realised: the transaction log does."""
    row = execution_row(world, event, seq)
    del row["execPnl"]
    return row


def _filled(world: World, contract: Contract, event: Any) -> Row:
    fill: Filled = event
    trade = fill.trade
    order = world.order(fill.account, trade.order_id)
    closed = min(trade.size, abs(trade.before)) if trade.before and trade.buy != (trade.before > 0) else _ZERO
    kind, created, _ = words(contract, fill)
    rate = world.account(fill.account).maker_fee if trade.maker else TAKER_FEE["bybit"]
    return {
        "orderId": order_id(world, fill.account, trade.order_id),
        "side": "Buy" if trade.buy else "Sell",
        "orderPrice": plain(order.price if order else trade.price),
        "orderQty": plain(order.size if order else trade.size),
        "leavesQty": plain(order.size - order.filled if order else _ZERO),
        "orderType": "Limit" if trade.maker else "Market",
        "createType": created,
        "execFee": figure(-(trade.fee if trade.paid is None else trade.paid)),
        "feeCurrency": trade.paid_in or contract.settle,
        "execPrice": plain(trade.price),
        "execQty": plain(trade.size),
        "execType": kind,
        "execValue": figure(revalue.notional(contract, trade.size, trade.price)),
        "execPnl": figure(trade.pnl),
        "isMaker": trade.maker,
        "feeRate": plain(rate),
        "closedSize": plain(closed),
    }


def _funded(world: World, contract: Contract, event: Any) -> Row:
    payment: FundingPaid = event
    position = payment.position
    mark = world.mark("bybit", contract.symbol)
    return {
        "orderId": f"{payment.at // 1000}-{contract.symbol}-{payment.id}",
        "side": "Buy" if position.sign > 0 else "Sell",
        "orderPrice": "0",
        "orderQty": "0",
        "orderType": "UNKNOWN",
        "createType": "",
        "execFee": figure(-payment.amount),
        "execPrice": plain(mark),
        "execQty": plain(position.size),
        "execType": "Funding",
        "execValue": figure(revalue.notional(contract, position.size, mark)),
        "feeRate": plain(payment.rate),
    }


def _restated(world: World, contract: Contract, event: Any) -> Row:
    """A split: the size by which the position grew, for nothing."""
    change: PositionChanged = event
    position = change.position
    grown = position.size - change.was
    return {
        "orderId": "",
        "side": "Buy" if (grown > 0) == (position.sign > 0) else "Sell",
        "orderPrice": "0",
        "orderQty": plain(abs(grown)),
        "orderType": "UNKNOWN",
        "createType": "",
        "execFee": "0",
        "execPrice": "0",
        "execQty": plain(abs(grown)),
        "execType": "CorporateAction",
        "execValue": "0",
    }


def words(contract: Contract, fill: Filled) -> tuple[str, str, str]:
    """Return execType, createType and type of the log: a partial liquidation is a ladder, an inverse future settles."""
    kind, created, logged = _WORDS[fill.trade.category]
    if fill.trade.category == "liquidation" and fill.position.size:
        return "Trade", "CreateByLiq", logged
    if fill.trade.category == "delivery" and contract.inverse:
        return "Settle", created, logged
    return kind, created, logged


# --- Orders --------------------------------------------------------------------------------------------------------------


def fills_of(world: World, order: Order) -> list[Filled]:
    """Return the fills that an order had when it stood like that, oldest first."""
    found, filled = [], _ZERO
    for fill in world.fills(order.account):
        if fill.trade.order_id == order.id and filled < order.filled:
            filled += fill.trade.size
            found.append(fill)
    return found


def order_row(world: World, order: Order) -> Row:
    """Return a row of the order stream, of Get Open Orders and of Get Order History."""
    contract, fills = world.contract("bybit", order.symbol), fills_of(world, order)
    done = sum((fill.trade.size for fill in fills), _ZERO)
    value = sum((fill.trade.size * fill.trade.price for fill in fills), _ZERO)
    traded = sum((revalue.notional(contract, f.trade.size, f.trade.price) for f in fills), _ZERO)
    cancelled, resting = order.status == "cancelled", order.category == "normal" and not _taken(order, fills)
    left = _ZERO if cancelled else order.size - done
    empty = (
        "orderLinkId", "blockTradeId", "orderIv", "stopOrderType", "triggerPrice", "takeProfit", "stopLoss", "tpTriggerBy",
        "slTriggerBy", "triggerBy", "tpslMode", "placeType", "smpOrderId", "marketUnit", "isLeverage",
    )  # fmt: skip
    return {
        **dict.fromkeys(empty, ""),
        "category": market.category(contract),
        "symbol": order.symbol,
        "orderId": order_id(world, order.account, order.id),
        "side": "Buy" if order.buy else "Sell",
        "positionIdx": LEGS[order.leg],
        "orderStatus": _STATUSES[order.status],
        "orderType": "Limit" if resting else "Market",
        "timeInForce": "GTC" if resting else "IOC",
        "price": plain(order.price),
        "qty": plain(order.size),
        "avgPrice": figure(value / done) if done else "",
        "leavesQty": plain(left),
        "leavesValue": figure(revalue.notional(contract, left, order.price)),
        "cumExecQty": plain(done),
        "cumExecValue": figure(traded),
        "cumExecFee": "0",
        "cumFeeDetail": _fees(contract, fills),
        "closedPnl": figure(sum((f.trade.pnl for f in fills), _ZERO)),
        "cancelType": "CancelByUser" if cancelled else "UNKNOWN",
        "rejectReason": "EC_NoError",
        "createType": words(contract, fills[-1])[1] if fills else _WORDS[order.category][1],
        "reduceOnly": order.reduce_only,
        "closeOnTrigger": False,
        "triggerDirection": 0,
        "lastPriceOnCreated": "",
        "slLimitPrice": "0",
        "tpLimitPrice": "0",
        "smpType": "None",
        "smpGroup": 0,
        "createdTime": str(order.created_at),
        "updatedTime": str(order.updated_at),
    }


def _fees(contract: Contract, fills: list[Filled]) -> Row:
    """Return what fills cost, by coin."""
    found: dict[str, Decimal] = {}
    for trade in (fill.trade for fill in fills):
        coin = trade.paid_in or contract.settle
        found[coin] = found.get(coin, _ZERO) - (trade.fee if trade.paid is None else trade.paid)
    return {coin: figure(fee) for coin, fee in found.items()}


def _taken(order: Order, fills: list[Filled]) -> bool:
    """Say whether an order took what was there: it never stood in the book."""
    return order.status == "filled" and all(not fill.trade.maker for fill in fills)


# --- Transaction log -----------------------------------------------------------------------------------------------------


def log_rows(world: World, account: Account) -> list[Row]:
    """Return the transaction log, newest first. ``cashBalance`` is reckoned back from what is there now."""
    fills: Iterable[Row] = (row for fill in world.fills(account.name) for row in _fill_entries(world, account, fill))
    paid: Iterable[Row] = (_funding_entry(world, account, payment) for payment in world.payments(account.name))
    moved: Iterable[Row] = (_transfer_entry(account, transfer) for transfer in world.transfers(account.name))
    settled: Iterable[Row] = (_settlement_entry(account, change) for change in world.settlements(account.name))
    rows = sorted([*fills, *paid, *moved, *settled], key=log_place, reverse=True)
    left = dict(account.cash)
    for row in rows:
        row["cashBalance"] = figure(left[row["currency"]])
        left[row["currency"]] -= Decimal(row["change"])
    return rows


def log_place(row: Row) -> tuple[int, str]:
    """Return what the log is ordered by."""
    return int(row["transactionTime"]), str(row["id"])


def _fill_entries(world: World, account: Account, fill: Filled) -> Iterator[Row]:
    """Yield the entry of a fill, and one of what was taken of another coin for it."""
    contract, trade = world.contract("bybit", fill.symbol), fill.trade
    execution = execution_id(world, fill)
    entry = {
        **_entry(account, fill.symbol, _number(execution), fill.at, words(contract, fill)[2], contract.settle),
        "category": market.category(contract),
        "side": "Buy" if trade.buy else "Sell",
        "orderId": order_id(world, account.name, trade.order_id),
        "tradeId": execution,
        "qty": plain(trade.size),
        "size": plain(fill.position.sign * fill.position.size),
        "tradePrice": plain(trade.price),
        "feeRate": plain(account.maker_fee if trade.maker else TAKER_FEE["bybit"]),
        "fee": figure(-trade.own_fee),
        "cashFlow": figure(trade.pnl + trade.premium),
        "change": figure(trade.pnl + trade.premium + trade.own_fee),
    }
    yield entry
    if trade.paid is not None:
        yield entry | {
            "id": f"{entry['id']}_fee",
            "currency": trade.paid_in,
            "fee": figure(-trade.paid),
            "cashFlow": "0",
            "change": figure(trade.paid),
        }


def _funding_entry(world: World, account: Account, payment: FundingPaid) -> Row:
    contract, position = world.contract("bybit", payment.position.symbol), payment.position
    execution = execution_id(world, payment)
    return {
        **_entry(account, contract.symbol, _number(execution), payment.at, "SETTLEMENT", contract.settle),
        "category": market.category(contract),
        "side": "Buy" if position.sign > 0 else "Sell",
        "orderId": f"{payment.at // 1000}-{contract.symbol}-{payment.id}",
        "tradeId": execution,
        "qty": plain(position.size),
        "size": plain(position.sign * position.size),
        "tradePrice": plain(world.mark("bybit", contract.symbol)),
        "feeRate": plain(payment.rate),
        "funding": figure(payment.amount),
        "change": figure(payment.amount),
    }


def _settlement_entry(account: Account, change: PositionChanged) -> Row:
    """Session settlement of a USDC contract: profit that went into the balance, under the same type as funding."""
    position = change.position
    profit = figure(position.settled - (change.before.settled if change.before else _ZERO))
    return {
        **_entry(account, position.symbol, f"s{change.at}", change.at, "SETTLEMENT", "USDC"),
        "category": "linear",
        "side": "Buy" if position.sign > 0 else "Sell",
        "qty": plain(position.size),
        "size": plain(position.sign * position.size),
        "tradePrice": plain(position.entry_price),
        "cashFlow": profit,
        "change": profit,
    }


def _transfer_entry(account: Account, transfer: Transferred) -> Row:
    came, went = _TRANSFERS[transfer.kind]
    kind, number = came if transfer.amount > 0 else went, f"t{transfer.id}"
    amount = figure(transfer.amount)
    return {
        **_entry(account, "", number, transfer.at, kind, transfer.purse),
        "qty": amount,
        "cashFlow": amount,
        "change": amount,
    }


def _number(execution: str) -> str:
    """Return the digits at the end of the id of an entry, as in the documented ``592324_XRPUSDT_161440249321``."""
    return str(int(execution.replace("-", ""), 16) % 10**12)


def _entry(account: Account, symbol: str, number: str, at: int, kind: str, ccy: str) -> Row:
    empty = (
        "category",
        "orderId",
        "orderLinkId",
        "tradeId",
        "funding",
        "feeRate",
        "bonusChange",
        "transSubType",
        "extraFees",
    )
    zero = ("qty", "size", "tradePrice", "fee", "cashFlow")
    return {
        **dict.fromkeys(empty, ""), **dict.fromkeys(zero, "0"), "id": f"{account.uid % 10**6}_{symbol}_{number}",
        "symbol": symbol, "side": "None", "transactionTime": str(at), "type": kind, "currency": ccy,
    }  # fmt: skip
