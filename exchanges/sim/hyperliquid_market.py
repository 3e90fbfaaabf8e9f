"""What Hyperliquid lists: dexes, meta, margin tables, contexts, mids. Pure; belongs to nobody.

Sources: Hyperliquid docs ("Info endpoint: perpetuals", "spot"), shapes as in recorded answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from exchanges.sim.catalog import Contract, Tier
from exchanges.sim.hyperliquid_figures import DEXES, TOKENS, shown
from exchanges.sim.world import World

Row = dict[str, Any]

TIERED_FROM_ID = 50  # margin table ids below this are one tier: the id itself is the maximum leverage; meta omits them
_TOP_TABLE_ID = 56
SPOT_PAIR = "@107"


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
        "funding": shown(world.funding("hyperliquid", contract.symbol)[0]),
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
        "universe": [
            {"name": SPOT_PAIR, "tokens": [TOKENS["HYPE"], TOKENS["USDC"]], "index": 107, "isCanonical": False}
        ],
    }


def spot_context(world: World) -> Row:
    """Return the context of the one spot pair."""
    price = shown(round(world.usd("HYPE"), 4))
    return {
        "coin": SPOT_PAIR,
        "markPx": price,
        "midPx": price,
        "prevDayPx": price,
        "dayNtlVlm": "0.0",
        "dayBaseVlm": "0.0",
        "circulatingSupply": "0.0",
        "totalSupply": "0.0",
    }


def spot_meta_and_contexts(world: World) -> list[Any]:
    """Return the spot tokens with the context of each pair."""
    return [spot_meta(), [spot_context(world)]]
