"""The simulator's Bybit arithmetic against recorded rows."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest

from exchanges.sim import bybit_figures as figures
from exchanges.sim import bybit_market as market
from exchanges.sim import revalue
from exchanges.sim.catalog import CONTRACTS, Side, Tier
from exchanges.sim.revalue import Position

HALF_PERCENT = Tier(Decimal(0), Decimal("0.005"), Decimal(0), Decimal(100))
ETH = next(c for c in CONTRACTS if (c.venue, c.symbol) == ("bybit", "ETHUSDT"))


def held(side: Side, size: str, entry: str, leverage: int, mode: str = "cross") -> Position:
    return Position(
        id=1, account="a", venue="bybit", symbol="ETHUSDT", leg="net", mode="isolated" if mode == "isolated" else "cross",
        side=side, size=Decimal(size), entry_price=Decimal(entry), leverage=Decimal(leverage), margin=None,
        opened_at=0, updated_at=0, trade_id=0,
    )  # fmt: skip


def test_margins_of_a_recorded_cross_short() -> None:
    position, mark = held("short", "0.01", "3642.075", 30), Decimal("3642.33")
    assert figures.figure(revalue.unrealized_pnl(ETH, position, mark)) == "-0.00255"
    assert abs(figures.initial_margin(ETH, position, mark) - Decimal("1.23480936")) < Decimal("3e-7")
    assert abs(figures.maintenance_margin(ETH, position, mark) - Decimal("0.20281586")) < Decimal("3e-7")


def test_isolated_initial_margin_counts_the_entry_price() -> None:
    position = held("long", "2", "3000", 10, "isolated")
    fee = revalue.closing_fee(ETH, position, Decimal(4000))
    assert figures.initial_margin(ETH, position, Decimal(4000)) == Decimal(600) + fee


def test_liquidation_of_a_recorded_single_cross_position() -> None:
    position = held("long", "0.2", "233.02", 10)
    spare = Decimal("11.48691986") - Decimal("0.26041992")
    price = figures.cross_liquidation(ETH, position, Decimal("233.029"), spare)
    assert abs(price - Decimal("176.89650029")) <= Decimal("1e-8")


def test_isolated_liquidation_of_the_help_page() -> None:
    """1 BTC at 40,000 with 50x and 3,000 added; a short of 30,000 USD at 60,000 with 10x; 0.5 % and a fee of 0.055 %."""
    linear = replace(ETH, tick=Decimal("0.01"), tiers=(HALF_PERCENT,))
    long = replace(held("long", "1", "40000", 50, "isolated"), margin=Decimal(3800))
    assert figures.isolated_liquidation(linear, long) == Decimal("36380.25")
    inverse = replace(linear, inverse=True)
    short = replace(held("short", "30000", "60000", 10, "isolated"), margin=Decimal("0.05"))
    assert figures.isolated_liquidation(inverse, short) == Decimal("66333.33")
    paid = replace(short, margin=Decimal("0.5"))
    assert figures.isolated_liquidation(inverse, paid) == 0, "no price takes all of it"


@pytest.mark.parametrize(
    ("side", "edge", "expected"), [("long", 1_850_000, "1818.18"), ("short", 2_100_000, "2177.45")]
)
def test_isolated_liquidation_is_in_the_tier_of_its_own_price(side: Side, edge: int, expected: str) -> None:
    """1,000 ETH at 2,000 with 10x, 1 % up to the edge and 2 % above: by the tier of the entry, 1817.85 and 2178.21."""
    upper = replace(HALF_PERCENT, lower=Decimal(edge), rate=Decimal("0.02"), deduction=Decimal(edge) / 100)
    contract = replace(ETH, tick=Decimal("0.01"), tiers=(replace(HALF_PERCENT, rate=Decimal("0.01")), upper))
    position = replace(held(side, "1000", "2000", 10, "isolated"), margin=Decimal(200_000))
    assert figures.isolated_liquidation(contract, position) == Decimal(expected)


def test_isolated_liquidation_is_rounded_down_to_the_tick() -> None:
    contract = replace(ETH, tick=Decimal("0.5"), tiers=(HALF_PERCENT,))
    position = held("long", "1", "63412.37", 20, "isolated")
    assert figures.isolated_liquidation(contract, position) == Decimal("60544.0")


def test_risk_limits_are_fractions_and_continuous() -> None:
    rows = market.risk_limit_rows(ETH)
    assert [row["initialMargin"] for row in rows] == ["0.01", "0.02", "0.04", "0.1"]
    assert rows[0]["mmDeduction"] == ""
    for below, above in pairwise(rows):
        edge = Decimal(below["riskLimitValue"])
        needed = edge * Decimal(below["maintenanceMargin"]) - Decimal(below["mmDeduction"] or 0)
        assert needed == edge * Decimal(above["maintenanceMargin"]) - Decimal(above["mmDeduction"])


@pytest.mark.parametrize(
    ("exact", "shown"), [("1.2300", "1.23"), ("-0.000000001", "0"), ("1E+5", "100000"), ("-2.123456789", "-2.12345679")]
)
def test_figures_are_plain(exact: str, shown: str) -> None:
    assert figures.figure(Decimal(exact)) == shown
