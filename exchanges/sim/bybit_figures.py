"""Bybit's rows over the world: positions and wallet, with the figures that Bybit would report.

Pure. Every value is text as on the wire except where Bybit sends numbers or booleans; ``""`` is Bybit's "not applicable".
Sources: Bybit v5 docs (position and wallet streams; Get Position Info, Get Wallet Balance); help centre
"The New Margin Calculation" (2025-09): maintenance follows the mark price and contains the estimated fee of closing. The
cross formula was measured on recorded rows, the isolated one is that of "Liquidation Price Calculation under Isolated Mode
(Unified Trading Account)" (May 2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any

from exchanges.sim import bybit_market as market
from exchanges.sim import revalue
from exchanges.sim.catalog import TAKER_FEE, Contract
from exchanges.sim.exact import plain, round_to
from exchanges.sim.haircuts import amount_for
from exchanges.sim.quoted import quoted_price, quoted_ratio
from exchanges.sim.revalue import Leg, Position
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

_ZERO = Decimal(0)
_FINEST = Decimal("1e-8")
FLAT_LEVERAGE = Decimal(10)
LEGS = {"net": 0, "long": 1, "short": 2}
# marginMode of Get Account Info by the world's word for it.
MARGIN_MODES = {"cross": "REGULAR_MARGIN", "isolated": "ISOLATED_MARGIN", "portfolio": "PORTFOLIO_MARGIN"}


def figure(value: Decimal) -> str:
    """Return a computed figure with at most eight decimals."""
    exponent = value.as_tuple().exponent
    return plain(value.quantize(_FINEST, ROUND_HALF_EVEN) if isinstance(exponent, int) and exponent < -8 else value)


def position_index(position: Position) -> int:
    """Return 0 in one-way mode, 1 for the long and 2 for the short leg in hedge mode."""
    return LEGS[position.leg]


# --- Positions ---------------------------------------------------------------------------------------------------------


def isolated_liquidation(contract: Contract, position: Position) -> Decimal:
    """Return the help page's price by the tier there, rounded down to the tick; 0 where no price liquidates.

    Linear ``(value - side × (value/leverage + added/(1 - side × fee) + deduction)) / (size × (1 - side × mmr))``; inverse
    ``size × (1 + side × mmr) / (value + side × (value/leverage + added/(1 + side × fee) + deduction))``; ``value`` at the entry.
    """
    side, fee, size = position.sign, TAKER_FEE["bybit"], position.size * contract.contract_size
    value = revalue.notional(contract, position.size, position.entry_price)
    initial = value / position.leverage
    added = (initial if position.margin is None else position.margin) - initial
    found = []
    for tier in revalue.tiers_for(contract, position.mode):
        if contract.inverse:
            below = value + side * (initial + added / (1 + side * fee) + tier.deduction)
            price = size * (1 + side * tier.rate) / below if below else _ZERO
        else:
            above = value - side * (initial + added / (1 - side * fee) + tier.deduction)
            price = above / (size * (1 - side * tier.rate))
        found.append(price)
    prices = [price for price in found if price > 0]
    # Deductions make maintenance the largest of the tiers' lines: the price that is reached first counts.
    nearest = (max(prices) if side > 0 else min(prices)) if prices else _ZERO
    return (nearest / contract.tick).to_integral_value(ROUND_DOWN) * contract.tick


def cross_liquidation(contract: Contract, position: Position, mark: Decimal, spare: Decimal) -> Decimal:
    """Return the venue's estimate: the price at which this position alone uses up what is above maintenance; 0 for none.

    ``spare`` = totalMarginBalance − totalMaintenanceMargin. Linear ``mark − side × spare / size``, inverse
    ``1 / (1/mark + side × spare / size)`` with ``spare`` in coins: maintenance and everything else are held at their values.
    """
    each = position.sign * spare / position.size
    if not contract.inverse:
        return mark - each
    inverted = 1 / mark + each
    return 1 / inverted if inverted > 0 else _ZERO


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
    if contract.kind == "option" or account.mode == "portfolio":
        return ""
    if position.mode == "isolated":
        price = isolated_liquidation(contract, position)
    else:
        totals = Totals.of(world, account)
        spare = totals.wallet + totals.upl - totals.maintenance
        coins = spare / world.usd(contract.settle) if contract.inverse else spare
        price = cross_liquidation(contract, position, world.mark("bybit", position.symbol), coins)
    lowest, highest = market.price_limits(contract)
    told = quoted_price(world.liquidation_fields, price if lowest < price < highest else None)
    return "" if told is None else figure(told)


def position_row(world: World, account: Account, position: Position, seq: int) -> Row:
    """Return a row of Get Position Info as the world stands; a closed one (size 0) keeps index, leverage and history only."""
    contract = world.contract("bybit", position.symbol)
    mark, open_ = world.mark("bybit", position.symbol), bool(position.size)
    tier = revalue.tier_of(contract, position.size, mark)
    number, portfolio, option = contract.tiers.index(tier), account.mode == "portfolio", contract.kind == "option"
    shown = open_ and not portfolio
    initial = figure(initial_margin(contract, position, mark)) if shown else ""
    needed = figure(maintenance_margin(contract, position, mark)) if shown else ""
    greeks = dict.fromkeys(("gamma", "vega", "theta"), "0" if option and open_ else "")
    return {
        "positionIdx": position_index(position),
        "riskId": 0 if portfolio or option else market.risk_id(contract, number),
        "riskLimitValue": "0" if portfolio or option else plain(market.risk_limit_value(contract, number)),
        "symbol": position.symbol,
        "side": ("Buy" if position.sign > 0 else "Sell") if open_ else "",
        "size": plain(position.size),
        "avgPrice": plain(position.first_entry or position.entry_price) if open_ else "0",
        "positionValue": figure(revalue.notional(contract, position.size, position.entry_price)) if open_ else "0",
        "tradeMode": 0,  # deprecated: always 0 in a unified account, whatever the margin mode
        "autoAddMargin": 0,
        "positionStatus": "Normal",
        "leverage": "" if portfolio or option else plain(position.leverage),
        "markPrice": plain(mark),
        "liqPrice": liquidation_text(world, account, position) if open_ else "",
        "bustPrice": "",
        "positionIM": initial,
        "positionIMByMp": initial,
        "positionMM": needed,
        "positionMMByMp": needed,
        "positionBalance": _balance(contract, position, mark) if open_ and position.margin is not None else "0",
        "takeProfit": "",
        "stopLoss": "",
        "trailingStop": "0",
        # What unrealised profit is counted from: session settlement of USDC contracts leaves ``avgPrice`` as it is.
        "sessionAvgPrice": plain(position.entry_price) if open_ and contract.settle == "USDC" else "",
        "delta": plain(position.sign * position.size) if option and open_ else "",
        **greeks,
        "unrealisedPnl": figure(world.unrealized_pnl(position)) if open_ else "0",
        "curRealisedPnl": figure(position.realized + position.fees + position.funding),
        "cumRealisedPnl": figure(position.realized + position.fees + position.funding),
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


def _balance(contract: Contract, position: Position, mark: Decimal) -> str:
    """Return positionBalance: what backs the position alone, margin added by hand and the fee of closing included."""
    return figure((position.margin or _ZERO) + revalue.closing_fee(contract, position, mark))


def pushed_position(row: Row, category: str) -> Row:
    """Return the same row as the position stream sends it: ``entryPrice`` for ``avgPrice``, and the category."""
    return {"category": category, "entryPrice": row["avgPrice"], **{k: v for k, v in row.items() if k != "avgPrice"}}


def empty_leg(world: World, account: Account, symbol: str, leg: Leg, leverage: Decimal = FLAT_LEVERAGE) -> Position:
    """Return the flat position that the venue tells for a leg that is not open."""
    return Position(
        id=0, account=account.name, venue="bybit", symbol=symbol, leg=leg, mode="cross",
        side="short" if leg == "short" else "long", size=_ZERO, entry_price=_ZERO, leverage=leverage, margin=None,
        opened_at=world.now_ms, updated_at=world.now_ms, trade_id=0,
    )  # fmt: skip


# --- Wallet ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Totals:
    """An account in dollars.

    Attributes:
        wallet: Balances less their haircuts, which is what Bybit calls wallet balance; debts whole.
        upl, options: Unrealised PnL and the value of options, without haircuts.
        whole: Balances without haircuts.
        maintenance, initial: Margins.
    """

    wallet: Decimal
    whole: Decimal
    upl: Decimal
    options: Decimal
    maintenance: Decimal
    initial: Decimal

    @classmethod
    def of(cls, world: World, account: Account) -> Totals:
        """Add up an account; every coin at its dollar price (USDT is a little off 1)."""
        whole = sum((cash * world.usd(ccy) for ccy, cash in account.cash.items()), _ZERO)
        wallet = whole
        if account.mode != "isolated":
            counted = ((world.counted(account, ccy, cash), ccy) for ccy, cash in account.cash.items())
            wallet = sum((amount * world.usd(ccy) for amount, ccy in counted), _ZERO)
        upl = options = needed = initial = _ZERO
        for position in account.positions.values():
            contract, mark = world.contract("bybit", position.symbol), world.mark("bybit", position.symbol)
            usd = world.usd(contract.settle)
            if contract.kind == "option":  # paid for: no margin, and its value is not profit
                options += world.worth(position) * usd
                continue
            upl += world.unrealized_pnl(position) * usd
            needed += maintenance_margin(contract, position, mark) * usd
            initial += initial_margin(contract, position, mark) * usd
        return cls(wallet, whole, upl, options, needed, initial)


def wallet_row(world: World, account: Account, coins: Sequence[str]) -> Row:
    """Return the account and those of its coins. In isolated margin the account has no margin figures (``""``)."""
    totals = Totals.of(world, account)
    cross = account.mode != "isolated"
    counted = _counted(world, account)

    def rate(amount: Decimal) -> str:
        return plain(round_to(amount / counted, Decimal("0.0001"))) if cross and counted > 0 else ""

    def total(amount: Decimal) -> str:
        return figure(amount) if cross else ""

    return {
        "accountType": "UNIFIED",
        "accountLTV": "0",
        "accountIMRate": rate(totals.initial),
        "accountIMRateByMp": rate(totals.initial),
        "accountMMRate": quoted_ratio(world.liquidation_fields, rate(totals.maintenance)),
        "accountMMRateByMp": quoted_ratio(world.liquidation_fields, rate(totals.maintenance)),
        "totalEquity": figure(totals.whole + totals.upl + totals.options),
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


def transferable(world: World, account: Account, ccy: str) -> Decimal:
    """Return how much of a coin could leave the account (Get Transferable Amount): ``min(X, own)``, at least 0.

    ``own`` = wallet balance + min(unrealised PnL, 0), without isolated margins; X = totalAvailableBalance in the coin, its
    haircut reversed. Isolated accounts have no X.
    """
    marked = {c.symbol for c in world.listed("bybit") if c.settle == ccy and c.kind != "option"}
    cross = [p for p in account.positions.values() if p.mode == "cross" and p.symbol in marked]
    own = world.cross_cash(account, ccy) + min(sum((world.unrealized_pnl(p) for p in cross), _ZERO), _ZERO)
    if own > 0 and account.mode != "isolated":
        available = _counted(world, account) - Totals.of(world, account).initial
        cash, free = account.cash[ccy], available / world.usd(ccy)
        # What is left in the account must count for as much less as is free.
        kept = world.counted(account, ccy, cash) - free
        own = min(own, cash - amount_for("bybit", ccy, kept)) if ccy not in account.idle else own
    return max(_ZERO, own)


def _counted(world: World, account: Account) -> Decimal:
    """Return what backs the account's positions in dollars, after haircuts; 0 in isolated margin."""
    return next((pool.equity for pool in world.pools(account) if pool.name == "USD"), _ZERO)


def _coin_row(world: World, account: Account, ccy: str) -> Row:
    held = [(world.contract("bybit", p.symbol), p, world.mark("bybit", p.symbol)) for p in account.positions.values()]
    mine = [row for row in held if row[0].settle == ccy]
    marked = [row for row in mine if row[0].kind != "option"]
    upl = sum((world.unrealized_pnl(position) for _, position, _ in marked), _ZERO)
    worth = sum((world.worth(position) for _, position, _ in mine), _ZERO)
    cash, portfolio = account.cash[ccy], account.mode == "portfolio"
    return {
        "coin": ccy,
        "equity": figure(cash + worth),
        "usdValue": figure((cash + worth) * world.usd(ccy)),
        "walletBalance": figure(cash),
        "availableToWithdraw": "",
        "availableToBorrow": "",
        "borrowAmount": "0",
        "accruedInterest": "0",
        "totalOrderIM": "0",
        "totalPositionIM": "" if portfolio else figure(sum((initial_margin(*m) for m in marked), _ZERO)),
        "totalPositionMM": "" if portfolio else figure(sum((maintenance_margin(*m) for m in marked), _ZERO)),
        "unrealisedPnl": figure(upl),
        "cumRealisedPnl": "0",
        "bonus": "0",
        "collateralSwitch": ccy not in account.idle,
        "marginCollateral": True,
        "locked": "0",
        "spotHedgingQty": "0",
        "spotBorrow": "0",
    }
