"""Chains: cycles are those of a plain count, whatever the order in which their records come."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Cause, Transfer
from gateway.core import chains
from gateway.core.chains import Chain, Evidence, Item, Seen
from gateway.core.folding import fold
from gateway.core.records import ClosedCycle, CloseReason, PastPosition
from gateway.core.round_trips import Contract, told
from gateway.core.timelines import Timeline
from tests.gateway.core.chain_worlds import (
    ACCOUNT,
    INVERSE,
    LINEAR,
    POSITION,
    SYMBOL,
    T0,
    TRADES,
    Plain,
    Trade,
    evidence,
    fill,
    fills_of,
    payment,
    plainly,
    whole,
)

CONTRACTS = st.sampled_from((LINEAR, INVERSE))
HOUR = 3_600_000


def pnl(plain: Plain, contract: Contract) -> Fraction:
    assert contract.contract_size is not None
    gained = (plain.came_out[1] - plain.went_in[1]) * Fraction(contract.contract_size)
    return gained if (plain.side == "long") != contract.inverse else -gained


def average(sums: tuple[int, Fraction], contract: Contract) -> Fraction:
    return sums[0] / sums[1] if contract.inverse else sums[1] / sums[0]


def near(told: str | None, exact: Fraction) -> bool:
    return told is not None and abs(Fraction(told) - exact) <= Fraction(1, 10**18)


# --- by a plain count ---------------------------------------------------------------------------------------------------


@given(TRADES, CONTRACTS, st.booleans())
def test_cycles_are_those_of_a_plain_count(trades: list[Trade], contract: Contract, states_start: bool) -> None:
    fills = fills_of(trades, states_start=states_start)
    cycles, _ = whole([*fills], evidence(contract))
    plain = plainly(fills, contract)
    assert [
        (one.id, one.side, one.opened_at, one.closed_at, one.size, one.fees, one.fills, one.partial_closes)
        for one in cycles
    ] == [
        (
            f"{POSITION}@{one.opener}", one.side, one.opened_at, one.closed_at, str(one.largest), told(one.fees),
            one.fills, one.partial_closes,
        )
        for one in plain
    ]  # fmt: skip
    for cycle, count in zip(cycles, plain, strict=True):
        assert cycle.complete
        assert near(cycle.entry_price, average(count.went_in, contract))
        assert near(cycle.exit_price, average(count.came_out, contract))
        assert near(cycle.realized_pnl, pnl(count, contract))
        assert cycle.own_pnl == cycle.realized_pnl
        if contract is LINEAR and Fraction(cycle.realized_pnl or 0) != pnl(count, contract):
            raise AssertionError("a linear contract's profit is exact")


@given(TRADES, st.booleans())
def test_what_the_venue_realised_is_in_cycles_and_open_part_to_the_last_digit(
    trades: list[Trade], states_start: bool
) -> None:
    fills = fills_of(trades, states_start=states_start, realized=True)
    cycles, chain = whole([*fills])
    trips = [leg.trip for leg in chain.legs if leg.trip is not None]
    assert sum((Decimal(one.realized_pnl or 0) for one in cycles), Decimal(0)) + sum(
        trip.realized or 0 for trip in trips
    ) == sum(Decimal(one.realized_pnl or 0) for one in fills)
    assert sum((Decimal(one.fees or 0) for one in cycles), Decimal(0)) + sum(trip.fees or 0 for trip in trips) == sum(
        Decimal(one.fee or 0) for one in fills
    )


@given(TRADES, CONTRACTS)
def test_longs_and_shorts_are_mirrored(trades: list[Trade], contract: Contract) -> None:
    there, _ = whole([*fills_of(trades, states_start=True)], evidence(contract))
    mirrored = [trade._replace(size=-trade.size) for trade in trades]
    here, _ = whole([*fills_of(mirrored, states_start=True)], evidence(contract))
    for one, other in zip(there, here, strict=True):
        assert {one.side, other.side} == {"long", "short"}
        assert Decimal(one.realized_pnl or 0) == -Decimal(other.realized_pnl or 0)
        same = ("entry_price", "exit_price", "size", "fees", "opened_at", "closed_at", "fills", "partial_closes")
        assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]


@given(TRADES, CONTRACTS, st.data())
def test_a_fill_in_two_halves_changes_nothing_but_the_count(
    trades: list[Trade], contract: Contract, data: st.DataObject
) -> None:
    fills = fills_of(trades, states_start=True)
    index = data.draw(st.integers(0, len(fills) - 1))
    one = fills[index]
    first = Decimal(data.draw(st.integers(1, 99))) / 100 * Decimal(one.size)
    rest = Decimal(one.size) - first
    start = Decimal(one.start_position or 0)
    between = start + (first if one.side == "buy" else -first)
    fee = Decimal(one.fee or 0) / Decimal(one.size)
    halves = [
        msgspec.structs.replace(one, size=str(first), fee=str(fee * first)),
        msgspec.structs.replace(one, id=f"{one.id}b", size=str(rest), fee=str(fee * rest), start_position=str(between)),
    ]
    there, _ = whole([*fills], evidence(contract))
    here, _ = whole([*fills[:index], *halves, *fills[index + 1 :]], evidence(contract))
    counts = ("id", "fills", "partial_closes")
    assert [_without(cycle, counts) for cycle in here] == [_without(cycle, counts) for cycle in there]


def _without(cycle: PastPosition, names: tuple[str, ...]) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(cycle).items() if name not in names}


# --- whatever the order ---------------------------------------------------------------------------------------------------


@given(TRADES, st.booleans(), st.integers(0, 2**32), st.integers(1, 12))
def test_the_order_of_arrival_does_not_matter(trades: list[Trade], states_start: bool, seed: int, batches: int) -> None:
    fills = fills_of(trades, states_start=states_start, realized=True)
    items: list[Item] = [*fills, *(payment(i, f"0.{i}1", one.at + 500) for i, one in enumerate(fills))]
    items.append(Seen(fills[0].at + 10, POSITION, Decimal(fills[0].size)))
    if whole([*fills])[0]:
        items.append(closed(whole([*fills])[0][0].closed_at, since=fills[0].at))
    expected, chain = whole(items)
    shuffled = items * 2
    random.Random(seed).shuffle(shuffled)
    timeline, kept = Timeline(Chain(account=ACCOUNT, symbol=SYMBOL)), dict[str, PastPosition]()
    for index in range(batches):
        told = timeline.take(shuffled[index::batches], evidence())
        kept = {key: one for key, one in kept.items() if key not in told.gone} | {one.id: one for one in told.cycles}
    assert sorted(kept.values(), key=lambda one: one.id) == sorted(expected, key=lambda one: one.id)
    assert timeline.chain.legs == chain.legs


@given(TRADES, CONTRACTS, st.integers(0, 25))
def test_a_chain_goes_on_from_its_json(trades: list[Trade], contract: Contract, cut: int) -> None:
    fills = fills_of([trade._replace(after=trade.after + 1) for trade in trades], states_start=False)
    expected, chain = whole([*fills], evidence(contract))
    begun = Chain(account=ACCOUNT, symbol=SYMBOL)
    found = [one for ended in fold(begun, fills[:cut], evidence(contract)) for one in ended.cycles]
    again = chains.decode(begun.encode())
    found += [one for ended in fold(again, fills[cut:], evidence(contract)) for one in ended.cycles]
    assert (found, again) == (expected, chain)


def test_what_is_older_than_memory_leaves_the_position_incomplete() -> None:
    timeline = Timeline(Chain(account=ACCOUNT, symbol=SYMBOL), keep=4)
    for number in range(1, 9):
        timeline.take([fill(number, 1, "100", T0 + number * HOUR)], evidence())
    timeline.take([fill(20, 1, "100", T0 - HOUR)], evidence())
    (cycle,) = timeline.take([fill(9, -8, "110", T0 + 9 * HOUR)], evidence()).cycles
    assert (cycle.complete, cycle.fills) == (False, 9)


# --- how cycles end ---------------------------------------------------------------------------------------------------------


def closed(at: int, since: int = T0, **fields: object) -> ClosedCycle:
    known: dict[str, object] = {"reason": "reconciled", "side": "long", "size": "2", "id": f"{POSITION}@c{at}"} | fields
    return ClosedCycle(account=ACCOUNT, position=POSITION, symbol=SYMBOL, closed_at=at, since=since, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cause", "reason", "status"),
    [
        ("trade", "trade", "closed"),
        ("liquidation", "liquidated", "liquidated"),
        ("adl", "adl", "closed"),
        ("settlement", "settled", "closed"),
        ("adjustment", "settled", "closed"),
    ],
)
def test_the_last_fill_says_why(cause: Cause, reason: CloseReason, status: str) -> None:
    (cycle,), _ = whole([fill(1, 2, "100", T0), fill(2, -1, "90", T0 + 1), fill(3, -1, "80", T0 + 2, cause=cause)])
    assert (cycle.reason, cycle.status, cycle.partial_closes) == (reason, status, 1)


def test_one_fill_closes_a_cycle_and_opens_the_next() -> None:
    cycles, chain = whole([fill(1, 2, "100", T0), fill(2, -3, "110", T0 + 1, fee="-0.1"), fill(3, 1, "100", T0 + 2)])
    assert [(one.side, one.opened_at, one.closed_at) for one in cycles] == [
        ("long", T0, T0 + 1),
        ("short", T0 + 1, T0 + 2),
    ]
    assert cycles[1].id.endswith("@" + fill(2, 1, "1", T0).id)
    assert [one.fees for one in cycles] == ["-0.074666666666", "-0.037333333334"]
    assert sum(Decimal(one.fees or 0) for one in cycles) == Decimal("-0.112")
    assert (chain.legs[0].trip, chain.number) == (None, 2)


def test_a_graver_notice_than_the_fill_is_believed() -> None:
    (cycle,), _ = whole([fill(1, 2, "100", T0), fill(2, -2, "90", T0 + HOUR), closed(T0 + HOUR, reason="adl")])
    assert (cycle.reason, cycle.complete) == ("adl", True)


def test_a_position_that_was_found_closed_ends_without_a_fill() -> None:
    (cycle,), chain = whole([fill(1, 2, "100", T0), closed(T0 + HOUR)])
    assert (cycle.reason, cycle.closed_at, cycle.complete, cycle.fees) == ("reconciled", T0 + HOUR, False, "-0.008")
    assert chain.legs[0].known
    (next_one,) = whole([fill(1, 2, "100", T0), closed(T0 + HOUR), *_round_trip(T0 + 2 * HOUR)], Evidence())[0][1:]
    assert next_one.complete  # it began flat, by the venue's word


def test_a_position_of_which_nothing_else_is_known_is_in_the_history() -> None:
    (cycle,), _ = whole([closed(T0 + HOUR, opened_at=T0, entry_price="100")], Evidence(LINEAR))
    assert (cycle.id, cycle.fills, cycle.complete, cycle.realized_net) == (f"{POSITION}@c{T0 + HOUR}", 0, False, None)
    assert (cycle.entry_price, cycle.opened_at, cycle.settle) == ("100", T0, "USDT")


def test_a_position_found_closed_by_asking_is_the_one_that_its_fills_closed_meanwhile() -> None:
    cycles, _ = whole([*_round_trip(T0), closed(T0 + 2 * HOUR, since=T0 + 1)])
    assert [one.reason for one in cycles] == ["trade"]


def test_a_position_that_is_opened_again_at_once_goes_on() -> None:
    cycles, chain = whole([*_round_trip(T0), fill(3, 1, "100", T0 + 900), closed(T0 + 500)])
    assert [one.complete for one in cycles] == [True]
    assert chain.legs[0].trip is not None


def _round_trip(at: int) -> list[Item]:
    return [fill(90, 1, "100", at, realized="0"), fill(91, -1, "101", at + 500, realized="0.01")]


# --- where they begin ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "complete"),
    [
        (Evidence(LINEAR), False),
        (Evidence(LINEAR, covered=T0), True),
        (Evidence(LINEAR, covered=T0 + 1), False),
        (Evidence(LINEAR, opened=(T0 + 30,)), True),
        (Evidence(LINEAR, opened=(T0 - HOUR,), covered=T0), False),  # the account is heard, and it was held before
    ],
)
def test_a_beginning_is_known_by_what_the_venue_says(known: Evidence, complete: bool) -> None:
    (cycle,), _ = whole(_round_trip(T0), known)
    assert cycle.complete is complete


@pytest.mark.parametrize(("seen", "complete"), [(10, True), (HOUR, True)])
def test_the_first_word_of_a_position_proves_where_it_began(seen: int, complete: bool) -> None:
    items = [fill(1, 1, "100", T0), Seen(T0 + seen, POSITION, Decimal(1)), fill(2, -1, "100", T0 + 2 * HOUR)]
    (cycle,), chain = whole(items, Evidence(LINEAR))
    assert (cycle.complete, chain.doubt) == (complete, None)


def test_a_cycle_that_was_over_before_the_venue_spoke_of_it_is_complete_by_its_word() -> None:
    (cycle,), chain = whole([*_round_trip(T0), Seen(T0 + 20, POSITION, Decimal(1))], Evidence(LINEAR))
    assert (cycle.complete, chain.doubt) == (True, None)
    assert not whole(_round_trip(T0), Evidence(LINEAR))[0][0].complete
    assert whole(_round_trip(T0), Evidence(LINEAR))[1].doubt == T0


def test_what_was_held_before_the_first_fill_is_closed_by_its_size() -> None:
    items = [
        Seen(T0, POSITION, Decimal(2), T0 - HOUR, "100"),
        fill(1, -1, "110", T0 + HOUR),
        fill(2, -1, "120", T0 + HOUR + 1),
    ]
    (cycle,), _ = whole(items, Evidence(LINEAR))
    assert (cycle.side, cycle.size, cycle.entry_price, cycle.exit_price) == ("long", "2", "100", "115")
    assert (cycle.opened_at, cycle.own_pnl, cycle.complete, cycle.partial_closes) == (T0 - HOUR, "0.3", False, 1)


def test_a_position_larger_than_its_fills_was_held_before() -> None:
    items = [fill(1, 1, "100", T0), Seen(T0 + HOUR, POSITION, Decimal(3)), fill(2, -3, "110", T0 + 2 * HOUR)]
    (cycle,), chain = whole(items, Evidence(LINEAR))
    assert (cycle.size, cycle.complete, cycle.own_pnl, chain.legs[0].trip) == ("3", False, None, None)


def test_a_first_fill_that_realised_something_closes_what_nobody_knows() -> None:
    items = [fill(1, -1, "110", T0, realized="5"), fill(2, -1, "110", T0 + 1, realized="6"), *_round_trip(T0 + HOUR)]
    first, second = whole(items, Evidence(LINEAR))[0]
    assert (first.side, first.fills, first.realized_pnl, first.complete) == ("long", 2, "11", False)
    assert (first.entry_price, first.closed_at) == (None, T0 + 1)
    assert (second.fills, second.complete) == (2, False)


def test_a_count_that_the_venue_contradicts_is_given_up() -> None:
    """Three were held and one was closed; nobody knows of the other two until more is closed than was counted."""
    items: list[Item] = [
        fill(1, -1, "110", T0, realized="5"),
        fill(2, 1, "100", T0 + HOUR, realized="0"),
        fill(3, -3, "110", T0 + 2 * HOUR, realized="9"),  # by the count it is now short of two
        fill(4, 1, "100", T0 + 3 * HOUR, realized="0"),
        fill(5, -1, "105", T0 + 4 * HOUR, realized="0.05"),
    ]
    cycles, chain = whole(items, Evidence(LINEAR))
    assert [(one.side, one.realized_pnl) for one in cycles] == [
        ("long", "5"),
        ("long", "9"),
        ("short", "0"),
        ("long", "0.05"),
    ]
    assert not any(one.complete for one in cycles)
    assert chain.legs[0].trip is None


def test_a_position_that_is_closed_at_its_entry_is_closed() -> None:
    (cycle,), _ = whole([fill(1, 1, "100", T0, realized="0"), fill(2, -1, "100", T0 + 1, realized="0")])
    assert (cycle.complete, cycle.realized_pnl) == (True, "0")


def test_a_fill_that_closes_what_is_not_held_shows_that_fills_are_missing() -> None:
    first, second = whole([*_round_trip(T0), fill(1, -1, "100", T0 + HOUR, realized="3"), closed(T0 + 2 * HOUR)])[0]
    assert (first.complete, second.complete, second.realized_pnl, second.side) == (True, False, "3", "long")


def test_a_size_before_a_fill_that_is_none_of_ours_shows_a_gap() -> None:
    (cycle,), _ = whole([fill(1, 1, "100", T0, start="0"), fill(2, -3, "110", T0 + 1, start="3")])
    assert (cycle.size, cycle.complete, cycle.fills) == ("3", False, 2)
    first, second = whole([fill(1, 1, "100", T0, start="0"), *_chained(T0 + HOUR)])[0]
    assert (first.reason, first.complete, second.complete) == ("reconciled", False, True)
    first, second = whole([fill(1, -5, "100", T0, start="2", realized="7"), fill(2, 3, "100", T0 + 1, start="-3")])[0]
    assert (first.complete, second.complete, second.id == first.id) == (False, True, False)
    (held,), _ = whole([fill(1, -2, "100", T0, start="2", realized="7")])
    assert (held.side, held.size, held.complete, held.realized_pnl) == ("long", "2", False, "7")


def _chained(at: int) -> list[Item]:
    return [fill(90, 1, "100", at, start="0"), fill(91, -1, "101", at + 500, start="1")]


@pytest.mark.parametrize("position", [POSITION, None])
def test_a_position_that_is_closed_and_opened_within_a_moment_is_two(position: str | None) -> None:
    """Trade ids do not say which came first: the profit of the fill that closes does."""
    items: list[Item] = [
        fill(1, 2, "100", T0, realized="0"),
        fill(9, -2, "110", T0 + HOUR, realized="0.2", position=position),
        fill(5, 1, "120", T0 + HOUR, realized="0"),
    ]
    cycles, chain = whole(items)
    assert [(one.size, one.exit_price, one.complete) for one in cycles] == [("2", "110", True)]
    assert chain.legs[0].trip is not None
    assert chain.legs[0].trip.largest == 1


def test_a_position_that_is_opened_and_closed_within_a_moment_is_one() -> None:
    (cycle,), _ = whole([fill(9, 2, "100", T0, realized="0"), fill(5, -2, "110", T0, realized="0.2")])
    assert (cycle.side, cycle.complete, cycle.realized_pnl) == ("long", True, "0.2")


@pytest.mark.parametrize(("opened_at", "complete"), [(None, True), (T0 + 10, True), (T0 - HOUR, False)])
def test_a_first_word_that_names_an_earlier_opening_tells_what_was_held_before(
    opened_at: int | None, complete: bool
) -> None:
    size = Decimal(1) if complete else Decimal(4)
    items: list[Item] = [
        fill(1, 1, "100", T0, realized="0"),
        Seen(T0 + 900, POSITION, size, opened_at),
        fill(2, 1, "100", T0 + 1_500, realized="0"),
        fill(3, -int(size) - 1, "110", T0 + HOUR, realized="0.2"),
    ]
    (cycle,), chain = whole(items, Evidence(LINEAR))
    assert (cycle.complete, cycle.size, chain.legs[0].trip) == (complete, str(size + 1), None)


# --- legs ---------------------------------------------------------------------------------------------------------------------


def test_legs_that_nobody_names_are_told_apart_by_what_closes() -> None:
    items: list[Item] = [
        fill(1, 1, "100", T0, position=None, realized="0"),
        fill(2, -2, "100", T0 + 1, position=None, realized="0"),
        fill(3, -1, "101", T0 + 2, position=None, realized="0.01"),
        fill(4, 2, "101", T0 + 3, position=None, realized="-0.02"),
    ]
    cycles, _ = whole(items, evidence(hedge=True))
    assert [(one.side, one.size, one.realized_pnl) for one in cycles] == [
        ("long", "1", "0.01"),
        ("short", "2", "-0.02"),
    ]


@pytest.mark.parametrize("late", [False, True])
def test_fills_that_name_no_leg_are_of_the_two_that_the_venue_spoke_of(late: bool) -> None:
    """Each symbol has a mode of its own: one leg was seen, the other is opened and closed unseen (Bybit, while nobody read)."""
    long, short = f"{ACCOUNT}:{SYMBOL}:1", f"{ACCOUNT}:{SYMBOL}:2"
    words: list[Item] = [Seen(T0, long, Decimal(6), T0 - HOUR, hedged=True)]
    unnamed: list[Item] = [
        fill(number, size, price, T0 + at, position=None, realized=realized)
        for number, size, price, at, realized in [
            (1, -6, "101", 5_000, "0.06"),
            (2, -7, "101", 5_000, "0"),
            (3, 6, "102", 6_000, "0"),
            (4, 2, "103", 7_000, "-0.04"),
            (5, 5, "104", 8_000, "-0.15"),
            (6, -2, "105", 8_001, "0"),
            (7, -6, "107", 9_000, "0.3"),
        ]
    ]
    items = [*unnamed, *words] if late else [*words, *unnamed]
    timeline, found = Timeline(Chain(account=ACCOUNT, symbol=SYMBOL)), dict[str, PastPosition]()
    for one in [*items, fill(8, 2, "100", T0 + 10_000, position=short, realized="0.1")]:
        told = timeline.take([one], Evidence(LINEAR, covered=T0))
        found = {key: past for key, past in found.items() if key not in told.gone} | {
            past.id: past for past in told.cycles
        }
    cycles = [
        (one.side, one.size, one.fills, one.realized_pnl, one.complete)
        for one in sorted(found.values(), key=lambda one: one.closed_at)
    ]
    assert cycles == [
        ("long", "6", 1, "0.06", False),
        ("short", "7", 3, "-0.19", True),
        ("long", "6", 2, "0.3", True),
        ("short", "2", 2, "0.1", True),
    ]
    assert [leg.position for leg in timeline.chain.legs] == [long, short]


def test_when_one_leg_was_opened_says_nothing_of_the_other() -> None:
    long, short = f"{ACCOUNT}:{SYMBOL}:1", f"{ACCOUNT}:{SYMBOL}:2"
    items: list[Item] = [
        Seen(T0, long, Decimal(6), T0 - HOUR, hedged=True),
        fill(1, -2, "101", T0 + 5_000, position=None, realized="0"),
        fill(2, 2, "102", T0 + 6_000, position=None, realized="-0.02"),
    ]
    for position, complete in ((long, True), (short, False)):
        known = Evidence(LINEAR, covered=T0).of_opened([(T0 - HOUR, position)])
        cycles, _ = whole([*items, fill(3, -1, "103", T0 + 7_000, position=short, realized="0")], known)
        assert [(one.position, one.complete) for one in cycles] == [(f"{ACCOUNT}:{SYMBOL}:short", complete)]


def test_legs_are_named_by_their_fills() -> None:
    long, short = f"{ACCOUNT}:{SYMBOL}:LONG", f"{ACCOUNT}:{SYMBOL}:SHORT"
    items: list[Item] = [
        fill(1, 1, "100", T0, position=long),
        fill(2, -1, "100", T0 + 1, position=short),
        payment(1, "3", T0 + HOUR, position=None),  # of one of the two
        fill(3, 1, "101", T0 + HOUR + 3, position=short),
        payment(2, "5", T0 + 2 * HOUR, position=None),
        fill(4, -1, "101", T0 + 2 * HOUR + 5, position=long),
    ]
    cycles, _ = whole(items)
    assert [(one.position, one.funding, one.complete) for one in cycles] == [(short, "0", False), (long, "5", False)]


@pytest.mark.parametrize(
    ("paid", "funding"), [(("-1", "3"), ["3", "-1"]), (("1", "-3"), ["-3", "1"]), (("1", "-2"), ["0", "0"])]
)
def test_payments_of_one_moment_are_as_large_as_their_legs(paid: tuple[str, str], funding: list[str]) -> None:
    long, short = f"{ACCOUNT}:{SYMBOL}:LONG", f"{ACCOUNT}:{SYMBOL}:SHORT"
    items: list[Item] = [
        fill(1, 1, "100", T0, position=long),
        fill(2, -3, "100", T0, position=short),
        *(payment(n, amount, T0 + 2, position=None) for n, amount in enumerate(paid)),
        fill(3, 3, "101", T0 + 3, position=short),
        fill(4, -1, "101", T0 + 5, position=long),
    ]
    cycles, _ = whole(items)
    assert [one.funding for one in cycles] == funding
    assert all(one.complete == (funding != ["0", "0"]) for one in cycles)


def test_a_leg_without_a_name_takes_the_first_that_comes() -> None:
    (cycle,), chain = whole([fill(1, 1, "100", T0, position=None), fill(2, -1, "100", T0 + 1)])
    assert (cycle.position, len(chain.legs)) == (POSITION, 1)
    assert whole([fill(1, 1, "100", T0, position=None)])[1].legs[0].position == f"{ACCOUNT}:{SYMBOL}"


# --- money --------------------------------------------------------------------------------------------------------------------


def moved(kind: str, amount: str, at: int, **fields: object) -> Transfer:
    known: dict[str, object] = {"symbol": SYMBOL, "ccy": "USDT", "id": f"t{at}"} | fields
    return Transfer(account=ACCOUNT, kind=kind, amount=amount, at=at, **known)  # type: ignore[arg-type]


def test_the_five_amounts() -> None:
    items: list[Item] = [
        fill(1, 2, "100", T0, fee="-0.5"),
        payment(1, "-0.25", T0 + HOUR),
        fill(2, -2, "110", T0 + 2 * HOUR, fee="-0.3", cause="liquidation", realized="0.2"),
        moved("liquidation", "-1.5", T0 + 2 * HOUR + 40),
    ]
    (cycle,), _ = whole(items)
    amounts = (cycle.realized_pnl, cycle.fees, cycle.funding, cycle.liquidation_fee, cycle.realized_net)
    assert amounts == ("0.2", "-0.8", "-0.25", "-1.5", "-2.35")


@pytest.mark.parametrize("size", [-1, -2])
def test_what_a_liquidation_of_one_leg_costs_is_that_legs(size: int) -> None:
    long, short = f"{ACCOUNT}:{SYMBOL}:LONG", f"{ACCOUNT}:{SYMBOL}:SHORT"
    items: list[Item] = [
        fill(1, 2, "100", T0, position=long),
        fill(2, -3, "100", T0, position=short),
        fill(3, size, "90", T0 + HOUR, position=long, cause="liquidation"),
        moved("liquidation", "-1.5", T0 + HOUR),
        fill(4, -2 - size or -1, "90", T0 + HOUR + 1, position=long if size == -1 else short),
        fill(5, 3 if size == -1 else 4, "90", T0 + HOUR + 2, position=short),
    ]
    cycles, _ = whole(items)
    assert [(one.side, one.liquidation_fee, one.complete) for one in cycles] == [
        ("long", "-1.5", True),
        ("short", "0", True),
    ]


def test_what_a_liquidation_costs_is_of_the_leg_that_was_liquidated_last() -> None:
    long, short = f"{ACCOUNT}:{SYMBOL}:LONG", f"{ACCOUNT}:{SYMBOL}:SHORT"
    items: list[Item] = [
        fill(1, 2, "100", T0, position=long),
        fill(2, -3, "100", T0, position=short),
        fill(3, 1, "90", T0 + HOUR, position=short, cause="liquidation"),
        moved("liquidation", "-1.5", T0 + HOUR),
        fill(4, -2, "90", T0 + HOUR + 20_000, position=long, cause="liquidation"),
        fill(5, 4, "90", T0 + HOUR + 20_010, position=long),  # held again before the cost is booked
        moved("liquidation", "-2.5", T0 + HOUR + 20_040),
        fill(6, -4, "90", T0 + HOUR + 30_000, position=long),
        fill(7, 2, "90", T0 + HOUR + 40_000, position=short),
    ]
    cycles, _ = whole(items)
    assert [(one.side, one.size, one.liquidation_fee) for one in cycles] == [
        ("long", "2", "-2.5"),
        ("long", "4", "0"),
        ("short", "3", "-1.5"),
    ]


@pytest.mark.parametrize("first", ["-1.5", "-1"])
@pytest.mark.parametrize("later", [0, 40])
def test_what_liquidations_of_one_moment_cost_is_as_large_as_they_are(first: str, later: int) -> None:
    long, short = f"{ACCOUNT}:{SYMBOL}:LONG", f"{ACCOUNT}:{SYMBOL}:SHORT"
    items: list[Item] = [
        fill(1, 2, "100", T0, position=long),
        fill(2, -3, "100", T0, position=short),
        fill(3, 3, "90", T0 + HOUR, position=short, cause="liquidation"),
        fill(4, -2, "90", T0 + HOUR, position=long, cause="liquidation"),
        moved("liquidation", first, T0 + HOUR + later, id="t1"),
        moved("liquidation", "-1" if first == "-1.5" else "-1.5", T0 + HOUR + later, id="t2"),
    ]
    cycles, _ = whole(items)
    assert sorted((one.side, one.liquidation_fee) for one in cycles) == [("long", "-1"), ("short", "-1.5")]


def test_fees_in_another_currency_stand_apart() -> None:
    (cycle,), _ = whole([fill(1, 1, "100", T0, fee="-0.5", fee_ccy="BNB"), fill(2, -1, "100", T0 + 1, fee="-0.1")])
    assert (cycle.fees, cycle.other_fees, cycle.realized_net) == ("-0.1", {"BNB": "-0.5"}, "-0.1")


def test_an_unknown_fee_leaves_the_sum_unknown() -> None:
    (cycle,), _ = whole([fill(1, 1, "100", T0, fee=None), fill(2, -1, "100", T0 + 1)])
    assert (cycle.fees, cycle.realized_net, cycle.realized_pnl) == (None, None, "0")


def test_funding_that_is_booked_after_the_end_belongs_to_it_for_a_minute() -> None:
    items = [*_round_trip(T0), payment(1, "2", T0 + 600), payment(2, "4", T0 + HOUR)]
    cycles, _ = whole(items)
    assert [(one.funding, one.realized_net) for one in cycles] == [("2", "2.002")]


def test_profit_that_was_settled_meanwhile_counts_once() -> None:
    items: list[Item] = [
        fill(1, 2, "100", T0), moved("settlement", "0.4", T0 + HOUR), fill(2, -2, "110", T0 + 2 * HOUR),
    ]  # fmt: skip
    (cycle,), _ = whole(items)
    assert (cycle.realized_pnl, cycle.own_pnl) == ("0.2", "0.2")
    # The venue's figure of the last fill counts from the settlement.
    items[2] = fill(2, -2, "110", T0 + 2 * HOUR, realized="-0.2")
    (cycle,), _ = whole(items)
    assert (cycle.realized_pnl, cycle.own_pnl) == ("0.2", "0.2")


@pytest.mark.parametrize(
    ("settled", "size", "realized"),
    [("0.4", 1, "0"), ("0.2", 1, "0.2"), ("0.4", 2, "0")],
    ids=["settled, then closed", "closed, then settled", "settled, then all closed"],
)
def test_a_fill_of_the_moment_of_a_settlement_counts_from_where_its_profit_says(
    settled: str, size: int, realized: str
) -> None:
    items: list[Item] = [
        fill(1, 2, "100", T0, realized="0"), moved("settlement", settled, T0 + HOUR),
        fill(2, -size, "120", T0 + HOUR, realized=realized),
    ]  # fmt: skip
    if size == 1:
        items.append(fill(3, -1, "120", T0 + 2 * HOUR, realized="0"))
    (cycle,), chain = whole(items)
    assert (cycle.side, cycle.complete, cycle.realized_pnl, cycle.own_pnl) == ("long", True, "0.4", "0.4")
    assert chain.legs[0].trip is None


def test_a_contract_that_nobody_knows_leaves_the_venues_figures() -> None:
    items: list[Item] = [fill(1, 1, "100", T0, realized="0", fee_ccy="USDT"), fill(2, -1, "110", T0 + 1, realized="10")]
    (cycle,), _ = whole(items, Evidence(covered=0))
    assert (cycle.realized_pnl, cycle.own_pnl, cycle.fees, cycle.settle) == ("10", None, "-0.008", "USDT")
    (unknown,), _ = whole([fill(1, 1, "100", T0), fill(2, -1, "110", T0 + 1)], Evidence())
    assert (unknown.realized_pnl, unknown.realized_net) == (None, None)


def test_fills_of_one_moment_go_on_from_one_another() -> None:
    fills = [fill(9, 1, "100", T0, start="0"), fill(5, -1, "101", T0, start="1"), fill(7, 1, "102", T0, start="0")]
    random.Random(3).shuffle(fills)
    cycles, chain = whole([*fills])
    assert [one.complete for one in cycles] == [True]
    trip = chain.legs[0].trip
    assert trip is not None
    assert trip.opener == fill(9, 1, "1", T0).id
