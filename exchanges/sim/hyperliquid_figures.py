"""Hyperliquid's states over the world: clearinghouse states, meta, contexts, fills, with the figures it would report.

Pure. Almost every number is text as on the wire. Entry prices are shown rounded to five significant figures while every
other figure follows from the exact entry, as at the venue. Sources: Hyperliquid docs ("Info endpoint", "Margining", "Margin
tiers", "Liquidations"); identities checked on recorded states.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from exchanges.sim.catalog import Contract, Tier
from exchanges.sim.changes import PositionChanged
from exchanges.sim.revalue import Position
from exchanges.sim.state import Account
from exchanges.sim.world import World

Row = dict[str, Any]

DEXES = ("", "xyz")
TOKENS = {"USDC": 0, "HYPE": 150}
TIERED_FROM_ID = 50  # margin table ids below this are one tier: the id itself is the maximum leverage; meta omits them
_TOP_TABLE_ID = 56
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
    """Return an account's state on one dex, whole; of an unknown account an empty one, as the venue does."""
    mine = _positions(world, account, dex) if account else []
    cash = account.cash.get(dex, _ZERO) if account else _ZERO
    cross = [p for p in mine if p.mode == "cross"]
    cross_cash = cash - sum((p.margin for p in mine if p.margin is not None), _ZERO)
    # The venue counts money and signed value, not profit: what was paid for the positions is taken out of the cash.
    cross_raw = cross_cash - sum((_signed(p) * p.entry_price for p in cross), _ZERO)
    raw = cash - sum((_signed(p) * p.entry_price for p in mine), _ZERO)
    cross_summary = _summary(world, cross, cross_raw)
    needed = sum((world.maintenance(p) for p in cross), _ZERO)
    free = Decimal(cross_summary["accountValue"]) - Decimal(cross_summary["totalMarginUsed"])
    return {
        "marginSummary": _summary(world, mine, raw),
        "crossMarginSummary": cross_summary,
        "crossMaintenanceMarginUsed": shown(needed),
        "withdrawable": shown(max(_ZERO, free)),
        "assetPositions": [
            {"type": "oneWay", "position": _position(world, p, Decimal(cross_summary["accountValue"]), needed)}
            for p in mine
        ],
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
        "cumFunding": {"allTime": "0.0", "sinceOpen": "0.0", "sinceChange": "0.0"},
    }


def spot_state(account: Account | None) -> Row:
    """Return an account's spot balances."""
    spot = account.spot if account else {}
    balances = [
        {"coin": ccy, "token": TOKENS[ccy], "total": shown(total), "hold": "0.0", "entryNtl": "0.0"}
        for ccy, total in spot.items()
    ]
    return {"balances": balances}


def fill(world: World, change: PositionChanged) -> Row:
    """Return the fill behind a change; without a trade it is a liquidation at the mark."""
    position, trade = change.position, change.trade
    mark = world.mark("hyperliquid", position.symbol)
    buy = trade.buy if trade else position.sign < 0
    side, adding = ("Long" if position.sign > 0 else "Short"), buy == (position.sign > 0)
    digest = hashlib.sha256(
        f"{world.seed}:{position.account}:{position.symbol}:{change.at}:{change.was}".encode()
    ).hexdigest()
    row: Row = {
        "coin": position.symbol,
        "px": shown(trade.price if trade else mark),
        "sz": shown(trade.size if trade else change.was),
        "side": "B" if buy else "A",
        "time": change.at,
        "startPosition": shown(position.sign * change.was),
        "dir": f"{'Open' if adding else 'Close'} {side}" if trade else f"Liquidated {position.mode.title()} {side}",
        "closedPnl": shown(trade.pnl if trade else position.sign * change.was * (mark - position.entry_price)),
        "hash": f"0x{digest}",
        "oid": int(digest[:10], 16),
        "crossed": True,
        "fee": shown(-trade.fee if trade else _ZERO),
        "tid": int(digest[10:22], 16),
        "feeToken": "USDC",
        "twapId": None,
    }
    if trade is None:
        address = world.accounts[position.account].address
        row["liquidation"] = {"liquidatedUser": address, "markPx": shown(mark), "method": "market"}
    return row


# --- What is listed ----------------------------------------------------------------------------------------------------


def table_ids(contracts: Iterable[Contract]) -> dict[str, int]:
    """Return the margin table of each coin: of one tier, the maximum leverage itself; tiered ones count down from 56."""
    ids: dict[str, int] = {}
    known: dict[tuple[Tier, ...], int] = {}
    for contract in contracts:
        if len(contract.tiers) == 1:
            ids[contract.symbol] = int(contract.max_leverage)
        else:
            ids[contract.symbol] = known.setdefault(contract.tiers, _TOP_TABLE_ID - len(known))
    return ids


def margin_table(tiers: Sequence[Tier]) -> Row:
    """Return a margin table as meta and ``marginTable`` show it."""
    return {
        "description": f"tiered {int(tiers[0].max_leverage)}x" if len(tiers) > 1 else "",
        "marginTiers": [{"lowerBound": shown(tier.lower), "maxLeverage": int(tier.max_leverage)} for tier in tiers],
    }


def meta(world: World, dex: str) -> Row:
    """Return a dex's universe; tables of one tier are left out."""
    everything = world.listed("hyperliquid")
    ids = table_ids(everything)
    mine = [contract for contract in everything if contract.dex == dex]
    tables = {ids[c.symbol]: margin_table(c.tiers) for c in mine if ids[c.symbol] >= TIERED_FROM_ID}
    return {
        "universe": [
            {
                "name": contract.symbol,
                "szDecimals": max(0, -int(contract.lot.normalize().as_tuple().exponent)),
                "maxLeverage": int(contract.max_leverage),
                "marginTableId": ids[contract.symbol],
            }
            for contract in mine
        ],
        "marginTables": [[number, table] for number, table in sorted(tables.items())],
        "collateralToken": TOKENS["USDC"],
    }


def context(world: World, contract: Contract) -> Row:
    """Return a coin's context as the world stands."""
    mark, oracle = world.mark("hyperliquid", contract.symbol), world.index("hyperliquid", contract.symbol)
    mid = mid_price(world, contract)
    held = contract.lot * 4_000_000
    return {
        "funding": "0.0000125",
        "openInterest": shown(held),
        "prevDayPx": shown(oracle),
        "dayNtlVlm": shown(held * oracle * 3, 2),
        "premium": shown((mid - oracle) / oracle, 10),
        "oraclePx": shown(oracle),
        "markPx": shown(mark),
        "midPx": shown(mid),
        "impactPxs": [shown(oracle), shown(oracle + contract.tick)],
        "dayBaseVlm": shown(held * 3),
    }


def prices(world: World) -> dict[str, dict[str, str]]:
    """Return mark and mid of every coin of every dex."""
    return {
        contract.symbol: {
            "markPx": shown(world.mark("hyperliquid", contract.symbol)),
            "midPx": shown(mid_price(world, contract)),
        }
        for contract in world.listed("hyperliquid")
    }


def mid_price(world: World, contract: Contract) -> Decimal:
    """Return the middle of a coin's book, which moves more often than its mark."""
    return world.index("hyperliquid", contract.symbol) + contract.tick / 2


def perp_dexs() -> list[Row | None]:
    """Return the dexes; the first element is null and means the main one."""
    others: list[Row | None] = [
        {
            "name": dex,
            "fullName": dex.upper(),
            "deployer": "0x88806a71d74ad0a510b350545c9ae490912f0888",
            "oracleUpdater": None,
            "feeRecipient": None,
            "assetToStreamingOiCap": [],
        }
        for dex in DEXES
        if dex
    ]
    return [None, *others]


def spot_meta() -> Row:
    """Return the spot tokens and pairs."""
    return {
        "tokens": [
            {
                "name": name,
                "szDecimals": 8 if name == "USDC" else 2,
                "weiDecimals": 8,
                "index": index,
                "isCanonical": True,
            }
            for name, index in TOKENS.items()
        ],
        "universe": [{"name": "@107", "tokens": [TOKENS["HYPE"], TOKENS["USDC"]], "index": 107, "isCanonical": False}],
    }
