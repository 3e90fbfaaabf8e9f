"""Side by side: what the tables and the venue say, and nothing of what was not answered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.compare import Disagreement, compare
from gateway.core.difference import change_of, difference, signed
from tests.gateway.events_of import position, snapshot

BTC = position()


def test_every_field_that_differs_is_named_with_both_figures() -> None:
    venue = position(size="3", entry_price="101", leverage="10.0")
    assert compare([BTC], [snapshot(venue)]) == [
        Disagreement(position=BTC.id, field="side", store="long", venue="long"),
        Disagreement(position=BTC.id, field="size", store="2", venue="3"),
        Disagreement(position=BTC.id, field="entry_price", store="100", venue="101"),
    ]


def test_rows_that_only_one_side_has() -> None:
    other = position("ETH-USDT-SWAP")
    found = {(one.position, one.field): (one.store, one.venue) for one in compare([BTC], [snapshot(other)])}
    assert found[BTC.id, "size"] == ("2", "0")
    assert found[BTC.id, "entry_price"] == ("100", None)
    assert found[other.id, "size"] == ("0", "2")


def test_what_was_not_answered_is_not_compared() -> None:
    assert compare([BTC], []) == []
    assert compare([BTC], [snapshot(scope="elsewhere")]) == []
    assert compare([BTC], [snapshot(BTC)]) == []


def test_marks_digits_and_unknown_figures_are_no_difference() -> None:
    same = position(mark_price="999", size="2.00", leverage=None, venue_liquidation_price="7", adl=3)
    assert difference(BTC, same) == ({}, {})
    assert difference(None, None) == ({}, {})


def test_an_isolated_margin_is_compared_by_what_no_mark_moves() -> None:
    one = position(margin_mode="isolated", isolated_cash="20", isolated_margin="25")
    other = position(margin_mode="isolated", isolated_cash="20", isolated_margin="31")
    assert difference(one, other) == ({}, {})
    bare = position(margin_mode="isolated", isolated_margin="31")
    assert difference(one, bare) == ({"isolated_margin": "25"}, {"isolated_margin": "31"})
    assert change_of(*difference(one, bare)) == "margin"


@given(st.sampled_from(["long", "short"]), st.integers(1, 9), st.sampled_from(["long", "short"]), st.integers(1, 9))
def test_the_signed_change_can_be_read_from_the_fields(side: str, size: int, other: str, after: int) -> None:
    was, is_ = difference(position(side=side, size=str(size), id="x"), position(side=other, size=str(after), id="x"))
    moved = (after if other == "long" else -after) - (size if side == "long" else -size)
    assert signed(is_) - signed(was) == moved
    assert bool(was) == bool(moved)
