"""Fills of which some state what was held before them, and that name no leg: so does a history that was read after a downtime."""

from __future__ import annotations

import random
from itertools import permutations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Fill
from gateway.core.chains import Chain, Evidence
from gateway.core.records import PastPosition
from gateway.core.timelines import Timeline
from tests.gateway.core.chain_worlds import ACCOUNT, LINEAR, SYMBOL, T0, TRADES, Trade, fill, fills_of, whole

HOUR = 3_600_000
WHOLE = Evidence(LINEAR, covered=0)
LONG, SHORT = (f"{ACCOUNT}:{SYMBOL}:{side}" for side in ("long", "short"))


def stated(number: int, size: int, before: int | None, at: int = 0, **fields: object) -> Fill:
    """Return a fill that names no leg; ``at``: hours after the first."""
    known: dict[str, object] = {"position": None, "held_before": None if before is None else str(before)} | fields
    return fill(number, size, str(100 + number), T0 + at * HOUR, **known)  # type: ignore[arg-type]


def told(cycles: list[PastPosition]) -> list[tuple[str, str, int, bool]]:
    return [(one.side, one.size, one.fills, one.complete) for one in cycles]


def test_what_was_held_before_anybody_looked_ends_with_the_fill_that_closes_it() -> None:
    cycles, chain = whole([stated(1, -5, 5, realized="3")], WHOLE)
    assert told(cycles) == [("long", "5", 1, False)]
    assert chain.legs[0].trip is None
    cycles, _ = whole([stated(1, -2, 5, realized="3"), stated(2, -3, None, 1, realized="4")], WHOLE)
    assert told(cycles) == [("long", "5", 2, False)]
    cycles, chain = whole([stated(1, -2, 5), stated(2, 4, 0, 1)], WHOLE)
    assert told(cycles) == [("long", "5", 1, False)]
    assert chain.legs[0].trip is not None
    assert chain.legs[0].trip.complete


def test_what_the_venue_says_was_held_takes_the_doubt_of_a_beginning() -> None:
    cycles, _ = whole([stated(1, 2, None), stated(2, -2, 2, 1)], Evidence(LINEAR))
    assert told(cycles) == [("long", "2", 2, True)]


def test_two_legs_of_which_nobody_spoke_are_told_apart_by_what_each_held() -> None:
    fills = [
        stated(1, 2, 0, 0, realized="0"),
        stated(2, -3, 0, 1, realized="0"),
        stated(3, 1, 2, 2, realized="0"),
        stated(4, 3, -3, 3, realized="-1"),
        stated(5, -3, 3, 4, realized="2"),
    ]
    cycles, _ = whole([*fills], WHOLE)
    assert told(cycles) == [("short", "3", 2, True), ("long", "3", 3, True)]
    assert [one.position for one in cycles] == [SHORT, LONG]
    # From there on fills that state nothing are of two legs, too.
    cycles, _ = whole([*fills[:3], stated(4, -1, None, 3, realized="0"), *fills[4:]], WHOLE)
    assert told(cycles) == [("long", "3", 3, True)]


def test_two_legs_of_one_moment() -> None:
    moves = [(2, 0), (-3, 0), (1, 2), (2, -3), (-3, 3), (1, -1)]
    for ids in permutations(range(10, 16)):
        fills = [stated(number, *move) for number, move in zip(ids, moves, strict=True)]
        cycles, _ = whole(
            [stated(1, 7, 0, -2), stated(2, -1, 0, -2), stated(3, -7, 7, -1), stated(4, 1, -1, -1), *fills], WHOLE
        )
        assert sorted(told(cycles)) == [
            ("long", "3", 3, True), ("long", "7", 2, True), ("short", "1", 2, True), ("short", "3", 3, True),
        ]  # fmt: skip


def test_of_one_way_symbols_a_fill_that_is_missing_is_no_second_leg() -> None:
    cycles, chain = whole([stated(1, 2, 0), stated(2, -3, 0, 1)], Evidence(LINEAR, opened=(T0,)))
    assert told(cycles) == [("long", "2", 1, False)]
    assert [leg.trip.side for leg in chain.legs if leg.trip] == ["short"]
    one_way = Evidence(LINEAR, covered=0, hedge=False)
    assert told(whole([stated(1, 2, 0), stated(2, -3, 0, 1)], one_way)[0]) == [("long", "2", 1, False)]


def test_of_one_moment_some_state_it() -> None:
    moves: list[tuple[int, int | None]] = [(2, 0), (-2, None), (-3, 0), (3, -3)]
    for ids in permutations(range(10, 14)):
        fills = [stated(number, *move) for number, move in zip(ids, moves, strict=True)]
        cycles, _ = whole([*fills], WHOLE)
        assert sorted(told(cycles)) == [("long", "2", 2, True), ("short", "3", 2, True)]


@given(TRADES, TRADES, st.booleans(), st.integers(0, 2**32), st.integers(1, 9))
def test_whoever_states_it_and_whenever_it_comes_cycles_are_those_of_each_leg(
    one: list[Trade], other: list[Trade], hedged: bool, seed: int, batches: int
) -> None:
    """Two legs that take turns, each fill stating what was held of its own; or one, of which some fills state nothing."""
    chance = random.Random(seed)
    if hedged:
        long, short = (
            [move for trade in each for move in _there_and_back(trade, side)] for each, side in ((one, 1), (other, -1))
        )
        moves = [
            long.pop(0) if long and (not short or chance.random() < 0.5) else short.pop(0) for _ in (*long, *short)
        ]
        fills = [stated(number, size, held, number) for number, (size, held) in enumerate(moves, 1)]
        expected = [("long" if held > 0 else "short", str(abs(size)), 2, True) for size, held in moves if held]
    else:
        told_first = fills_of([trade._replace(after=trade.after + 1) for trade in one], states_start=True)
        fills = [
            msgspec.structs.replace(
                each,
                position=None,
                start_position=None,
                held_before=each.start_position if chance.random() < 0.5 else None,
            )
            for each in told_first
        ]
        expected = told(whole([*told_first])[0])
    evidence = Evidence(LINEAR, covered=0, opened=(T0,))
    shuffled = [*fills]
    chance.shuffle(shuffled)
    timeline, kept = Timeline(Chain(account=ACCOUNT, symbol=SYMBOL)), dict[str, PastPosition]()
    for index in range(batches):
        news = timeline.take(shuffled[index::batches], evidence)
        kept = {key: each for key, each in kept.items() if key not in news.gone} | {
            each.id: each for each in news.cycles
        }
    assert sorted(told([*kept.values()])) == sorted(expected)


def _there_and_back(trade: Trade, side: int) -> list[tuple[int, int]]:
    """Return the signed sizes of a leg that is opened and closed, each with what was held before."""
    size = abs(trade.size) * side
    return [(size, 0), (-size, size)]
