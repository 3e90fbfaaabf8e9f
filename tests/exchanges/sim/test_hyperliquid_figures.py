"""The simulator's Hyperliquid arithmetic against the venue's own figures, and against its definitions."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.sim import hyperliquid_figures as figures
from exchanges.sim.catalog import CONTRACTS, Tier
from exchanges.sim.world import World
from tests.recordings import needs_recordings, recordings

TIERED = next(c.tiers for c in CONTRACTS if c.venue == "hyperliquid" and c.symbol == "BTC")


def one_tier(max_leverage: int) -> tuple[Tier, ...]:
    """Return a table of one bracket."""
    return (Tier(Decimal(0), 1 / Decimal(2 * max_leverage), Decimal(0), Decimal(max_leverage)),)


def needed(tiers: tuple[Tier, ...], notional: Decimal) -> Decimal:
    """Return maintenance margin, by the definition."""
    tier = [tier for tier in tiers if tier.lower <= notional][-1]
    return notional * tier.rate - tier.deduction


def test_published_example_of_tiers() -> None:
    assert [(tier.lower, tier.rate, tier.deduction) for tier in TIERED] == [
        (Decimal(0), Decimal("0.0125"), Decimal(0)),
        (Decimal(150_000_000), Decimal("0.025"), Decimal(1_875_000)),
    ]


@pytest.mark.parametrize(
    ("szi", "cash", "max_leverage", "expected"),
    [
        ("0.0327", Decimal("20.833393"), 50, None),
        ("-0.0327", Decimal("20.833393") + Decimal("0.0327") * Decimal("2552.0"), 50, "3157.53150453"),
        ("0.0015", Decimal("20.043862") - Decimal("0.0015") * Decimal("66930"), 50, "54108.51043771"),
    ],
)
def test_isolated_liquidation_of_real_positions(
    szi: str, cash: Decimal, max_leverage: int, expected: str | None
) -> None:
    root = figures.liquidation_price(one_tier(max_leverage), Decimal(szi), cash, Decimal(0))
    if expected is None:
        assert root is None, "a long whose cash is positive cannot be liquidated"
    else:
        assert root is not None
        assert round(root, 8) == Decimal(expected)


def _states(found: Any) -> Iterator[dict[str, Any]]:
    """Yield every clearinghouse state inside a captured message, however it is wrapped."""
    if isinstance(found, dict):
        if {"assetPositions", "crossMaintenanceMarginUsed"} <= set(found):
            yield found
        else:
            for value in found.values():
                yield from _states(value)


@needs_recordings
def test_cross_liquidation_of_captured_states() -> None:
    compared = 0
    for kind in ("ws-clearinghouseState", "rest-clearinghouseState"):
        for recording in recordings("hyperliquid", kind, "captured"):
            for state in (state for message in recording.messages() for state in _states(message)):
                compared += _compare(state)
    assert compared >= 3


def _compare(state: dict[str, Any]) -> int:
    """Compare the cross rows of one state with the venue's prices; return how many could be compared."""
    cash_all = Decimal(state["crossMarginSummary"]["accountValue"])
    total = Decimal(state["crossMaintenanceMarginUsed"])
    compared = 0
    rows = [row["position"] for row in state["assetPositions"]]
    own_total = sum(
        Decimal(row["positionValue"]) / (2 * Decimal(row["maxLeverage"]))
        for row in rows
        if row.get("maxLeverage") and row["leverage"]["type"] == "cross"
    )
    if abs(Decimal(own_total) - total) > Decimal("0.0001") or not cash_all:
        return 0  # rows are missing from the capture, or collateral lies elsewhere
    for row in rows:
        if row["leverage"]["type"] != "cross" or not row.get("liquidationPx"):
            continue
        szi, value = Decimal(row["szi"]), Decimal(row["positionValue"])
        table = one_tier(int(row["maxLeverage"]))
        cash = cash_all - value * (1 if szi > 0 else -1)
        root = figures.liquidation_price(table, szi, cash, total - needed(table, value))
        assert root is not None
        assert abs(root / Decimal(row["liquidationPx"]) - 1) < Decimal("1e-8"), row["coin"]
        compared += 1
    return compared


@given(
    szi=st.decimals(-5000, 5000, places=3).filter(bool),
    mark=st.decimals(1, 90_000, places=1),
    equity=st.decimals(1, 50_000_000, places=2),
    other=st.decimals(0, 1000, places=2),
)
def test_at_the_liquidation_price_equity_meets_maintenance(
    szi: Decimal, mark: Decimal, equity: Decimal, other: Decimal
) -> None:
    cash = equity - szi * mark
    root = figures.liquidation_price(TIERED, szi, cash, other)
    if root is not None:
        assert abs(cash + szi * root - other - needed(TIERED, abs(szi) * root)) < Decimal("1e-6")


@pytest.mark.parametrize(
    ("exact", "shown"),
    [("63412.789", "63413.0"), ("0.0166214", "0.016621"), ("2332.22", "2332.2"), ("100", "100.0"), ("0", "0.0")],
)
def test_entry_is_rounded_to_five_figures(exact: str, shown: str) -> None:
    assert figures.shown_entry(Decimal(exact)) == shown


# --- Unified accounts -------------------------------------------------------------------------------------------------


def test_a_unified_account_has_its_money_on_the_spot_side() -> None:
    """The venue's own ratio: cross maintenance of all dexes / (spot total - marginUsed of isolated positions)."""
    world = World(1, 1_790_000_000_000)
    owner = world.account("hl-dex")
    world.modes.switch_account("hl-dex", "unified")
    pool = next(pool for pool in world.pools(owner) if pool.name == "unified:USDC")
    spot = figures.spot_state(world, owner)
    states = [figures.clearinghouse_state(world, owner, dex, 0) for dex in figures.DEXES]
    rows = [row["position"] for state in states for row in state["assetPositions"]]
    isolated = sum(Decimal(row["marginUsed"]) for row in rows if row["leverage"]["type"] == "isolated")
    (total,) = [Decimal(row["total"]) for row in spot["balances"] if row["coin"] == "USDC"]
    assert total - isolated == pool.equity
    assert sum(Decimal(state["crossMaintenanceMarginUsed"]) for state in states) == pool.requirement
    assert spot["tokenToAvailableAfterMaintenance"] == [[0, figures.shown(pool.equity - pool.requirement)]]
    for state in states:
        mine = [row["position"] for row in state["assetPositions"]]
        cross = [row for row in mine if row["leverage"]["type"] == "cross"]
        profit = sum((Decimal(row["unrealizedPnl"]) for row in cross), Decimal(0))
        assert Decimal(state["crossMarginSummary"]["accountValue"]) == profit, "of the positions alone"
        assert state["withdrawable"] == "0.0"


def test_at_the_liquidation_price_of_a_unified_account_its_pool_is_spent() -> None:
    world = World(1, 1_790_000_000_000)
    owner = world.account("hl-dex")
    world.modes.switch_account("hl-dex", "unified")
    rows = {
        row["position"]["coin"]: row["position"]
        for dex in figures.DEXES
        for row in figures.clearinghouse_state(world, owner, dex, 0)["assetPositions"]
    }
    coin, price = next(
        (coin, Decimal(row["liquidationPx"]))
        for coin, row in rows.items()
        if row["liquidationPx"] and row["leverage"]["type"] == "cross"
    )
    world._marks["hyperliquid", coin] = price
    pool = next(pool for pool in world.pools(owner) if pool.name == "unified:USDC")
    assert abs(pool.equity - pool.requirement) < Decimal("1e-4")
