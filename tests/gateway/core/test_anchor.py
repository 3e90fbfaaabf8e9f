"""Anchors: figures start from what the venue last said and move with the mark, exactly."""

from __future__ import annotations

import math
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import PositionState
from gateway.core.anchor import anchor, computable, signed_quantity, ulp
from tests.gateway.events_of import instrument, position

prices = st.decimals(min_value="0.0001", max_value="90000", places=4)
sizes = st.decimals(min_value="0.001", max_value="9000", places=3)
sides = st.sampled_from(["long", "short"])


def upnl_at(state: PositionState, mark: Decimal, *, inverse: bool = False) -> float:
    """Return what the columns make of a row's anchor at a mark."""
    found = anchor(state, instrument(contract_type="inverse") if inverse else None)
    x = -1 / float(mark) if inverse else float(mark)
    return found.upnl0 + found.quantity * (x - found.x0)


def linear(side: str, size: Decimal, entry: Decimal, mark: Decimal) -> Decimal:
    return (1 if side == "long" else -1) * size * (mark - entry)


@given(side=sides, size=sizes, entry=prices, mark=prices, later=prices)
def test_an_anchor_and_the_exact_entry_give_the_same_pnl(
    side: str, size: Decimal, entry: Decimal, mark: Decimal, later: Decimal
) -> None:
    given_ = {"side": side, "size": str(size), "entry_price": str(entry)}
    anchored = position(**given_, mark_price=str(mark), venue_unrealized_pnl=str(linear(side, size, entry, mark)))
    unanchored = position(**given_, mark_price=None, venue_unrealized_pnl=None)
    wanted = float(linear(side, size, entry, later))
    scale = float(size) * 9e4
    assert anchor(anchored, None).refused is None
    assert upnl_at(anchored, later) == pytest.approx(wanted, rel=1e-12, abs=1e-12 * scale)
    assert upnl_at(unanchored, later) == pytest.approx(wanted, rel=1e-12, abs=1e-12 * scale)


@given(side=sides, size=sizes, entry=prices, mark=prices, later=prices)
def test_a_rounded_entry_never_enters_the_pnl(
    side: str, size: Decimal, entry: Decimal, mark: Decimal, later: Decimal
) -> None:
    rounded = entry.quantize(Decimal("0.01"))
    if rounded <= 0:
        return
    upnl = linear(side, size, entry, mark)
    state = position(
        side=side,
        size=str(size),
        entry_price=str(rounded),
        entry_exact=False,
        mark_price=str(mark),
        venue_unrealized_pnl=str(upnl),
    )
    found = anchor(state, None)
    assert found.refused is None, "within one unit of the last published digit"
    rounding = 8 * sys.float_info.epsilon * float(size * max(entry, mark, later))  # float64, of the largest term
    assert upnl_at(state, later) == pytest.approx(float(linear(side, size, entry, later)), rel=1e-12, abs=rounding)


@given(side=sides, size=sizes, entry=prices, mark=prices, beyond=st.decimals(min_value="2", max_value="1000", places=1))
def test_what_does_not_follow_from_the_entry_is_refused(
    side: str, size: Decimal, entry: Decimal, mark: Decimal, beyond: Decimal
) -> None:
    tolerance = size * (ulp(str(entry)) + ulp(str(mark))) + Decimal("0.0000001") + size * mark * Decimal("1e-9")
    wrong = linear(side, size, entry, mark) + tolerance * beyond
    state = position(
        side=side, size=str(size), entry_price=str(entry), mark_price=str(mark), venue_unrealized_pnl=str(wrong)
    )
    found = anchor(state, None)
    assert found.refused is not None
    assert found.x0 == float(entry), "counted from the exact entry instead"


@given(side=sides, size=sizes, entry=prices, mark=prices, later=prices)
def test_inverse_contracts_count_in_coin(
    side: str, size: Decimal, entry: Decimal, mark: Decimal, later: Decimal
) -> None:
    sign = 1 if side == "long" else -1
    upnl = sign * size * (1 / entry - 1 / mark)
    state = position(
        side=side, size=str(size), entry_price=str(entry), mark_price=str(mark), venue_unrealized_pnl=f"{upnl:.20f}"
    )
    found = anchor(state, instrument(contract_type="inverse"))
    if found.refused is None:
        wanted = sign * size * (1 / entry - 1 / later)
        # One unit of the published PnL, and in float64 a few of the largest term's last place (large for a price near 0).
        rounding = 1e-20 + 8 * sys.float_info.epsilon * float(size / min(entry, mark, later))
        assert upnl_at(state, later, inverse=True) == pytest.approx(float(wanted), rel=1e-12, abs=rounding)


@given(
    side=sides,
    size=st.integers(1_000, 1_000_000),
    entry=st.integers(20_000, 150_000),
    hidden=st.integers(-49, 49),
    cents=st.integers(0, 99),
)
def test_an_inverse_pair_is_accepted_whatever_the_entrys_last_digit_hides(
    side: str, size: int, entry: int, hidden: int, cents: int
) -> None:
    """The entry's rounding weighs with the entry, not with the mark, which may be several times as high."""
    shown = Decimal(entry) + Decimal(cents) / 100
    upnl = (1 if side == "long" else -1) * size * (1 / (shown + Decimal(hidden) / 10_000) - 1 / Decimal(100_000))
    state = position(
        side=side, size=str(size), entry_price=str(shown), mark_price="100000.00", venue_unrealized_pnl=f"{upnl:.8f}"
    )
    assert anchor(state, instrument(contract_type="inverse")).refused is None


@pytest.mark.parametrize(
    ("upnl", "fits"),
    [
        ("39.99969000", True),
        ("39.99967399", True),
        ("39.99967398", False),
        ("39.99972602", True),
        ("39.99972603", False),
    ],
)
def test_an_inverse_pair_may_miss_its_entry_by_one_unit_of_each_published_digit(upnl: str, fits: bool) -> None:
    """39.9997000018 by the entry: a cent of that is worth 2.5e-5, one of the mark 1e-6."""
    state = position(size="1000000", entry_price="20000.12", mark_price="100000.00", venue_unrealized_pnl=upnl)
    assert (anchor(state, instrument(contract_type="inverse")).refused is None) is fits


def test_where_a_pair_is_refused_a_rounded_entry_is_no_start_either() -> None:
    said = {"entry_price": "60000", "mark_price": "66000", "venue_unrealized_pnl": "5000", "size": "1"}
    rounded = anchor(position(**said, contract_size="1", entry_exact=False), None)
    assert rounded.refused is not None
    assert math.isnan(rounded.upnl0)
    exact = anchor(position(**said, contract_size="1"), None)
    assert (exact.upnl0, exact.x0) == (0.0, 60_000.0)


def test_profit_counts_from_the_last_settlement_where_the_venue_settles() -> None:
    state = position(entry_price="90", pnl_price="105", mark_price="110", venue_unrealized_pnl="10")
    assert anchor(state, None).refused is None
    assert upnl_at(state, Decimal(111)) == pytest.approx(12.0)


def test_unknown_is_not_a_number_and_never_zero() -> None:
    bare = position(contract_size=None, contract_type=None)
    assert signed_quantity(bare, None) is None
    assert math.isnan(anchor(bare, None).quantity)
    assert math.isnan(anchor(bare, None).upnl0)
    no_anchor = position(entry_exact=False, mark_price=None, venue_unrealized_pnl=None)
    assert math.isnan(anchor(no_anchor, None).upnl0), "a rounded entry is no start"


@pytest.mark.parametrize("contract_type", ["linear", "inverse"])
def test_a_price_of_zero_is_none(contract_type: str) -> None:
    said = {"size": "1", "entry_price": "60000", "venue_unrealized_pnl": "0", "contract_size": "1"}
    unmarked = anchor(position(**said, mark_price="0"), instrument(contract_type=contract_type))
    assert math.isnan(unmarked.mark0)
    assert (unmarked.upnl0, abs(unmarked.x0)) == (0.0, 60_000.0 if contract_type == "linear" else 1 / 60_000)
    unentered = anchor(
        position(**(said | {"entry_price": "0"}), mark_price="60000"), instrument(contract_type=contract_type)
    )
    assert (unentered.upnl0, unentered.mark0, unentered.refused) == (0.0, 60_000.0, None), (
        "nothing to hold the pair against"
    )


def test_options_and_quanto_contracts_keep_the_venues_figure() -> None:
    option = position(kind="option", venue_unrealized_pnl="-3")
    assert not computable(option, None)
    assert (anchor(option, None).quantity, anchor(option, None).upnl0) == (0.0, -3.0)
    assert not computable(position(), instrument(contract_type="quanto"))


@pytest.mark.parametrize(
    ("text", "unit"), [("1.50", "0.01"), ("7", "1"), ("0.00001234", "0.00000001"), ("1E+2", "1E+2")]
)
def test_one_unit_in_the_last_place(text: str, unit: str) -> None:
    assert ulp(text) == Decimal(unit)
