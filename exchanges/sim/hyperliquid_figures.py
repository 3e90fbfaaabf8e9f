"""Hyperliquid's states over the world: clearinghouse states and spot states, with the figures it would report.

Pure. Almost every number is text as on the wire. Entry prices are shown rounded to five significant figures while every
other figure follows from the exact entry, as at the venue. Sources: Hyperliquid docs ("Info endpoint", "Margining", "Margin
tiers", "Liquidations"); identities checked on recorded states.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from exchanges.sim.catalog import Tier
from exchanges.sim.quoted import quoted_price
from exchanges.sim.revalue import Position
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

DEXES = ("", "xyz")
TOKENS = {"USDC": 0, "HYPE": 150}
COLLATERAL = dict.fromkeys(DEXES, "USDC")  # the token that backs each dex
MODES = {"standard": "disabled", "unified": "unifiedAccount"}  # the venue's word by the world's
_ZERO = Decimal(0)
_NO_LIQUIDATION_ABOVE = Decimal("1e15")


def shown(value: Decimal, places: int | None = None) -> str:
    """Return a figure as the venue writes it: no exponent, at least one digit after the point, optionally rounded."""
    if places is not None:
        value = round(value, places)
    text = format(value.normalize() + 0, "f")  # + 0 turns -0 into 0
    return text if "." in text else f"{text}.0"


def shown_entry(entry: Decimal) -> str:
    """Return an entry price rounded to five significant figures."""
    return shown(round(entry, 4 - entry.adjusted())) if entry else "0.0"


def liquidation_price(tiers: Sequence[Tier], szi: Decimal, cash: Decimal, other_maintenance: Decimal) -> Decimal | None:
    """Return the price of one coin at which equity meets maintenance, everything else held; None where there is none.

    Args:
        tiers: Of the position, ascending.
        szi: Signed size.
        cash: Equity without this position's own value: isolated ``rawUsd``; cross ``accountValue − szi × mark``.
        other_maintenance: Of the other cross positions; 0 for isolated.

    Solves ``cash + szi·x = other + |szi|·x·rate − deduction`` in each bracket and keeps the root that lies in that bracket.
    """
    for index, tier in enumerate(tiers):
        root = (other_maintenance - tier.deduction - cash) / (szi - abs(szi) * tier.rate)
        upper = tiers[index + 1].lower if index + 1 < len(tiers) else None
        notional = abs(szi) * root
        if _ZERO < root <= _NO_LIQUIDATION_ABOVE and tier.lower <= notional and (upper is None or notional < upper):
            return root
    return None


# --- States ------------------------------------------------------------------------------------------------------------


def clearinghouse_state(world: World, account: Account | None, dex: str, now_ms: int) -> Row:
    """Return an account's state on one dex, whole; of an unknown account an empty one, as the venue does.

    In a unified account the money is on the spot side: a dex shows what its positions alone come to, and its figures of the account
    mean nothing; liquidation prices follow from the balance of the collateral token.
    """
    mine = _positions(world, account, dex) if account else []
    shared = account is not None and account.mode == "unified"
    cash = account.cash.get(dex, _ZERO) if account and not shared else _ZERO
    if shared:
        cash = sum((p.margin for p in mine if p.margin is not None), _ZERO)
    cross = [p for p in mine if p.mode == "cross"]
    cross_cash = cash - sum((p.margin for p in mine if p.margin is not None), _ZERO)
    # The venue counts money and signed value, not profit: what was paid for the positions is taken out of the cash.
    cross_raw = cross_cash - sum((_signed(p) * p.entry_price for p in cross), _ZERO)
    raw = cash - sum((_signed(p) * p.entry_price for p in mine), _ZERO)
    cross_summary = _summary(world, cross, cross_raw)
    needed = sum((world.maintenance(p) for p in cross), _ZERO)
    free = Decimal(cross_summary["accountValue"]) - Decimal(cross_summary["totalMarginUsed"])
    value, needed_of_pool = Decimal(cross_summary["accountValue"]), needed
    if account is not None and shared:
        pool = next(pool for pool in world.pools(account) if pool.name == f"unified:{COLLATERAL[dex]}")
        value, needed_of_pool, free = pool.equity, pool.requirement, _ZERO
    return {
        "marginSummary": _summary(world, mine, raw),
        "crossMarginSummary": cross_summary,
        "crossMaintenanceMarginUsed": shown(needed),
        "withdrawable": shown(max(_ZERO, free)),
        "assetPositions": [{"type": "oneWay", "position": _position(world, p, value, needed_of_pool)} for p in mine],
        "time": now_ms,
    }


def _positions(world: World, account: Account, dex: str) -> list[Position]:
    order = {contract.symbol: place for place, contract in enumerate(world.listed("hyperliquid"))}
    mine = [p for p in account.positions.values() if world.contract("hyperliquid", p.symbol).dex == dex]
    return sorted(mine, key=lambda p: order[p.symbol])


def _signed(position: Position) -> Decimal:
    return position.sign * position.size


def _margin_used(world: World, position: Position) -> Decimal:
    """Return what a position binds: value / leverage in cross, its own equity (with profit) in isolated."""
    if position.margin is None:
        return round(world.notional(position) / position.leverage, 6)
    return position.margin + world.unrealized_pnl(position)


def _summary(world: World, positions: Sequence[Position], raw: Decimal) -> Row:
    value = sum((_signed(p) * world.mark("hyperliquid", p.symbol) for p in positions), _ZERO)
    return {
        "accountValue": shown(raw + value),
        "totalNtlPos": shown(sum((world.notional(p) for p in positions), _ZERO)),
        "totalRawUsd": shown(raw),
        "totalMarginUsed": shown(sum((_margin_used(world, p) for p in positions), _ZERO)),
    }


def _position(world: World, position: Position, cross_value: Decimal, cross_maintenance: Decimal) -> Row:
    contract = world.contract("hyperliquid", position.symbol)
    szi, mark = _signed(position), world.mark("hyperliquid", position.symbol)
    upl, value = world.unrealized_pnl(position), world.notional(position)
    leverage: Row = {"type": position.mode, "value": int(position.leverage)}
    if position.margin is None:
        others = cross_maintenance - world.maintenance(position)
        liquidation = liquidation_price(contract.tiers, szi, cross_value - szi * mark, others)
    else:
        raw = position.margin - szi * position.entry_price
        leverage["rawUsd"] = shown(raw)
        liquidation = liquidation_price(contract.tiers, szi, raw, _ZERO)
    liquidation = quoted_price(world.liquidation_fields, liquidation)
    return {
        "coin": position.symbol,
        "szi": shown(szi),
        "leverage": leverage,
        "entryPx": shown_entry(position.entry_price),
        "positionValue": shown(value),
        "unrealizedPnl": shown(upl),
        "returnOnEquity": shown(upl * position.leverage / (position.size * position.entry_price), 10),
        "liquidationPx": None if liquidation is None else shown(liquidation, 10),
        "marginUsed": shown(_margin_used(world, position)),
        "maxLeverage": int(contract.max_leverage),
        "cumFunding": _paid(position),
    }


def _paid(position: Position) -> Row:
    """Return funding since the position was opened; here, unlike in fundings, what was paid is positive."""
    paid = shown(-position.funding)
    return {"allTime": paid, "sinceOpen": paid, "sinceChange": paid}


def spot_state(world: World, account: Account | None) -> Row:
    """Return an account's spot balances; a unified account's hold the equity of its perps, unrealised PnL included."""
    spot = account.spot if account else {}
    if account is None or account.mode != "unified":
        return {"balances": [_balance(ccy, total, _ZERO) for ccy, total in spot.items()]}
    pools = {pool.ccy: pool for pool in world.pools(account) if pool.name.startswith("unified:")}
    everything = list(account.positions.values())
    balances, after = [], []
    for ccy in dict.fromkeys((*pools, *spot)):
        pool = pools.get(ccy)
        if pool is None:
            balances.append(_balance(ccy, spot[ccy], _ZERO))
            continue
        mine = [p for p in everything if world.contract("hyperliquid", p.symbol).settle == ccy]
        isolated = sum((_margin_used(world, p) for p in mine if p.margin is not None), _ZERO)
        balances.append(_balance(ccy, pool.equity + isolated, sum((_margin_used(world, p) for p in mine), _ZERO)))
        after.append([TOKENS[ccy], shown(max(_ZERO, pool.equity - pool.requirement))])
    return {"balances": balances, "tokenToAvailableAfterMaintenance": after}


def _balance(ccy: str, total: Decimal, hold: Decimal) -> Row:
    return {"coin": ccy, "token": TOKENS[ccy], "total": shown(total), "hold": shown(hold), "entryNtl": "0.0"}
