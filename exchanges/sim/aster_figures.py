"""Aster's account figures over the world: positions, balances, account, brackets, with the arithmetic of the venue.

Pure. Amounts are text with at least eight decimals, as on the wire; what the world knows more exactly is not cut. Sources:
Aster docs "Futures Account Balance v3", "Account Information v3", "Position Information v3", "Notional and Leverage
Brackets"; margin model in the venue page (Binance USDⓈ-M).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from exchanges.sim.catalog import TAKER_FEE, Contract, Tier
from exchanges.sim.exact import plain
from exchanges.sim.haircuts import steps_of
from exchanges.sim.quoted import quoted_price
from exchanges.sim.revalue import Leg, Position
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

DEFAULT_LEVERAGE = Decimal(20)
# Assets that every account lists, whether it holds them or not.
LISTED_ASSETS = ("USDT", "BTC", "ETH", "BNB", "ASTER", "USDF", "USDC")
_ZERO = Decimal(0)
_LAST_CAP = Decimal(20)  # the last bracket ends at this multiple of its floor


def amount(value: Decimal) -> str:
    """Return an amount with at least eight decimals: ``23.72469206``, ``0.00000000``."""
    text = plain(value)
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals:0<8}"


def exact_number(value: Decimal) -> int | float:
    """Return a JSON number of a table's figure."""
    return int(value) if value == value.to_integral_value() else float(value)


def signed(position: Position) -> Decimal:
    """Return the amount with the sign of the side, as every message of Aster has it."""
    return position.sign * position.size


def position_side(leg: Leg) -> str:
    """Return ``BOTH``, ``LONG`` or ``SHORT``."""
    return "BOTH" if leg == "net" else leg.upper()


def legs(account: Account) -> tuple[Leg, ...]:
    """Return the rows that an account has for each symbol."""
    return ("long", "short") if account.hedge else ("net",)


def held(account: Account, symbol: str, leg: Leg) -> Position | None:
    """Return the open position of one leg, cross or isolated."""
    return next((p for p in account.positions.values() if (p.symbol, p.leg) == (symbol, leg)), None)


def leverage(account: Account, symbol: str) -> Decimal:
    """Return the leverage that is set for a symbol; where none ever was, the venue's default."""
    return account.leverages.get(symbol, DEFAULT_LEVERAGE)


# --- Liquidation -------------------------------------------------------------------------------------------------------


def liquidation_price(
    tiers: Sequence[Tier], rows: Sequence[tuple[Decimal, Decimal]], wallet: Decimal, other_maintenance: Decimal
) -> Decimal | None:
    """Return the mark at which equity meets maintenance, everything else held; None where there is none.

    Args:
        tiers: Of the symbol, ascending by notional.
        rows: Signed amount and entry price of each leg that shares the price.
        wallet: What backs the legs without their own profit: isolated wallet, or cross wallet with the profit of others.
        other_maintenance: Of the other cross positions; 0 for isolated.

    Solves ``wallet + Σ a·(x − entry) = other + Σ (|a|·x·rate − cum)`` for every choice of brackets and keeps the root whose
    notionals lie in the chosen ones.
    """
    for chosen in itertools.product(range(len(tiers)), repeat=len(rows)):
        slope, constant = _ZERO, wallet - other_maintenance
        for index, (size, entry) in zip(chosen, rows, strict=True):
            slope += size - abs(size) * tiers[index].rate
            constant += tiers[index].deduction - size * entry
        root = -constant / slope if slope else _ZERO
        if root > 0 and all(_within(tiers, i, abs(size) * root) for i, (size, _) in zip(chosen, rows, strict=True)):
            return root
    return None


def _within(tiers: Sequence[Tier], index: int, notional: Decimal) -> bool:
    above = tiers[index + 1].lower if index + 1 < len(tiers) else None
    return tiers[index].lower <= notional and (above is None or notional < above)


def _liquidation(world: World, account: Account, position: Position) -> Decimal | None:
    tiers = world.contract("aster", position.symbol).tiers
    if position.margin is not None:
        return liquidation_price(tiers, [(signed(position), position.entry_price)], position.margin, _ZERO)
    pool = next(pool for pool in world.pools(account) if position in pool.positions)
    # A pool in dollars is measured in what the position settles in.
    rate = world.usd("USDT") if pool.ccy == "USD" else Decimal(1)
    together = [p for p in pool.positions if p.symbol == position.symbol]
    others = [p for p in pool.positions if p.symbol != position.symbol]
    wallet = pool.equity / rate - sum((world.unrealized_pnl(p) for p in together), _ZERO)
    needed = sum((world.maintenance(p) for p in others), _ZERO)
    return liquidation_price(tiers, [(signed(p), p.entry_price) for p in together], wallet, needed)


# --- Positions ---------------------------------------------------------------------------------------------------------


def position_risk(world: World, account: Account, contracts: Iterable[Contract], *, newer: bool) -> list[Row]:
    """Return one row per symbol and leg, flat ones too; the newer version has ``notional`` and ``isolatedWallet``."""
    return [_risk(world, account, c, leg, newer=newer) for c in contracts for leg in legs(account)]


def _risk(world: World, account: Account, contract: Contract, leg: Leg, *, newer: bool) -> Row:
    position = held(account, contract.symbol, leg)
    lever = leverage(account, contract.symbol)
    mark = world.mark("aster", contract.symbol)
    isolated = position is not None and position.margin is not None
    upl = world.unrealized_pnl(position) if position else _ZERO
    wallet = position.margin if position and position.margin is not None else _ZERO
    root = quoted_price(world.liquidation_fields, _liquidation(world, account, position) if position else None)
    size = signed(position) if position else _ZERO
    row = {
        "symbol": contract.symbol,
        "positionAmt": plain(size),
        "entryPrice": amount(position.entry_price) if position else "0.0",
        "markPrice": amount(mark),
        "unRealizedProfit": amount(upl),
        "liquidationPrice": "0" if root is None else plain(round(root, 8)),
        "leverage": plain(lever),
        "maxNotionalValue": plain(_max_notional(contract, lever)),
        "marginType": "isolated" if isolated else "cross",
        "isolatedMargin": amount(wallet + upl) if isolated else "0.00000000",
        "isAutoAddMargin": "false",
        "positionSide": position_side(leg),
        "updateTime": position.updated_at if position else 0,
    }
    if newer:
        row |= {"notional": plain(size * mark), "isolatedWallet": plain(wallet)}
    return row


def _max_notional(contract: Contract, lever: Decimal) -> Decimal:
    fitting = [i for i, tier in enumerate(contract.tiers) if tier.max_leverage >= lever]
    return _cap(contract.tiers, fitting[-1] if fitting else 0)


def _cap(tiers: Sequence[Tier], index: int) -> Decimal:
    if index + 1 < len(tiers):
        return tiers[index + 1].lower
    return (tiers[index].lower or Decimal(1_000_000)) * _LAST_CAP


def brackets(contract: Contract) -> Row:
    """Return a symbol's brackets; they are numbers, not text."""
    return {
        "symbol": contract.symbol,
        "brackets": [
            {
                "bracket": index + 1,
                "initialLeverage": int(tier.max_leverage),
                "notionalCap": exact_number(_cap(contract.tiers, index)),
                "notionalFloor": exact_number(tier.lower),
                "maintMarginRatio": exact_number(tier.rate),
                "cum": exact_number(tier.deduction),
            }
            for index, tier in enumerate(contract.tiers)
        ],
    }


# --- Balances ----------------------------------------------------------------------------------------------------------


def alias(account: Account) -> str:
    """Return the account's code in balances."""
    return hashlib.sha256(f"alias:{account.uid}".encode()).hexdigest()[:16]


def assets(account: Account) -> list[str]:
    """Return every asset that an account lists, held ones first."""
    return [*account.cash, *(name for name in LISTED_ASSETS if name not in account.cash)]


def counts(account: Account, asset: str) -> bool:
    """Say whether an asset backs positions in multi-assets mode."""
    return asset in account.cash or asset in {"USDT", "USDC", "USDF"}


def initial_margin(world: World, position: Position) -> Decimal:
    """Return what a position binds at the mark: notional / leverage."""
    return world.notional(position) / position.leverage


def open_order_margin(world: World, account: Account) -> Decimal:
    """Return what open orders bind, in USDT: those that only reduce bind nothing."""
    return sum(
        (
            (order.size - order.filled) * order.price / leverage(account, order.symbol)
            for order in world.orders(account.name)
            if not order.reduce_only
        ),
        _ZERO,
    )


def asset_figures(world: World, account: Account, asset: str) -> dict[str, Decimal]:
    """Return one asset's figures in that asset: wallet, cross wallet, profits, margins, what is available."""
    mine = [p for p in account.positions.values() if world.contract("aster", p.symbol).settle == asset]
    cross = [p for p in mine if p.margin is None]
    wallet = account.cash.get(asset, _ZERO)
    cross_wallet = world.cross_cash(account, asset)
    cross_pnl = sum((world.unrealized_pnl(p) for p in cross), _ZERO)
    bound = sum((initial_margin(world, p) for p in cross), _ZERO)
    orders = open_order_margin(world, account) if asset == "USDT" else _ZERO
    isolated = sum((initial_margin(world, p) for p in mine if p.margin is not None), _ZERO)
    pnl = sum((world.unrealized_pnl(p) for p in mine), _ZERO)
    return {
        "wallet": wallet,
        "pnl": pnl,
        "cross_wallet": cross_wallet,
        "cross_pnl": cross_pnl,
        "maintenance": sum((world.maintenance(p) for p in mine), _ZERO),
        "position_margin": bound + isolated,
        "order_margin": orders,
        "available": cross_wallet + cross_pnl - bound - orders,
    }


def dollar_rate(world: World, account: Account, asset: str) -> Decimal:
    """Return what one coin counts for in the account's totals, in dollars (single-asset mode: USDT alone, at 1)."""
    if account.mode != "multi":
        return Decimal(1) if asset == "USDT" else _ZERO
    (_, share), *_ = steps_of("aster", asset)  # one step: a flat share
    return world.usd(asset) * share


def _available(world: World, account: Account, asset: str, figures: dict[str, Decimal]) -> Decimal:
    """Return what of an asset is free; in multi-assets mode everything that counts backs each asset."""
    if account.mode != "multi":
        return max(_ZERO, figures["available"])
    rates = {name: dollar_rate(world, account, name) for name in account.cash}
    total = sum((asset_figures(world, account, name)["available"] * rate for name, rate in rates.items()), _ZERO)
    rate = rates.get(asset)
    return max(_ZERO, total) / rate if rate else _ZERO


def balance(world: World, account: Account) -> list[Row]:
    """Return the rows of the balance question; ``updateTime`` is text there."""
    rows = []
    for asset in assets(account):
        figures = asset_figures(world, account, asset)
        free = _available(world, account, asset, figures)
        rows.append(
            {
                "accountAlias": alias(account),
                "asset": asset,
                "balance": amount(figures["wallet"]),
                "crossWalletBalance": amount(figures["cross_wallet"]),
                "crossUnPnl": amount(figures["cross_pnl"]),
                "availableBalance": amount(round(free, 8)),
                "maxWithdrawAmount": amount(round(min(free, max(_ZERO, figures["cross_wallet"])), 8)),
                "marginAvailable": counts(account, asset),
                "updateTime": str(account.cash_at.get(asset, 0)),
            }
        )
    return rows


def account_information(world: World, account: Account, contracts: Iterable[Contract], powers: Row) -> Row:
    """Return the account: totals, assets, every symbol's positions.

    Args:
        powers: ``canTrade``, ``canDeposit``, ``canWithdraw`` of the key that asks.
    """
    rows = {asset: asset_figures(world, account, asset) for asset in assets(account)}
    rates = {asset: dollar_rate(world, account, asset) if account.cash.get(asset) else _ZERO for asset in rows}

    def total(*names: str) -> Decimal:
        return sum((rows[asset][name] * rate for asset, rate in rates.items() for name in names), _ZERO)

    free = max(_ZERO, total("available"))
    return {
        "feeTier": 0,
        **powers,
        "updateTime": 0,
        "totalInitialMargin": amount(total("position_margin", "order_margin")),
        "totalMaintMargin": amount(total("maintenance")),
        "totalWalletBalance": amount(total("wallet")),
        "totalUnrealizedProfit": amount(total("pnl")),
        "totalMarginBalance": amount(total("wallet", "pnl")),
        "totalPositionInitialMargin": amount(total("position_margin")),
        "totalOpenOrderInitialMargin": amount(total("order_margin")),
        "totalCrossWalletBalance": amount(total("cross_wallet")),
        "totalCrossUnPnl": amount(total("cross_pnl")),
        "availableBalance": amount(round(free, 8)),
        "maxWithdrawAmount": amount(round(min(free, max(_ZERO, total("cross_wallet"))), 8)),
        "assets": [_asset(world, account, asset, figures) for asset, figures in rows.items()],
        "positions": [_row(world, account, contract, leg) for contract in contracts for leg in legs(account)],
    }


def _asset(world: World, account: Account, asset: str, figures: dict[str, Decimal]) -> Row:
    free = _available(world, account, asset, figures)
    return {
        "asset": asset,
        "walletBalance": amount(figures["wallet"]),
        "unrealizedProfit": amount(figures["pnl"]),
        "marginBalance": amount(figures["wallet"] + figures["pnl"]),
        "maintMargin": amount(figures["maintenance"]),
        "initialMargin": amount(figures["position_margin"] + figures["order_margin"]),
        "positionInitialMargin": amount(figures["position_margin"]),
        "openOrderInitialMargin": amount(figures["order_margin"]),
        "crossWalletBalance": amount(figures["cross_wallet"]),
        "crossUnPnl": amount(figures["cross_pnl"]),
        "availableBalance": amount(round(free, 8)),
        "maxWithdrawAmount": amount(round(min(free, max(_ZERO, figures["cross_wallet"])), 8)),
        "marginAvailable": counts(account, asset),
        "updateTime": account.cash_at.get(asset, 0),
    }


def _row(world: World, account: Account, contract: Contract, leg: Leg) -> Row:
    position = held(account, contract.symbol, leg)
    lever = leverage(account, contract.symbol)
    margin = initial_margin(world, position) if position else _ZERO
    return {
        "symbol": contract.symbol,
        "initialMargin": plain(margin),
        "maintMargin": plain(world.maintenance(position)) if position else "0",
        "unrealizedProfit": amount(world.unrealized_pnl(position)) if position else "0.00000000",
        "positionInitialMargin": plain(margin),
        "openOrderInitialMargin": "0",
        "leverage": plain(lever),
        "isolated": position is not None and position.margin is not None,
        "entryPrice": amount(position.entry_price) if position else "0.00000",
        "maxNotional": plain(_max_notional(contract, lever)),
        "positionSide": position_side(leg),
        "positionAmt": plain(signed(position)) if position else "0",
        "updateTime": position.updated_at if position else 0,
    }


# --- Rates -------------------------------------------------------------------------------------------------------------


def commission_rate(account: Account, contract: Contract) -> Row:
    """Return what makers and takers pay of a trade's value."""
    return {
        "symbol": contract.symbol,
        "makerCommissionRate": plain(account.maker_fee),
        "takerCommissionRate": plain(TAKER_FEE["aster"]),
    }


def adl_quantile(account: Account, contract: Contract) -> Row:
    """Return the place in the queue of automatic deleveraging; cross legs in hedge mode share one, marked ``HEDGE``."""
    mine = {p.leg: p for p in account.positions.values() if p.symbol == contract.symbol}
    rank = {leg: 1 if leg in mine else 0 for leg in ("net", "long", "short")}
    shared = account.hedge and all(p.margin is None for p in mine.values())
    level = max(rank["long"], rank["short"])
    told = {"LONG": level, "SHORT": level, "HEDGE": 0} if shared else {
        "LONG": rank["long"], "SHORT": rank["short"], "BOTH": rank["net"],
    }  # fmt: skip
    return {"symbol": contract.symbol, "adlQuantile": told}
