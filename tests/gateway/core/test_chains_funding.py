"""Funding is of what was held at its own moment, whenever it is booked; what finds no position is named, never lost."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Fill, FundingPayment
from gateway.core import chains
from gateway.core.chains import Chain, Evidence, Item
from gateway.core.folding import fold
from gateway.core.records import PastPosition
from gateway.core.timelines import Timeline
from tests.gateway.core.chain_worlds import (
    ACCOUNT,
    LINEAR,
    POSITION,
    SYMBOL,
    T0,
    TRADES,
    Trade,
    evidence,
    fill,
    fills_of,
    payment,
    whole,
)

HOUR = 3_600_000
H = T0 + HOUR  # a full hour
LONG, SHORT = f"{POSITION}:LONG", f"{POSITION}:SHORT"


def funding(items: list[Item]) -> list[tuple[str, str | None, bool]]:
    cycles, _ = whole(items)
    return [(one.side, one.funding, one.complete) for one in sorted(cycles, key=lambda one: one.closed_at)]


FLIPS: list[Item] = [fill(1, 1, "100", T0), fill(2, -2, "101", H + 500), fill(3, 1, "102", H + 60_000)]
CLOSED: list[Item] = [fill(1, 1, "100", T0), fill(2, -1, "101", H + 500)]


@pytest.mark.parametrize("booked", [H + 2_000, H + 59_000, H + 61_000, H + 299_000])
@pytest.mark.parametrize("size", ["1", None])
@pytest.mark.parametrize("position", [POSITION, None])
def test_a_position_that_is_turned_after_the_hour_keeps_its_funding(
    booked: int, size: str | None, position: str | None
) -> None:
    paid = payment(1, "-7", booked, size=size, position=position)
    assert funding([*FLIPS, paid]) == [("long", "-7", True), ("short", "0", True)]


@pytest.mark.parametrize("booked", [H + 700, H + 61_000, H + 299_000])
def test_a_position_that_is_closed_after_the_hour_has_its_funding_however_late_it_is_booked(booked: int) -> None:
    again: list[Item] = [fill(3, 3, "100", H + 600), fill(4, -3, "100", H + HOUR // 2)]
    assert funding([*CLOSED, payment(1, "-7", booked)]) == [("long", "-7", True)]
    assert funding([*CLOSED, *again, payment(1, "-7", booked)]) == [("long", "-7", True), ("long", "0", True)]


def test_what_was_opened_in_the_first_moments_has_the_funding_of_its_size() -> None:
    """Hyperliquid pays with the first block after the hour."""
    opened: list[Item] = [
        fill(1, 1, "100", T0), fill(2, -1, "100", H + 10), fill(3, -4, "100", H + 20), fill(4, 4, "100", H + HOUR // 2),
    ]  # fmt: skip
    assert funding([*opened, payment(1, "9", H + 35, size="4")]) == [("long", "0", True), ("short", "9", True)]
    assert funding([*opened, payment(1, "9", H + 35, size="1")]) == [("long", "9", True), ("short", "0", True)]
    assert funding([*opened[2:], payment(1, "9", H + 35)]) == [("short", "9", False)]


@pytest.mark.parametrize("at", [H + 35, H + HOUR // 2])
@pytest.mark.parametrize("said", [{"size": "4"}, {"side": "short"}, {"size": "4", "side": "short"}])
@pytest.mark.parametrize("states_start", [True, False])
def test_funding_of_the_moment_of_a_flip_is_of_what_the_venue_says(
    at: int, said: dict[str, str], states_start: bool
) -> None:
    """Of one block (Hyperliquid): before its fills unless it says otherwise."""
    moves = [(1, 1, T0, 0), (2, -2, at, 1), (3, -3, at, -1), (4, 4, at + 60_000, -4)]
    fills: list[Item] = [
        fill(number, size, "100", moment, start=str(start) if states_start else None)
        for number, size, moment, start in moves
    ]
    assert funding([*fills, payment(1, "9", at, **said)]) == [("long", "0", True), ("short", "9", True)]
    for before in ({}, {"size": "1"}, {"side": "long"}):
        assert funding([*fills, payment(1, "9", at, **before)]) == [("long", "9", True), ("short", "0", True)]


def test_the_legs_of_a_hedge_are_told_apart_by_what_they_were_at_the_hour() -> None:
    legs: list[Item] = [
        fill(1, 1, "100", T0, position=LONG),
        fill(2, -3, "100", T0 + 1, position=SHORT),
        fill(3, 3, "100", H + 400, position=SHORT),
        fill(4, -1, "100", H + 500, position=LONG),
    ]
    paid = [payment(1, "-1", H + 9_000, position=None), payment(2, "3", H + 9_000, position=None)]
    assert funding([*legs, *paid]) == [("short", "3", True), ("long", "-1", True)]
    sized = [payment(1, "-1", H + 9_000, position=None, size="1"), payment(2, "3", H + 9_500, position=None, size="3")]
    assert funding([*legs, *sized]) == [("short", "3", True), ("long", "-1", True)]


def test_legs_of_one_size_are_told_apart_by_the_side_that_the_venue_says() -> None:
    legs: list[Item] = [
        fill(1, 1, "100", T0, position=LONG),
        fill(2, -1, "100", T0 + 1, position=SHORT),
        fill(3, -1, "101", H + HOUR, position=LONG),
        fill(4, 1, "101", H + HOUR + 1, position=SHORT),
    ]
    paid = [
        payment(number, amount, H + 9_000, position=None, size="1", side=side)
        for number, (amount, side) in enumerate([("-5", "long"), ("3", "short")])
    ]
    assert funding([*legs, *paid]) == [("long", "-5", True), ("short", "3", True)]


def test_what_was_opened_since_on_the_other_side_has_the_funding_of_its_size() -> None:
    legs: list[Item] = [
        fill(1, -2, "100", T0, position=SHORT),
        fill(2, 2, "100", H + 47_000, position=SHORT),
        fill(3, 3, "100", H + 50_000, position=LONG),
        fill(4, -3, "101", H + 60_000, position=LONG),
    ]
    for said in ({"size": "3"}, {"side": "long"}):
        paid = payment(1, "-5", H + 51_000, position=None, **said)
        cycles, _ = whole([*legs, paid])
        assert [(one.side, one.funding) for one in cycles] == [("short", "0"), ("long", "-5")]


@pytest.mark.parametrize("position", [POSITION, None])
def test_funding_of_one_side_is_never_of_the_other(position: str | None) -> None:
    """The long that it was of is not known: it is named, and what is known of it is not whole."""
    short: list[Item] = [fill(1, -2, "100", H - 5_000), fill(2, 2, "99", H + 5_000)]
    for at in (H + 1_000, H + 7_000):
        cycles, chain = whole(
            [*short, payment(1, "-5", at, size="2", side="long", position=position)], evidence(opened=(H - 5_000,))
        )
        assert [(one.side, one.funding, one.complete) for one in cycles] == [("short", "0", False)]
        assert chain.unattributed == {"USDT": Decimal(-5)}


def test_what_finds_no_cycle_is_named_and_leaves_the_last_one_incomplete() -> None:
    cycles, chain = whole([*CLOSED, payment(1, "-7", H + HOUR)])
    assert [(one.funding, one.complete) for one in cycles] == [("0", False)]
    assert chain.unattributed == {"USDT": Decimal(-7)}


def test_what_was_opened_since_has_what_nothing_at_the_hour_can_have() -> None:
    opened: list[Item] = [*CLOSED, fill(3, 2, "100", H + 240_000), fill(4, -2, "100", H + HOUR // 2)]
    assert funding([*opened, payment(1, "-7", H + 250_000)]) == [("long", "-7", True), ("long", "0", True)]
    assert funding([*opened, payment(1, "-7", H + 250_000, size="2")]) == [("long", "0", True), ("long", "-7", True)]
    assert funding([*opened[2:], payment(1, "-7", H + 250_000)]) == [("long", "-7", False)]


def test_a_payment_that_nobody_can_attribute_is_named() -> None:
    legs: list[Item] = [fill(1, 1, "100", T0, position=LONG), fill(2, -1, "100", T0 + 1, position=SHORT)]
    _, chain = whole([*legs, payment(1, "3", H, position=None)])
    assert chain.unattributed == {"USDT": Decimal(3)}
    assert [leg.trip.whole for leg in chain.legs if leg.trip is not None] == [False, False]


PAYMENTS = st.lists(
    st.tuples(
        st.integers(0, 12),  # hours
        st.sampled_from((0, 1, 35, 700, 2_001, 60_000, 61_001, 299_999, 300_001, 1_800_000)),
        st.integers(-999, 999),
        st.sampled_from((None, "1", "2", "3")),
        st.sampled_from((None, POSITION)),
    ),
    max_size=12,
)
Paid = list[tuple[int, int, int, str | None, str | None]]


def paid_of(paid: Paid) -> list[FundingPayment]:
    return [
        payment(number, str(Decimal(cents) / 100), T0 + hours * HOUR + after, size=size, position=position)
        for number, (hours, after, cents, size, position) in enumerate(paid)
    ]


def total(cycles: list[PastPosition], chain: Chain) -> Decimal:
    parts = [Decimal(one.funding) for one in cycles if one.funding is not None]
    for leg in chain.legs:
        parts.append(leg.early)
        if leg.trip is not None:
            assert leg.trip.funding is not None
            parts.append(leg.trip.funding)
    return sum(parts, sum(chain.unattributed.values(), Decimal(0)))


@given(TRADES, PAYMENTS, st.booleans(), st.sampled_from((None, 0, T0)), st.integers(0, 3), st.booleans())
def test_all_that_was_paid_is_in_cycles_or_open_or_named(
    trades: list[Trade], paid: Paid, states_start: bool, covered: int | None, missing: int, hedge: bool
) -> None:
    payments = paid_of(paid)
    fills = fills_of(trades, states_start=states_start, realized=True)[missing:]
    if hedge:
        fills = [_on_leg(one) for one in fills]
    cycles, chain = whole([*fills, *payments], evidence(covered=covered, opened=()))
    assert all(one.funding is not None for one in cycles)
    assert total(cycles, chain) == sum(Decimal(one.amount) for one in payments)


def _on_leg(one: Fill) -> Fill:
    return fill(
        int(one.trade_id or 0), one.size if one.side == "buy" else f"-{one.size}", one.price, one.at,
        realized=one.realized_pnl, position=LONG if (one.side == "buy") == (one.realized_pnl == "0") else SHORT,
    )  # fmt: skip


@given(TRADES, PAYMENTS, st.booleans(), st.integers(0, 2**32), st.integers(1, 9))
def test_payments_may_arrive_in_any_order(
    trades: list[Trade], paid: Paid, states_start: bool, seed: int, batches: int
) -> None:
    items: list[Item] = [*fills_of(trades, states_start=states_start), *paid_of(paid)]
    expected, chain = whole(items)
    shuffled = items * 2
    random.Random(seed).shuffle(shuffled)
    timeline, kept = Timeline(Chain(account=ACCOUNT, symbol=SYMBOL)), dict[str, PastPosition]()
    for index in range(batches):
        told = timeline.take(shuffled[index::batches], evidence())
        kept = {key: one for key, one in kept.items() if key not in told.gone} | {one.id: one for one in told.cycles}
    assert sorted(kept.values(), key=lambda one: one.id) == sorted(expected, key=lambda one: one.id)
    assert (timeline.chain.legs, timeline.chain.unattributed) == (chain.legs, chain.unattributed)


@given(TRADES, PAYMENTS, st.integers(0, 30))
def test_a_chain_goes_on_from_its_json_at_any_moment(trades: list[Trade], paid: Paid, cut: int) -> None:
    items: list[Item] = [*fills_of(trades, states_start=True), *paid_of(paid)]
    items.sort(key=chains.at_of)
    moments = sorted({chains.at_of(one) for one in items})
    border = moments[min(cut, len(moments) - 1)]
    expected, chain = whole(items)
    known = Evidence(LINEAR, covered=0, opened=(T0,))
    begun = Chain(account=ACCOUNT, symbol=SYMBOL)
    parts = [one for one in items if chains.at_of(one) <= border], [one for one in items if chains.at_of(one) > border]
    found = {one.id: one for ended in fold(begun, parts[0], known) for one in ended.cycles}
    again = chains.decode(begun.encode())
    found |= {one.id: one for ended in fold(again, parts[1], known) for one in ended.cycles}
    assert (found, again) == ({one.id: one for one in expected}, chain)
