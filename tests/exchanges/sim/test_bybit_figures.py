"""The simulator's Bybit arithmetic against recorded rows."""

from __future__ import annotations

from decimal import Decimal

import pytest

from exchanges.sim import bybit_figures as figures

LIMITS = (
    figures.RiskLimit(1, Decimal(2_000_000), Decimal("0.005"), Decimal(100), Decimal(0)),
    figures.RiskLimit(2, Decimal(4_000_000), Decimal("0.01"), Decimal(50), Decimal(10_000)),
)


def test_margins_of_a_recorded_cross_short() -> None:
    leg, mark = figures.Leg(-1, Decimal("0.01"), Decimal("3642.075"), Decimal(30)), Decimal("3642.33")
    assert figures.plain(figures.unrealised(leg, mark)) == "-0.00255"
    assert abs(figures.initial_margin(leg, mark, isolated=False) - Decimal("1.23480936")) < Decimal("3e-7")
    assert abs(figures.maintenance_margin(leg, mark, LIMITS) - Decimal("0.20281586")) < Decimal("3e-7")


def test_liquidation_of_a_recorded_single_cross_position() -> None:
    leg = figures.Leg(1, Decimal("0.2"), Decimal("233.02"), Decimal(10))
    price = figures.cross_liquidation(leg, Decimal("11.48511863"), Decimal(0), Decimal("0.26041992"))
    assert abs(price / Decimal("176.89650029") - 1) < Decimal("4e-8")


@pytest.mark.parametrize(("side", "expected"), [(1, "19700"), (-1, "20300")])
def test_isolated_liquidation_of_the_help_page(side: int, expected: str) -> None:
    leg = figures.Leg(side, Decimal(1), Decimal(20000), Decimal(50))
    assert figures.isolated_liquidation(leg, Decimal("0.005"), Decimal("0.1")) == Decimal(expected)


def test_isolated_liquidation_is_rounded_down_to_the_tick() -> None:
    leg = figures.Leg(1, Decimal(1), Decimal("63412.37"), Decimal(20))
    assert figures.isolated_liquidation(leg, Decimal("0.005"), Decimal("0.5")) == Decimal("60558.5")


def test_risk_limit_by_value() -> None:
    assert [figures.risk_limit_at(LIMITS, Decimal(value)).id for value in (1, 2_000_000, 2_000_001, 9_000_000)] == [
        1,
        1,
        2,
        2,
    ]


@pytest.mark.parametrize(
    ("exact", "shown"),
    [("1.2300", "1.23"), ("0E-9", "0"), ("-0.000000001", "0"), ("1E+5", "100000"), ("-2.123456789", "-2.12345679")],
)
def test_figures_are_plain(exact: str, shown: str) -> None:
    assert figures.plain(Decimal(exact)) == shown
