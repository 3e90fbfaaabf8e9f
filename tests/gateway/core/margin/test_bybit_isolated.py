"""Bybit's published price of isolated positions: the help page's formulas in plain Decimal against the real engine."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.core.margin.reference import D, Leg, Pool
from tests.gateway.core.margin.test_properties import FEW
from tests.gateway.core.margin.worlds import MODES, Held, Mode, tiers_of

FEE = D("0.00055")
LEVERAGE = D(10)  # of every row of these worlds
LINEAR, INVERSE = (mode for mode in MODES if mode.model.startswith("bybit_isolated"))
BOTH = pytest.mark.parametrize("mode", [LINEAR, INVERSE], ids=lambda mode: mode.model)


class Case(NamedTuple):
    """A position, and what was added to its margin by hand (a share of its value at the entry)."""

    leg: Leg
    added: Decimal

    @property
    def value(self) -> Decimal:
        return self.leg.notional(self.leg.entry)

    def held(self) -> Held:
        """Return it in an engine: the venue's balance holds initial margin, the fee of closing and what was added."""
        cash = self.value / LEVERAGE + self.leg.fixed + self.added * self.value
        return Held(INVERSE if self.leg.inverse else LINEAR, Pool(self.leg.settle, (self.leg,), cash))

    def published(self) -> Decimal | None:
        """Return the page's price: the one that lies in the tier that it was computed with; None: there is none."""
        leg, added = self.leg, self.added * self.value
        for index, tier in enumerate(leg.tiers):
            if leg.inverse:
                taken = self.value / LEVERAGE + added / (1 + leg.side * FEE) + tier.deduction
                price = leg.size * (1 + leg.side * tier.rate) / (self.value + leg.side * taken)
            else:
                taken = self.value / LEVERAGE + added / (1 - leg.side * FEE) + tier.deduction
                price = (self.value - leg.side * taken) / (leg.size * (1 - leg.side * tier.rate))
            upper = leg.tiers[index + 1].lower if index + 1 < len(leg.tiers) else D("Infinity")
            if price > 0 and tier.lower <= leg.notional(price) < upper:
                return price
        return None


def case_of(mode: Mode, side: int, value: Decimal, entry: Decimal, mark: Decimal, added: Decimal) -> Case:
    """Return a position of so many US dollars at the entry, with the fee that the page estimates from entry and leverage."""
    size = value if mode.inverse else value / entry
    leg = Leg("S", "BTC", side, size, entry, mark, tiers_of("bybit", inverse=mode.inverse), mode.ccy, mode.inverse)
    towards = -side if mode.inverse else side
    return Case(leg._replace(fixed=FEE * leg.notional(entry) * (1 - towards / LEVERAGE)), added)


@st.composite
def cases_of(draw: st.DrawFn, mode: Mode, added: tuple[int, int] = (0, 60)) -> Case:
    """Draw a position in any of three tiers, opened near its mark, with up to 60 % of its value added."""
    entry = D(draw(st.integers(20_000, 90_000)))
    mark = entry * draw(st.integers(970, 1030)) / 1000
    value, share = D(draw(st.integers(1_000, 1_500_000))), D(draw(st.integers(*added))) / 100
    return case_of(mode, draw(st.sampled_from((1, -1))), value, entry, mark, share)


@BOTH
@FEW
@given(data=st.data())
def test_the_price_is_the_pages(mode: Mode, data: st.DataObject) -> None:
    case = data.draw(cases_of(mode))
    wanted = case.published()
    assert wanted is not None
    assert case.held().prices()[0] == pytest.approx(float(wanted), rel=1e-9), case


@BOTH
@FEW
@given(data=st.data())
def test_where_nothing_was_added_it_is_the_trigger(mode: Mode, data: st.DataObject) -> None:
    """Added margin moves the bankruptcy price, and so the fee in the page's price; the trigger keeps the stated fee."""
    case = data.draw(cases_of(mode, added=(0, 0)))
    held = case.held()
    assert held.prices() == pytest.approx(held.triggers(), rel=1e-9)
    more = case._replace(added=D("0.3")).held()
    price, trigger = (case.leg.notional(D(found)) for found in (more.prices()[0], more.trigger(0)))
    assert abs(price - trigger) / case.value == pytest.approx(D("0.3") * FEE, rel=D("0.06"))


@BOTH
@FEW
@given(data=st.data())
def test_marks_do_not_move_it(mode: Mode, data: st.DataObject) -> None:
    case = data.draw(cases_of(mode))
    held = case.held()
    before = held.prices()
    held.mark("S", case.leg.mark * data.draw(st.integers(80, 120)) / 100)
    assert held.prices() == pytest.approx(before, rel=1e-9)


@BOTH
@FEW
@given(data=st.data())
def test_more_collateral_never_brings_it_nearer(mode: Mode, data: st.DataObject) -> None:
    case = data.draw(cases_of(mode, added=(0, 50)))
    richer = case._replace(added=case.added + D(data.draw(st.integers(1, 200))) / 10_000).held()
    held = case.held()
    assert richer.prices()[0] * case.leg.side < held.prices()[0] * case.leg.side
    assert richer.trigger(0) * case.leg.side < held.trigger(0) * case.leg.side


@FEW
@given(data=st.data())
def test_long_and_short_mirror_each_other(data: st.DataObject) -> None:
    """Nothing added, one tier: entry - price (1 - rate) of a long = price (1 + rate) - entry of a short."""
    drawn = data.draw(cases_of(LINEAR, added=(0, 0)))
    prices = []
    for side in (1, -1):
        case = case_of(LINEAR, side, D(40_000), drawn.leg.entry, drawn.leg.mark, D(0))
        prices.append(case.held().prices()[0])
    rate, entry = float(drawn.leg.tiers[0].rate), float(drawn.leg.entry)
    assert entry - prices[0] * (1 - rate) == pytest.approx(prices[1] * (1 + rate) - entry, rel=1e-9)


@FEW
@given(data=st.data())
def test_an_inverse_contract_is_a_linear_one_of_the_reciprocal_price(data: st.DataObject) -> None:
    case = data.draw(cases_of(INVERSE))
    leg = case.leg
    mirrored = leg._replace(side=-leg.side, entry=1 / leg.entry, mark=1 / leg.mark, settle="USDT", inverse=False)
    straight = Case(mirrored, case.added).held().prices()[0]
    assert case.held().prices()[0] == pytest.approx(1 / straight, rel=1e-9)


@BOTH
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("tier", [1, 2])
def test_it_is_continuous_where_its_tier_changes(mode: Mode, side: int, tier: int) -> None:
    """Sizes whose price lies just below and just above an edge."""
    entry = D(60_000)
    unit = case_of(mode, side, D(1_000), entry, entry, D("0.05"))
    edge = unit.leg.tiers[tier].lower
    price = unit.published()
    assert price is not None
    value = D(1_000) * edge / unit.leg.notional(price)
    for _ in range(20):  # the value at which the price lies on the edge
        case = case_of(mode, side, value, entry, entry, D("0.05"))
        there = case.published()
        assert there is not None
        value *= edge / case.leg.notional(there)
    around = [case_of(mode, side, value * (1 + D(step) / 10**8), entry, entry, D("0.05")) for step in (-2, -1, 1, 2)]
    sides = []
    for each in around:
        found = each.published()
        assert found is not None
        sides.append(each.leg.notional(found) >= edge)
    assert sides == [False, False, True, True]
    prices = [case.held().prices()[0] for case in around]
    assert prices == pytest.approx([prices[0]] * 4, rel=1e-7)
