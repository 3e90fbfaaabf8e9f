"""What may come first of a moment: by trying every way. A long moment takes no time."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.moments import Move, foremost
from tests.gateway.core.chain_worlds import T0, fill, whole

SIZES = st.integers(-4, 4).map(Decimal)
MOVES = st.sets(st.tuples(SIZES, SIZES).filter(lambda move: move[0] != move[1]), max_size=10)


def leads(moves: set[Move], one: Move) -> set[Move]:
    """Return the moves that can follow one, at once or later."""
    found, ends = set[Move](), {one[1]}
    while following := {move for move in moves - found if move[0] in ends}:
        found |= following
        ends |= {end for _, end in following}
    return found


@given(MOVES)
def test_none_leads_to_a_foremost_one_that_it_does_not_lead_to(moves: set[Move]) -> None:
    led = {one: leads(moves, one) for one in moves}
    expected = {one for one in moves if all(other in led[one] for other in moves if one in led[other])}
    assert foremost(moves) == expected


def test_a_long_way() -> None:
    far = 50_000
    moves = {(Decimal(at), Decimal(at + 1)) for at in range(far)}
    assert foremost(moves) == {(Decimal(0), Decimal(1))}
    assert foremost(moves | {(Decimal(far), Decimal(0))}) == moves | {(Decimal(far), Decimal(0))}


def test_a_thousand_fills_of_one_moment_back_and_forth() -> None:
    held, fills = 0, []
    for number in range(1_000):
        size = (3, -1, 2, -5, 4, -3, 7, -7)[number % 8]
        fills.append(fill((number * 389) % 1_000, size, "100", T0, start=str(held)))
        held += size
    cycles, chain = whole([*fills])
    assert sum(one.fills for one in cycles) == 1_250  # each eighth and each fourth of eight is of two: it flips
    assert len(cycles) == 500
    assert all(one.complete for one in cycles)
    assert chain.legs[0].trip is None
