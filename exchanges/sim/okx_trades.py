"""OKX's rows of what happened: orders, fills, bills.

Pure. Every value is text as on the wire; a fee that was paid is negative, as an amount is that left the balance. Sources: OKX v5
docs (orders and fills channels, Get order details, Get transaction details, Get bills details with the enumerations of ``type``
and ``subType``). A system order (liquidation, ADL, delivery) has trade id ``0``, and its fills have negative ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from zlib import crc32

from exchanges.sim.changes import Filled, FundingPaid, Order, OrderCategory, PositionChanged, Trade, Transferred
from exchanges.sim.exact import plain
from exchanges.sim.okx_market import Row, figure, inst_type
from exchanges.sim.world import Account, World

_ZERO = Decimal(0)
_FIRST_ORDER = 2_000_000_000_000_000_000
_STATES = {"open": "live", "partially_filled": "partially_filled", "filled": "filled", "cancelled": "canceled"}
_CATEGORIES: dict[OrderCategory, str] = {"normal": "normal", "adl": "adl", "delivery": "delivery", "twap": "twap"}
SYSTEM = frozenset({"liquidation", "adl", "delivery"})
# Of a bill by what the fill was for: type, and subType of closing a long and a short.
_FILL_TYPES: dict[OrderCategory, tuple[str, str, str]] = {
    "normal": ("2", "5", "6"),
    "twap": ("2", "5", "6"),
    "liquidation": ("5", "104", "105"),
    "adl": ("9", "125", "126"),
    "delivery": ("3", "112", "113"),
}
_PARTIAL_LIQUIDATION = ("100", "101")
_OPENING = ("3", "4")
# Of a bill by kind of transfer: type, subType of what came, subType of what went.
_TRANSFER_TYPES = {
    "deposit": ("1", "11", "12"),
    "withdrawal": ("1", "11", "12"),
    "conversion": ("11", "118", "119"),
    "interest": ("7", "9", "9"),
    "rebate": ("1", "200", "202"),
    "bonus": ("1", "200", "202"),
}


def order_id(order: int) -> str:
    """Return ordId."""
    return str(_FIRST_ORDER + order)


def order_number(text: str) -> int | None:
    """Return the world's number of an ordId, or None for what cannot be one."""
    return int(text) - _FIRST_ORDER if text.isdigit() else None


def fills_of(world: World, order: Order) -> list[Filled]:
    """Return the fills that an order had when it stood like that, oldest first."""
    found, filled = [], _ZERO
    for fill in world.fills(order.account):
        if fill.trade.order_id == order.id and filled < order.filled:
            filled += fill.trade.size
            found.append(fill)
    return found


def order_row(world: World, account: Account, order: Order) -> Row:
    """Return a row of the orders channel, of Get order details and of Get order list."""
    contract, fills = world.contract("okx", order.symbol), fills_of(world, order)
    system = order.category in SYSTEM
    last = fills[-1] if fills else None
    done = sum((fill.trade.size for fill in fills), _ZERO)
    average = sum((fill.trade.size * fill.trade.price for fill in fills), _ZERO) / done if done else None
    empty = (
        "algoClOrdId", "algoId", "attachAlgoClOrdId", "cancelSourceReason", "ccy", "clOrdId", "pxType", "pxUsd", "pxVol",
        "quickMgnType", "rebateCcy", "slOrdPx", "slTriggerPx", "slTriggerPxType", "source", "stpId", "tag", "tgtCcy", "tpOrdPx",
        "tpTriggerPx", "tpTriggerPxType",
    )  # fmt: skip
    return {
        **dict.fromkeys(empty, ""),
        "accFillSz": plain(done),
        "attachAlgoOrds": [],
        "avgPx": "" if average is None else figure(average),
        "cTime": str(order.created_at),
        "cancelSource": "1" if order.status == "cancelled" else "",
        "category": _category(order, last),
        "execType": _liquidity(last.trade) if last else "",
        "fee": figure(sum((fill.trade.fee for fill in fills), _ZERO)),
        "feeCcy": contract.settle,
        "fillPx": plain(last.trade.price) if last else "",
        "fillSz": plain(last.trade.size) if last else "0",
        "fillTime": str(last.at) if last else "",
        "instId": order.symbol,
        "instType": inst_type(contract),
        "isTpLimit": "false",
        "lever": plain(last.position.leverage) if last and contract.kind != "option" else "",
        "linkedAlgoOrd": {"algoId": ""},
        "ordId": order_id(order.id),
        "ordType": "market" if system else "limit",
        "pnl": figure(sum((fill.trade.pnl for fill in fills), _ZERO)),
        "posSide": order.leg if account.hedge else "net",
        "px": "" if system else plain(order.price),
        "rebate": "0",
        "reduceOnly": "true" if order.reduce_only else "false",
        "side": "buy" if order.buy else "sell",
        "state": _STATES[order.status],
        "stpMode": "cancel_maker",
        "sz": plain(order.size),
        "tdMode": order.mode,
        "tradeId": "" if last is None else "0" if system else str(last.trade.id),
        "uTime": str(order.updated_at),
    }


def pushed_order(row: Row, fill: Filled | None) -> Row:
    """Return an order as the orders channel sends it: with the profit and fee of the fill that this push is about."""
    names = ("fillPnl", "fillFee", "fillFeeCcy", "fillNotionalUsd", "amendResult", "reqId", "code", "msg")
    told = {**row, **dict.fromkeys(names, ""), "amendSource": "", "code": "0", "lastPx": row["fillPx"]}
    if fill is None:
        return {
            **told,
            "fillPx": "",
            "fillSz": "0",
            "fillTime": "",
            "tradeId": "",
            "execType": "",
            "fillPnl": "0",
            "fillFee": "0",
        }
    trade = fill.trade
    return {**told, "fillPnl": figure(trade.pnl), "fillFee": figure(trade.fee), "fillFeeCcy": row["feeCcy"]}


def fill_row(world: World, account: Account, fill: Filled) -> Row:
    """Return a row of Get transaction details."""
    contract, trade = world.contract("okx", fill.symbol), fill.trade
    empty = (
        "clOrdId", "tag", "fillPxVol", "fillPxUsd", "fillMarkVol", "fillFwdPx", "fillIdxPx", "fillMarkPx", "feeRate",
    )  # fmt: skip
    return {
        **dict.fromkeys(empty, ""),
        "instType": inst_type(contract),
        "instId": fill.symbol,
        "tradeId": trade_id(trade),
        "ordId": order_id(trade.order_id),
        "billId": bill_id(fill),
        "subType": _fill_type(fill)[1],
        "fillPx": plain(trade.price),
        "fillSz": plain(trade.size),
        "fillPnl": figure(trade.pnl),
        "fillTime": str(fill.at),
        "side": "buy" if trade.buy else "sell",
        "posSide": fill.position.leg if account.hedge else "net",
        "execType": _liquidity(trade),
        "fee": figure(trade.fee),
        "feeCcy": contract.settle,
        "ts": str(fill.at),
    }


def pushed_fill(fill: Filled) -> Row:
    """Return a row of the fills channel."""
    trade = fill.trade
    return {
        "instId": fill.symbol, "fillSz": plain(trade.size), "fillPx": plain(trade.price), "side": "buy" if trade.buy else "sell",
        "ts": str(fill.at), "ordId": order_id(trade.order_id), "clOrdId": "", "tradeId": trade_id(trade),
        "execType": _liquidity(trade), "count": "1",
    }  # fmt: skip


# --- Bills -------------------------------------------------------------------------------------------------------------


def bill_id(event: Filled | FundingPaid | Transferred | PositionChanged) -> str:
    """Return a bill's number: it grows with time, and an event has the same one whenever and however it is asked for."""
    match event:
        case Filled(symbol=symbol, position=position, trade=trade):
            text = f"fill:{symbol}:{trade.id}:{trade.order_id}:{position.leg}:{trade.buy}"
        case FundingPaid(id=number):
            text = f"funding:{number}"
        case Transferred(id=number):
            text = f"transfer:{number}"
        case PositionChanged(position=position, cause="margin"):
            text = f"margin:{position.id}:{position.margin}"
        case PositionChanged(position=position):
            text = f"settlement:{position.id}"
    return f"{event.at}{crc32(text.encode()) % 100_000:05d}"


def bills(world: World, account: Account) -> list[Row]:
    """Return every bill of an account, newest first. ``bal`` is reckoned back from what is there now."""
    fills: Iterable[Row] = (_fill_bill(world, account, fill) for fill in world.fills(account.name))
    paid: Iterable[Row] = (_funding_bill(world, payment) for payment in world.payments(account.name))
    moved: Iterable[Row] = (_transfer_bill(transfer) for transfer in world.transfers(account.name))
    settled: Iterable[Row] = (_settlement_bill(world, change) for change in world.settlements(account.name))
    margins: Iterable[Row] = (_margin_bill(world, change) for change in world.margins(account.name))
    rows = sorted([*fills, *paid, *moved, *settled, *margins], key=lambda row: int(row["billId"]), reverse=True)
    left = {ccy: world.cross_cash(account, ccy) for ccy in account.cash}
    for row in rows:
        row["bal"] = figure(left[row["ccy"]])
        left[row["ccy"]] -= Decimal(row["balChg"])
    return rows


def _fill_bill(world: World, account: Account, fill: Filled) -> Row:
    contract, trade = world.contract("okx", fill.symbol), fill.trade
    kind, sub = _fill_type(fill)
    return {
        **_bill(bill_id(fill), fill.at, kind, sub, contract.settle, trade.pnl + trade.fee + trade.premium),
        "instType": inst_type(contract),
        "instId": fill.symbol,
        "mgnMode": fill.position.mode,
        "ordId": order_id(trade.order_id),
        "tradeId": trade_id(trade),
        "execType": _liquidity(trade),
        "sz": plain(trade.size),
        "px": plain(trade.price),
        "pnl": figure(trade.pnl),
        "fee": figure(trade.fee),
        "fillTime": str(fill.at),
    }


def _funding_bill(world: World, payment: FundingPaid) -> Row:
    contract = world.contract("okx", payment.position.symbol)
    sub = "173" if payment.amount < 0 else "174"
    return {
        **_bill(bill_id(payment), payment.at, "8", sub, contract.settle, payment.amount),
        "instType": inst_type(contract),
        "instId": payment.position.symbol,
        "mgnMode": payment.position.mode,
        "sz": plain(payment.position.size),
        "pnl": figure(payment.amount),
    }


def _settlement_bill(world: World, change: PositionChanged) -> Row:
    contract, position = world.contract("okx", change.position.symbol), change.position
    profit = position.settled - (change.before.settled if change.before else _ZERO)
    return {
        **_bill(bill_id(change), change.at, "34", "355", contract.settle, profit),
        "instType": inst_type(contract),
        "instId": contract.symbol,
        "mgnMode": position.mode,
        "sz": plain(position.size),
        "px": plain(position.entry_price),
        "pnl": figure(profit),
    }


def _margin_bill(world: World, change: PositionChanged) -> Row:
    contract, position = world.contract("okx", change.position.symbol), change.position
    added = (position.margin or _ZERO) - ((change.before and change.before.margin) or _ZERO)
    return {
        **_bill(bill_id(change), change.at, "6", "160" if added > 0 else "161", contract.settle, -added),
        "instType": inst_type(contract),
        "instId": contract.symbol,
        "mgnMode": position.mode,
        "posBalChg": figure(added),
        "posBal": figure(position.margin or _ZERO),
    }


def _transfer_bill(transfer: Transferred) -> Row:
    kind, came, went = _TRANSFER_TYPES[transfer.kind]
    row = _bill(
        bill_id(transfer), transfer.at, kind, came if transfer.amount > 0 else went, transfer.purse, transfer.amount
    )
    if transfer.kind == "interest":
        row["interest"] = figure(transfer.amount)
    if kind == "1":  # 6: funding account, 18: trading account
        row["from"], row["to"] = ("6", "18") if transfer.amount > 0 else ("18", "6")
    return row


def _bill(number: str, at: int, kind: str, sub: str, ccy: str, change: Decimal) -> Row:
    empty = (
        "instType", "instId", "mgnMode", "ordId", "tradeId", "clOrdId", "execType", "px", "from", "to", "notes", "tag",
        "fillTime", "fillIdxPx", "fillMarkPx", "fillPxVol", "fillPxUsd", "fillMarkVol", "fillFwdPx", "earnAmt", "earnApr",
    )  # fmt: skip
    zero = ("posBal", "posBalChg", "pnl", "fee", "interest")
    return {
        **dict.fromkeys(empty, ""), **dict.fromkeys(zero, "0"), "billId": number, "ts": str(at), "type": kind, "subType": sub,
        "ccy": ccy, "balChg": figure(change), "sz": figure(abs(change)),
    }  # fmt: skip


# --- Words -------------------------------------------------------------------------------------------------------------


def _fill_type(fill: Filled) -> tuple[str, str]:
    """Return type and subType of a fill's bill; both sides of a reversal count as closing."""
    trade = fill.trade
    kind, close_long, close_short = _FILL_TYPES[trade.category]
    was_long = trade.before > 0
    if kind == "2" and (not trade.before or trade.buy == was_long):
        return kind, _OPENING[0] if trade.buy else _OPENING[1]
    if trade.category == "liquidation" and fill.position.size:
        close_long, close_short = _PARTIAL_LIQUIDATION
    return kind, close_long if was_long else close_short


def _category(order: Order, last: Filled | None) -> str:
    if order.category == "liquidation":
        return "partial_liquidation" if last is not None and last.position.size else "full_liquidation"
    return _CATEGORIES[order.category]


def trade_id(trade: Trade) -> str:
    """Return tradeId: negative where the venue closed a position by itself."""
    return f"-{trade.id}" if trade.category in SYSTEM else str(trade.id)


def _liquidity(trade: Trade) -> str:
    return "M" if trade.maker else "T"


def warning_row(row: Row, now_ms: int) -> Row:
    """Return a row of the liquidation-warning channel from one of the positions channel."""
    names = (
        "cTime", "ccy", "instId", "instType", "lever", "markPx", "mgnMode", "mgnRatio", "pos", "posCcy", "posId", "posSide",
        "uTime",
    )  # fmt: skip
    return {**{name: row[name] for name in names}, "pTime": str(now_ms)}


# --- Pages -------------------------------------------------------------------------------------------------------------


def page(rows: Sequence[Row], place: Callable[[Row], int], after: str, before: str, limit: int) -> list[Row]:
    """Return ``limit`` rows older than ``after`` and newer than ``before`` (``""``: no bound), newest first.

    Of more than ``limit`` the newest, or with ``before`` alone those next to it. Source: OKX, best practice, "Pagination".
    """
    kept = [
        row for row in rows if (not after or place(row) < int(after)) and (not before or place(row) > int(before))
    ]  # fmt: skip
    return kept[-limit:] if before and not after else kept[:limit]
