"""Bybit's rows over the world: positions, wallet, fills, with the figures that Bybit would report.

Pure. Every value is text as on the wire except where Bybit sends numbers or booleans; ``""`` is Bybit's "not applicable".
Sources: Bybit v5 docs (position, wallet, execution and order streams; Get Position Info, Get Wallet Balance); help centre
"The New Margin Calculation" (2025-09): maintenance follows the mark price and contains the estimated fee of closing. The
liquidation formulas were measured on recorded rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any

from exchanges.sim import bybit_market as market
from exchanges.sim import revalue
from exchanges.sim.catalog import TAKER_FEE, Contract
from exchanges.sim.changes import PositionChanged
from exchanges.sim.exact import plain, round_to
from exchanges.sim.revalue import Position
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

_ZERO = Decimal(0)
_FINEST = Decimal("1e-8")


def figure(value: Decimal) -> str:
    """Return a computed figure with at most eight decimals."""
    exponent = value.as_tuple().exponent
    return plain(value.quantize(_FINEST, ROUND_HALF_EVEN) if isinstance(exponent, int) and exponent < -8 else value)


def position_index(account: Account, position: Position) -> int:
    """Return 0 in one-way mode, 1 for the long and 2 for the short leg in hedge mode."""
    if not account.hedge:
        return 0
    return 1 if position.side == "long" else 2


# --- Positions ---------------------------------------------------------------------------------------------------------


def isolated_liquidation(contract: Contract, position: Position, maintenance_rate: Decimal) -> Decimal:
    """Return ``entry × (1 − side/leverage + side × mmr)`` rounded down to the tick."""
    price = position.entry_price * (1 - position.sign / position.leverage + position.sign * maintenance_rate)
    return (price / contract.tick).to_integral_value(ROUND_DOWN) * contract.tick


def cross_liquidation(position: Position, wallet: Decimal, other_upl: Decimal, maintenance: Decimal) -> Decimal:
    """Return the venue's estimate: the price at which this position alone uses up what is above maintenance.

    ``entry − side × (totalWalletBalance + upl of the others − totalMaintenanceMargin) / size``: maintenance and everything
    else are held at their present values.
    """
    return position.entry_price - position.sign * (wallet + other_upl - maintenance) / position.size


def maintenance_margin(contract: Contract, position: Position, mark: Decimal) -> Decimal:
    """Return ``size × mark × mmr − deduction + fee of closing``."""
    return revalue.maintenance(contract, position, mark) + revalue.closing_fee(contract, position, mark)


def initial_margin(contract: Contract, position: Position, mark: Decimal) -> Decimal:
    """Return value / leverage + fee of closing; the value is at the entry price in isolated, at the mark in cross."""
    price = position.entry_price if position.mode == "isolated" else mark
    return revalue.initial_margin(contract, position, price) + revalue.closing_fee(contract, position, mark)


def liquidation_text(world: World, account: Account, position: Position) -> str:
    """Return liqPrice: ``""`` where it is not inside the contract's price limits (nothing liquidates it, in effect)."""
    contract = world.contract("bybit", position.symbol)
    if position.mode == "isolated":
        rate = revalue.tier_of(contract, position.size, world.mark("bybit", position.symbol)).rate
        price = isolated_liquidation(contract, position, rate)
    else:
        totals = Totals.of(world, account)
        other = totals.upl - world.unrealized_pnl(position) * world.usd(contract.settle)
        price = cross_liquidation(position, totals.wallet, other, totals.maintenance)
    lowest, highest = market.price_limits(contract)
    return figure(price) if lowest < price < highest else ""


def position_row(world: World, account: Account, position: Position, seq: int) -> Row:
    """Return a row of Get Position Info as the world stands; a closed one (size 0) keeps index, leverage and history only."""
    contract = world.contract("bybit", position.symbol)
    mark, open_ = world.mark("bybit", position.symbol), bool(position.size)
    tier = revalue.tier_of(contract, position.size, mark)
    initial = figure(initial_margin(contract, position, mark)) if open_ else ""
    needed = figure(maintenance_margin(contract, position, mark)) if open_ else ""
    return {
        "positionIdx": position_index(account, position),
        "riskId": market.risk_id(contract, contract.tiers.index(tier)),
        "riskLimitValue": plain(market.risk_limit_value(contract, contract.tiers.index(tier))),
        "symbol": position.symbol,
        "side": ("Buy" if position.sign > 0 else "Sell") if open_ else "",
        "size": plain(position.size),
        "avgPrice": plain(position.entry_price) if open_ else "0",
        "positionValue": figure(position.size * position.entry_price) if open_ else "0",
        "tradeMode": 0,  # deprecated: always 0 in a unified account, whatever the margin mode
        "autoAddMargin": 0,
        "positionStatus": "Normal",
        "leverage": plain(position.leverage),
        "markPrice": plain(mark),
        "liqPrice": liquidation_text(world, account, position) if open_ else "",
        "bustPrice": "",
        "positionIM": initial,
        "positionIMByMp": initial,
        "positionMM": needed,
        "positionMMByMp": needed,
        "positionBalance": initial if open_ and position.mode == "isolated" else "0",
        "takeProfit": "",
        "stopLoss": "",
        "trailingStop": "0",
        "sessionAvgPrice": "",
        "delta": "",
        "gamma": "",
        "vega": "",
        "theta": "",
        "unrealisedPnl": figure(world.unrealized_pnl(position)) if open_ else "0",
        "curRealisedPnl": figure(position.realized + position.fees),
        "cumRealisedPnl": figure(position.realized + position.fees),
        "adlRankIndicator": 2 if open_ else 0,
        "isReduceOnly": False,
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
        "createdTime": str(position.opened_at),
        "updatedTime": str(position.updated_at),
        "openTime": position.opened_at if open_ else 0,
        "seq": seq,
        "tpslMode": "Full",
    }


def pushed_position(row: Row) -> Row:
    """Return the same row as the position stream sends it: ``entryPrice`` for ``avgPrice``, and the category."""
    return {"category": "linear", "entryPrice": row["avgPrice"], **{k: v for k, v in row.items() if k != "avgPrice"}}


def empty_leg(world: World, account: Account, symbol: str, index: int, leverage: Decimal) -> Position:
    """Return the flat position that Get Position Info answers for a leg that is not open."""
    return Position(
        id=0, account=account.name, venue="bybit", symbol=symbol, leg="net", mode="cross",
        side="short" if index == 2 else "long", size=_ZERO, entry_price=_ZERO, leverage=leverage, margin=None,
        opened_at=world.now_ms, updated_at=world.now_ms, trade_id=0,
    )  # fmt: skip


# --- Wallet ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Totals:
    """An account in dollars: wallet balance, unrealised PnL, maintenance and initial margin of everything it holds."""

    wallet: Decimal
    upl: Decimal
    maintenance: Decimal
    initial: Decimal

    @classmethod
    def of(cls, world: World, account: Account) -> Totals:
        """Add up an account; every coin at its dollar price (USDT is a little off 1)."""
        wallet = sum((cash * world.usd(ccy) for ccy, cash in account.cash.items()), _ZERO)
        upl = needed = initial = _ZERO
        for position in account.positions.values():
            contract, mark = world.contract("bybit", position.symbol), world.mark("bybit", position.symbol)
            usd = world.usd(contract.settle)
            upl += world.unrealized_pnl(position) * usd
            needed += maintenance_margin(contract, position, mark) * usd
            initial += initial_margin(contract, position, mark) * usd
        return cls(wallet, upl, needed, initial)


def wallet_row(world: World, account: Account, coins: Sequence[str]) -> Row:
    """Return the account and those of its coins. In isolated margin the account has no margin figures (``""``)."""
    totals = Totals.of(world, account)
    cross = account.mode == "cross"
    counted = next((pool.equity for pool in world.pools(account) if pool.name == "USD"), _ZERO)  # after haircuts

    def rate(amount: Decimal) -> str:
        return plain(round_to(amount / counted, Decimal("0.0001"))) if cross and counted > 0 else ""

    def total(amount: Decimal) -> str:
        return figure(amount) if cross else ""

    return {
        "accountType": "UNIFIED",
        "accountLTV": "0",
        "accountIMRate": rate(totals.initial),
        "accountIMRateByMp": rate(totals.initial),
        "accountMMRate": rate(totals.maintenance),
        "accountMMRateByMp": rate(totals.maintenance),
        "totalEquity": figure(totals.wallet + totals.upl),
        "totalWalletBalance": figure(totals.wallet),
        "totalMarginBalance": total(totals.wallet + totals.upl),
        "totalAvailableBalance": total(max(_ZERO, counted - totals.initial)),
        "totalPerpUPL": figure(totals.upl),
        "totalInitialMargin": total(totals.initial),
        "totalInitialMarginByMp": total(totals.initial),
        "totalMaintenanceMargin": total(totals.maintenance),
        "totalMaintenanceMarginByMp": total(totals.maintenance),
        "coin": [_coin_row(world, account, ccy) for ccy in coins],
    }


def _coin_row(world: World, account: Account, ccy: str) -> Row:
    mine = [p for p in account.positions.values() if world.contract("bybit", p.symbol).settle == ccy]
    marked = [(world.contract("bybit", p.symbol), p, world.mark("bybit", p.symbol)) for p in mine]
    upl = sum((world.unrealized_pnl(p) for p in mine), _ZERO)
    cash = account.cash[ccy]
    return {
        "coin": ccy,
        "equity": figure(cash + upl),
        "usdValue": figure((cash + upl) * world.usd(ccy)),
        "walletBalance": figure(cash),
        "availableToWithdraw": "",
        "availableToBorrow": "",
        "borrowAmount": "0",
        "accruedInterest": "0",
        "totalOrderIM": "0",
        "totalPositionIM": figure(sum((initial_margin(*m) for m in marked), _ZERO)),
        "totalPositionMM": figure(sum((maintenance_margin(*m) for m in marked), _ZERO)),
        "unrealisedPnl": figure(upl),
        "cumRealisedPnl": "0",
        "bonus": "0",
        "collateralSwitch": True,
        "marginCollateral": True,
        "locked": "0",
        "spotHedgingQty": "0",
        "spotBorrow": "0",
    }


# --- Fills -------------------------------------------------------------------------------------------------------------


def execution_row(world: World, change: PositionChanged, order: str, fill: str, seq: int) -> Row:
    """Return the fill behind a change; a liquidation is a takeover at the mark (BustTrade). No positionIdx, as at Bybit."""
    position, trade = change.position, change.trade
    size = trade.size if trade else change.was
    price = trade.price if trade else world.mark("bybit", position.symbol)
    buy = trade.buy if trade else position.sign < 0
    reducing = buy != (position.sign > 0)
    return {
        "category": "linear",
        "symbol": position.symbol,
        "orderId": order,
        "orderLinkId": "",
        "side": "Buy" if buy else "Sell",
        "orderPrice": plain(price),
        "orderQty": plain(size),
        "leavesQty": "0",
        "createType": "CreateByUser" if trade else "CreateByTakeOver_PassThrough",
        "orderType": "Market",
        "stopOrderType": "UNKNOWN",
        "execFee": figure(-trade.fee if trade else _ZERO),
        "execId": fill,
        "execPrice": plain(price),
        "execQty": plain(size),
        "execPnl": figure(trade.pnl if trade else _ZERO),
        "execType": "Trade" if trade else "BustTrade",
        "execValue": figure(size * price),
        "execTime": str(change.at),
        "isMaker": False,
        "feeRate": plain(TAKER_FEE["bybit"]),
        "markPrice": plain(world.mark("bybit", position.symbol)),
        "indexPrice": "",
        "closedSize": plain(size) if reducing else "0",
        "seq": seq,
        "extraFees": [],
        "feeCurrency": world.contract("bybit", position.symbol).settle,
    }


def order_row(execution: Mapping[str, Any], status: str, index: int, at: int) -> Row:
    """Return the order of a fill, or (New, Cancelled) one that was only edited."""
    filled = status == "Filled"
    done = execution["execQty"] if filled else "0"
    return {
        "category": "linear",
        "symbol": execution["symbol"],
        "orderId": execution["orderId"],
        "orderLinkId": "",
        "side": execution["side"],
        "positionIdx": index,
        "orderStatus": status,
        "orderType": "Market" if filled else "Limit",
        "timeInForce": "IOC" if filled else "GTC",
        "price": execution["orderPrice"],
        "qty": execution["orderQty"],
        "avgPrice": execution["execPrice"] if filled else "",
        "leavesQty": "0" if filled or status == "Cancelled" else execution["orderQty"],
        "cumExecQty": done,
        "cumExecValue": execution["execValue"] if filled else "0",
        "cumFeeDetail": {execution["feeCurrency"]: execution["execFee"]} if filled else {},
        "closedPnl": execution["execPnl"] if filled else "0",
        "cancelType": "CancelByUser" if status == "Cancelled" else "UNKNOWN",
        "rejectReason": "EC_NoError",
        "createType": execution["createType"],
        "reduceOnly": execution["closedSize"] != "0",
        "closeOnTrigger": False,
        "takeProfit": "",
        "stopLoss": "",
        "triggerPrice": "",
        "createdTime": execution["execTime"],
        "updatedTime": str(at),
    }
